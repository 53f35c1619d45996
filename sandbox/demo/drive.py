"""Sends the demo's requests with the official clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import anthropic.resources
import httpx
import openai
import openai.resources  # the SDKs import them at first use: in several threads at once that can deadlock

from sandbox.demo.script import Step

CONCURRENCY: Final = 12
_CLIENT_TIMEOUT_SECONDS: Final = 60
_READ_BEFORE_DISCONNECT: Final = 2
_BROKEN: Final = (openai.OpenAIError, anthropic.AnthropicError, httpx.HTTPError, ValueError)
"""What reading an answer raises when the stream broke off or carried an error."""
_TOOL: Final = {"type": "object", "properties": {"hour": {"type": "string"}}, "required": ["hour"]}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client saw of a step."""

    step: Step
    request_id: str | None
    """``x-request-id`` of the answer."""
    ending: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Clients:
    openai: openai.OpenAI
    anthropic: anthropic.Anthropic


def drive(
    steps: Sequence[Step], keys: Mapping[str, str], proxy_url: str, progress: Callable[[], None]
) -> list[Outcome]:
    """Run all steps, several at once; what came of each, in the order of the script."""
    clients = {
        tenant: _Clients(
            openai.OpenAI(
                api_key=key, base_url=f"{proxy_url}/v1", max_retries=0, timeout=_CLIENT_TIMEOUT_SECONDS
            ),
            anthropic.Anthropic(
                api_key=key, base_url=proxy_url, max_retries=0, timeout=_CLIENT_TIMEOUT_SECONDS
            ),
        )
        for tenant, key in keys.items()
    }
    outcomes = []
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        running = [pool.submit(_run, step, clients[step.tenant_id]) for step in steps]
        for future in as_completed(running):
            outcomes.append(future.result())
            progress()
    return sorted(outcomes, key=lambda outcome: outcome.step.number)


def _run(step: Step, clients: _Clients) -> Outcome:
    try:
        answer = _send(step, clients)
        request_id = _request_id(answer)
        try:
            _read(step, answer)
        except _BROKEN as error:
            return Outcome(step, request_id, "failure", type(error).__name__)
        ending = "disconnect" if step.case.ending == "disconnect" else "success"
        return Outcome(step, request_id, ending, "")
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return Outcome(step, error.response.headers.get("x-request-id"), "failure", str(error.status_code))
    except (openai.APIError, anthropic.APIError) as error:
        return Outcome(step, None, "failure", type(error).__name__)


def _send(step: Step, clients: _Clients) -> Any:
    case = step.case
    headers = {"Idempotency-Key": step.idempotency_key}
    stream: dict[str, Any] = {"stream": True} if case.stream else {}
    message = [{"role": "user", "content": step.prompt}]
    if case.call == "embedding":
        return clients.openai.embeddings.with_raw_response.create(
            model=case.model, input=step.prompt, extra_headers=headers
        )
    if case.call == "completion":
        completions: Any = clients.openai.completions
        create = completions.create if case.stream else completions.with_raw_response.create
        return create(model=case.model, prompt=step.prompt, extra_headers=headers, **stream)
    if case.call == "responses":
        responses: Any = clients.openai.responses
        create = responses.create if case.stream else responses.with_raw_response.create
        return create(model=case.model, input=step.prompt, extra_headers=headers, **stream)
    if case.call == "messages":
        messages: Any = clients.anthropic.messages
        create = messages.create if case.stream else messages.with_raw_response.create
        return create(model=case.model, max_tokens=1000, messages=message, extra_headers=headers, **stream)
    tools: dict[str, Any] = {}
    if case.call == "tools":
        tools["tools"] = [{"type": "function", "function": {"name": "usage_of", "parameters": _TOOL}}]
    chat: Any = clients.openai.chat.completions
    create = chat.create if case.stream else chat.with_raw_response.create
    return create(model=case.model, messages=message, extra_headers=headers, **tools, **stream)


def _request_id(answer: Any) -> str | None:
    headers = answer.headers if hasattr(answer, "headers") else answer.response.headers
    request_id: str | None = headers.get("x-request-id")
    return request_id


def _read(step: Step, answer: Any) -> None:
    if not step.case.stream:
        answer.parse()
        return
    if step.case.ending == "disconnect":
        _read_some(answer)
        answer.close()
        return
    for _ in answer:
        pass


def _read_some(answer: Iterable[Any]) -> None:
    for number, _ in enumerate(answer, start=1):
        if number == _READ_BEFORE_DISCONNECT:
            return
