"""Every request leaves exactly one usage event, with the provider's own counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
import pytest

from tallygate.records import AdmitLine, UsageEvent, json_schema
from tests.support.gateway import Instance, Site

CLASSES = {
    "input": "input_tokens",
    "cached_input": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


@dataclass(frozen=True)
class Case:
    """A request by path and body, and what must come of it."""

    path: str
    prompt: str
    model: str = "gpt-4o"
    body: dict[str, Any] = field(default_factory=dict)
    http_status: int = 200
    status: str = "success"
    attempts: int = 1
    estimated: bool = False
    reaches: bool = True
    """Whether its attempts reach a provider that would charge."""
    exact: bool = True
    """The billed counts are those of the last attempt in the provider's ledger."""

    def request(self) -> dict[str, Any]:
        message = [{"role": "user", "content": self.prompt}]
        content: dict[str, Any] = {"messages": message}
        if "responses" in self.path or "embeddings" in self.path:
            content = {"input": self.prompt}
        elif self.path.endswith("/completions") and "chat" not in self.path:
            content = {"prompt": self.prompt}
        elif "messages" in self.path and "max_tokens" not in self.body:
            content |= {"max_tokens": 1000}
        return {"model": self.model, **content, **self.body}


CHAT, MESSAGES, STREAM = "/v1/chat/completions", "/v1/messages", {"stream": True}
CLAUDE = "claude-haiku-4-5"
CASES = {
    "chat": Case(CHAT, "[[out=20]] hello"),
    "chat without v1": Case("/chat/completions", "[[out=20]] hello"),
    "chat, streamed": Case(CHAT, "[[out=33]] hello", body=STREAM),
    "chat, streamed, usage asked for": Case(
        CHAT, "[[out=33]] hello", body={**STREAM, "stream_options": {"include_usage": True}}
    ),
    "chat, streamed, usage declined": Case(
        CHAT, "[[out=33]] hello", body={**STREAM, "stream_options": {"include_usage": False}}
    ),
    "cached and reasoning": Case(CHAT, "[[out=20 cached=5 reasoning=7]] hello there"),
    "cached and reasoning, streamed": Case(CHAT, "[[out=20 cached=5 reasoning=7]] hello there", body=STREAM),
    "tools": Case(CHAT, "[[out=20]]", body={"tools": [TOOL]}),
    "tools, streamed": Case(CHAT, "[[out=20]]", body={"tools": [TOOL], **STREAM}),
    "several answers": Case(CHAT, "[[out=20]]", body={"n": 3}),
    "max_tokens": Case(CHAT, "[[out=500]]", body={"max_tokens": 7}),
    "completion": Case("/v1/completions", "[[out=9]]", model="gpt-3.5-turbo-instruct"),
    "completion, streamed": Case("/v1/completions", "[[out=9]]", model="gpt-3.5-turbo-instruct", body=STREAM),
    "embedding": Case("/v1/embeddings", "a text to embed", model="text-embedding-3-small"),
    "responses": Case("/v1/responses", "[[out=12 reasoning=3 cached=2]] hello"),
    "responses, streamed": Case("/v1/responses", "[[out=12 reasoning=3 cached=2]] hello", body=STREAM),
    "messages": Case(MESSAGES, "[[out=20]] hello", model=CLAUDE),
    "messages, streamed": Case(MESSAGES, "[[out=20]] hello", model=CLAUDE, body=STREAM),
    "prompt cache": Case(MESSAGES, "[[out=20 cached=4 cache_write=3]] hello", model=CLAUDE),
    "prompt cache, streamed": Case(
        MESSAGES, "[[out=20 cached=4 cache_write=3]] hello", model=CLAUDE, body=STREAM
    ),
    "Claude by OpenAI's API": Case(CHAT, "[[out=20 cached=4 cache_write=3]] hello", model=CLAUDE),
    "Claude by OpenAI's API, streamed": Case(CHAT, "[[out=20]] hello", model=CLAUDE, body=STREAM),
    "retried after 429": Case(CHAT, "[[out=5 fail=429x1]]", attempts=2),
    "retried twice after 500": Case(CHAT, "[[out=5 fail=500x2]]", attempts=3),
    "messages, retried": Case(MESSAGES, "[[out=5 fail=500x1]]", model=CLAUDE, attempts=2),
    "fallback": Case(CHAT, "[[out=5 fail=500x3]]", model="gpt-4o-mini", attempts=4),
    "fallback, streamed": Case(CHAT, "[[out=5 fail=500x3]]", model="gpt-4o-mini", attempts=4, body=STREAM),
    "retries exhausted": Case(CHAT, "[[fail=500x9]]", http_status=500, status="failure", attempts=3),
    "bad request": Case(CHAT, "[[fail=400x9]]", http_status=400, status="failure"),
    "garbage": Case(CHAT, "[[garbage]]", http_status=502, status="failure", attempts=3, exact=False),
    "garbage for GPT by Anthropic's API": Case(
        MESSAGES, "[[garbage]]", http_status=502, status="failure", exact=False
    ),
    "garbage, streamed": Case(CHAT, "[[garbage]]", status="failure", exact=False, body=STREAM),
    "no usage": Case(CHAT, "[[out=30 no_usage]]", estimated=True, exact=False),
    "no usage, streamed": Case(CHAT, "[[out=30 no_usage]]", estimated=True, exact=False, body=STREAM),
    "cut stream": Case(
        CHAT, "[[out=80 cut=40% delay_ms=300]]", status="failure", estimated=True, exact=False, body=STREAM
    ),
    "cut messages": Case(
        MESSAGES, "[[out=80 cut=60% delay_ms=300]]", model=CLAUDE,
        status="failure", estimated=True, exact=False, body=STREAM,
    ),
    "cut response": Case(
        "/v1/responses", "[[out=80 cut=60% delay_ms=100]]",
        status="failure", estimated=True, exact=False, body=STREAM,
    ),
    "cut Claude by OpenAI's API": Case(
        CHAT, "[[out=80 cut=60% delay_ms=100]]", model=CLAUDE,
        status="failure", estimated=True, exact=False, body=STREAM,
    ),
    "GPT by Anthropic's API": Case(MESSAGES, "[[out=20 cached=4]] hello"),
    "GPT by Anthropic's API, streamed": Case(MESSAGES, "[[out=20 cached=4]] hello", body=STREAM),
    "Claude's response": Case("/v1/responses", "[[out=20 cached=4 cache_write=3]] hello", model=CLAUDE),
    "Claude's response, streamed": Case(
        "/v1/responses", "[[out=20 cached=4]] hello", model=CLAUDE, body=STREAM
    ),
    "fallback of a response": Case("/v1/responses", "[[out=5 fail=500x3]]", model="gpt-4o-mini", attempts=4),
    "fallback of a message": Case(
        MESSAGES, "[[out=5 fail=500x3]]", model="gpt-4o-mini", attempts=4, body=STREAM
    ),
    "fallback, which has one of its own": Case(
        CHAT, "[[out=5 fail=500x4]]", model="chained", attempts=4, http_status=500, status="failure",
    ),
    "timeout": Case(CHAT, "[[timeout]]", model="impatient", http_status=504, status="failure"),
    "timeout, streamed": Case(
        CHAT, "[[timeout]]", model="impatient", http_status=504, status="failure", body=STREAM
    ),
    "timeout of messages": Case(
        MESSAGES, "[[timeout]]", model="impatient-claude", http_status=504, status="failure"
    ),
    "connection refused": Case(
        CHAT, "hello", model="unreachable", http_status=502, status="failure", attempts=2, reaches=False,
    ),
    "embeddings, many": Case(
        "/v1/embeddings", "", model="text-embedding-3-small", body={"input": ["one", "another"]}
    ),
    "a response as long as it may be": Case("/v1/responses", "[[out=12]]", body={"max_output_tokens": 5}),
    "token count": Case("/v1/messages/count_tokens", "hello", model=CLAUDE, reaches=False),
    "token count for GPT": Case("/v1/messages/count_tokens", "hello", reaches=False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_request_leaves_one_event_with_the_providers_counts(
    name: str, http: httpx.Client, gateway: Instance, provider_site: Site
) -> None:
    case = CASES[name]
    body = case.request()
    if "count_tokens" in case.path:
        del body["max_tokens"]

    response = http.post(case.path, json=body)

    assert response.status_code == case.http_status
    event = gateway.event_of(response.headers["x-request-id"])
    assert (event["status"], event["attempts"], event["estimated"]) == (
        case.status,
        case.attempts,
        case.estimated,
    )
    assert event["http_status"] == case.http_status
    charged = provider_site.charged(event["request_id"], case.attempts)
    billed = {name: event[field] for name, field in CLASSES.items() if event[field]}
    if case.exact:
        assert billed == charged
    assert (
        event["total_tokens"] == sum(billed.values()) == event["prompt_tokens"] + event["completion_tokens"]
    )
    attempts = {row["attempt"] for row in provider_site.ledger() if row["request_id"] == event["request_id"]}
    assert attempts == (set(range(1, case.attempts + 1)) if case.reaches else set())


def test_lines_keep_their_schema_and_the_real_stdout_carries_nothing_else(gateway: Instance) -> None:
    schemas = {"llm_usage": json_schema(UsageEvent), "llm_admit": json_schema(AdmitLine)}

    lines = gateway.lines()

    assert {line["event"] for line in lines} == set(schemas)
    for line in lines:
        jsonschema.validate(line, schemas[line["event"]])
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len({line["stream_id"] for line in lines}) == 1


def test_the_admit_line_comes_before_its_event(gateway: Instance, http: httpx.Client) -> None:
    request_id = http.post(CHAT, json=CASES["chat"].request()).headers["x-request-id"]

    events = [line["event"] for line in gateway.lines() if line["request_id"] == request_id]

    assert events == ["llm_admit", "llm_usage"]


def test_cost_is_the_catalogues_price_rounded_once(http: httpx.Client, gateway: Instance) -> None:
    response = http.post(
        CHAT, json={"model": "gpt-4o", "messages": [{"role": "user", "content": "[[out=3]]"}]}
    )

    event = gateway.event_of(response.headers["x-request-id"])

    # pico-USD per token of gpt-4o in the sandbox's catalogue: 2,500,000 in, 10,000,000 out
    assert int(event["cost_nano_usd"]) == event["input_tokens"] * 2500 + 3 * 10_000
    assert event["price_version"] == "gpt-4o-2025-01"
    assert event["unpriced"] is False


def test_the_clients_idempotency_key_and_trace_are_carried(http: httpx.Client, gateway: Instance) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"idempotency-key": "order-17", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}

    response = http.post(CHAT, json=CASES["chat"].request(), headers=headers)

    event = gateway.event_of(response.headers["x-request-id"])
    assert event["idempotency_key"] == "order-17"
    assert event["trace_id"] == trace
    assert event["logging.googleapis.com/trace"] == f"projects/test-project/traces/{trace}"


@pytest.mark.parametrize("fault", ["raise", "never", "late"])
def test_billing_does_not_depend_on_a_callback(fault: str, provider_site: Site) -> None:
    with provider_site.gateway({"TALLYGATE_FAULT_CALLBACK": fault}) as instance:
        headers = {"authorization": f"Bearer {provider_site.keys['acme']}"}
        names = ("chat", "chat, streamed", "messages", "embedding", "retries exhausted")
        with (
            httpx.Client(base_url=instance.url, headers=headers, timeout=30) as http,
            ThreadPoolExecutor(len(names)) as threads,
        ):
            posted = threads.map(lambda name: http.post(CASES[name].path, json=CASES[name].request()), names)
            answers = dict(zip(names, posted, strict=True))

        for name, answer in answers.items():
            event = instance.event_of(answer.headers["x-request-id"])
            charged = provider_site.charged(event["request_id"], CASES[name].attempts)
            assert {key: event[field] for key, field in CLASSES.items() if event[field]} == charged
        assert len(instance.events()) == len(names)
