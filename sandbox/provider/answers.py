"""What is the same for both APIs: an attempt is opened, may fail as asked, and is answered or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sandbox.faults import FaultRegistry
from sandbox.provider import directives
from sandbox.provider.counting import count_prompt, prompt_text, words
from sandbox.provider.directives import Directives
from sandbox.provider.ledger import Charge, Ledger

REQUEST_ID_HEADER: Final = "x-tallygate-request-id"
"""An opaque id that the gateway sends to a double on loopback only."""
FAULTS: Final = frozenset(
    {"error_429", "error_500", "timeout", "garbage", "cut_stream", "no_usage", "latency"}
)
_TIMEOUT_SECONDS: Final = 600
_MAX_TOKENS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_TOKENS_PER_CHUNK: Final = 8

ErrorBody = Callable[[int, str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One provider call that is going to be answered."""

    body: Mapping[str, Any]
    charge: Charge
    asked: Directives
    words: Sequence[str]
    """The visible answer, a token each."""

    @property
    def usage_reported(self) -> bool:
        """Whether the answer says what was used."""
        return not self.asked.no_usage


class BadRequestError(Exception):
    """The provider refuses a request; carries the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Provider:
    """The double's state, shared by both APIs."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.faults = FaultRegistry(FAULTS)

    async def attempt(
        self, request: Request, error_body: ErrorBody, prefixes: Sequence[str]
    ) -> Attempt | Response:
        """Open an attempt and let it fail as asked, or return what is to be answered."""
        try:
            body = await _body(request, prefixes)
        except BadRequestError as error:
            return JSONResponse(error_body(error.status, str(error)), error.status)
        model = body["model"]
        charge = self.ledger.open(request.headers.get(REQUEST_ID_HEADER, "unknown"), model)
        asked = self._with_faults(directives.parse(prompt_text(body)), model)
        if (latency := self.faults.take("latency", model=model)) is not None:
            await asyncio.sleep(float(latency.parameters.get("seconds", 0.5)))
        if asked.timeout:
            await asyncio.sleep(_TIMEOUT_SECONDS)
        if asked.error_canary is not None:
            return JSONResponse(error_body(400, f"refused: {asked.error_canary}"), 400)
        if charge.attempt <= asked.fail_attempts:
            headers = {"retry-after": "0"} if asked.fail_status == 429 else {}
            return JSONResponse(
                error_body(asked.fail_status, "the double was asked to fail"), asked.fail_status, headers
            )
        charge = _priced(charge, body, asked)
        if asked.garbage:
            self.ledger.write(charge, reported=False, completed=True)
            return Response("this is not JSON {", 200, media_type="application/json")
        return Attempt(body, charge, asked, words(charge.output - charge.reasoning))

    def _with_faults(self, asked: Directives, model: str) -> Directives:
        for kind, status in (("error_429", 429), ("error_500", 500)):
            if self.faults.take(kind, model=model):
                asked = replace(asked, fail_status=status, fail_attempts=10**6)
        if self.faults.take("timeout", model=model):
            asked = replace(asked, timeout=True)
        if self.faults.take("garbage", model=model):
            asked = replace(asked, garbage=True)
        if self.faults.take("cut_stream", model=model):
            asked = replace(asked, cut_percent=50)
        if self.faults.take("no_usage", model=model):
            asked = replace(asked, no_usage=True)
        return asked

    async def answer(self, attempt: Attempt, content: Mapping[str, Any]) -> Response:
        """A whole answer, charged when it is ready."""
        await asyncio.sleep(attempt.asked.delay_ms / 1000)
        self.ledger.write(attempt.charge, reported=attempt.usage_reported, completed=True)
        return JSONResponse(content)

    def stream(self, attempt: Attempt, chunks: Sequence[tuple[str, int]], end: Sequence[str]) -> Response:
        """A stream of (chunk, tokens in it), then the chunks that end it; charged as far as it got."""
        return StreamingResponse(self._chunks(attempt, chunks, end), media_type="text/event-stream")

    async def _chunks(
        self, attempt: Attempt, chunks: Sequence[tuple[str, int]], end: Sequence[str]
    ) -> AsyncIterator[str]:
        charge, whole = attempt.charge, attempt.charge.output
        cut = attempt.asked.cut_percent
        last = len(chunks) if cut is None else len(chunks) * cut // 100
        charge.output = charge.reasoning
        completed = False
        try:
            for chunk, tokens in chunks[:last]:
                charge.output += tokens
                yield chunk
                await asyncio.sleep(attempt.asked.delay_ms / 1000 / len(chunks))
            if cut is not None:
                raise ConnectionResetError("the double was asked to cut the stream")
            charge.output = whole
            completed = True
            for chunk in end:
                yield chunk
        finally:  # also when the client has gone: it pays for what was generated
            self.ledger.write(charge, reported=completed and attempt.usage_reported, completed=completed)


def grouped(tokens: Sequence[str]) -> list[tuple[str, int]]:
    """The answer's words in the pieces that a stream sends."""
    return [
        ("".join(tokens[start : start + _TOKENS_PER_CHUNK]), len(tokens[start : start + _TOKENS_PER_CHUNK]))
        for start in range(0, len(tokens), _TOKENS_PER_CHUNK)
    ]


def _priced(charge: Charge, body: Mapping[str, Any], asked: Directives) -> Charge:
    prompt = count_prompt(body)
    charge.cached_input = min(asked.cached, prompt - 1)
    charge.cache_write = min(asked.cache_write, prompt - 1 - charge.cached_input)
    charge.input = prompt - charge.cached_input - charge.cache_write
    most = next(
        (
            body[name]
            for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")
            if body.get(name)
        ),
        asked.out,
    )
    charge.output = min(asked.out, most) * int(body.get("n") or 1)
    charge.reasoning = min(asked.reasoning, charge.output)
    return charge


async def _body(request: Request, prefixes: Sequence[str]) -> dict[str, Any]:
    if not (
        request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key")
    ):
        raise BadRequestError(401, "no API key")
    try:
        body = await request.json()
    except ValueError:
        raise BadRequestError(400, "the body is not JSON") from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequestError(400, "model must be a string")
    if not body["model"].startswith(tuple(prefixes)):
        raise BadRequestError(404, f"the model {body['model']} does not exist")
    return body
