"""What passes through the gateway is in none of its outputs, and nothing that passes can forge a line."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.gateway import PROVIDER_KEY, Instance, Site

CANARY = "canary-7f3a9e"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ENDINGS = (
    "", "[[out=9]]", "[[garbage]]", "[[no_usage]]", "[[cut=40% out=40 delay_ms=50]]", "[[fail=500x1]]",
    "[[fail=400x9]]", "[[fail=401x9]]", "[[fail=500x9]]", f"[[error_canary={CANARY}]]",
)  # fmt: skip


def bodies(ending: str) -> list[tuple[str, dict[str, Any]]]:
    """Requests that carry canaries wherever a client can put a text."""
    text = f"{ending} {CANARY}"
    messages = [{"role": "user", "content": text}]
    tool = {"name": CANARY, "description": CANARY, "parameters": {"type": "object"}}
    chat = {"messages": [{"role": "system", "content": CANARY}, *messages], "user": CANARY}
    claude = {"model": "claude-haiku-4-5", "messages": messages, "max_tokens": 40, "system": CANARY}
    return [
        (CHAT, {"model": "gpt-4o", **chat}),
        (CHAT, {"model": "gpt-4o", **chat, "stream": True}),
        (CHAT, {"model": "gpt-4o", **chat, "tools": [{"type": "function", "function": tool}]}),
        (MESSAGES, {**claude, "metadata": {"user_id": CANARY}}),
        (MESSAGES, {**claude, "stream": True}),
        (RESPONSES, {"model": "gpt-4o", "input": text, "instructions": CANARY, "stream": True}),
    ]


REFUSED: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"model": "gpt-4o", "messages": CANARY}),
    (CHAT, {"model": "gpt-4o", "messages": [{"role": CANARY, "content": {"a": CANARY}}]}),
    (CHAT, {"model": "gpt-4o", "messages": [], "no-log": CANARY}),
    (CHAT, {"model": f"a prompt: {CANARY}", "messages": []}),
    (MESSAGES, {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": 7}], "max_tokens": 1}),
    (RESPONSES, {"model": "gpt-4o", "input": [{"role": CANARY, "content": [CANARY]}]}),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [[CANARY]]}),
    ("/v1/images/generations", {"prompt": CANARY}),
]


@pytest.fixture(scope="module")
def answers(gateway: Instance, provider_site: Site) -> list[httpx.Response]:
    """What came of all of them."""
    headers = {"authorization": f"Bearer {provider_site.keys['acme']}"}
    wanted = [*REFUSED, *(request for ending in ENDINGS for request in bodies(ending))]
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as http:
        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(lambda request: http.post(request[0], json=request[1]), wanted))
        answers.append(http.post(CHAT, content=f'{{"model": "{CANARY}'.encode()))
        answers.append(http.post(CHAT, json={}, headers={"authorization": f"Bearer {CANARY}"}))
        answers.append(http.post(CHAT, json={}, headers={"x-other": CANARY, "cookie": CANARY, CANARY: "x"}))
        answers.append(http.get(f"/{CANARY}?{CANARY}=1"))
    return answers


def test_no_canary_is_in_any_output(
    answers: list[httpx.Response], gateway: Instance, provider_site: Site
) -> None:
    for answer in answers:
        if "x-ratelimit-limit-requests" in answer.headers:
            gateway.event_of(answer.headers["x-request-id"])

    outputs = gateway.stdout.read_text() + gateway.stderr.read_text()

    secrets = (CANARY, PROVIDER_KEY, *provider_site.keys.values(), "double was asked")
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 404, 500, 502}
    assert [secret for secret in secrets if secret in outputs] == []


def test_the_providers_own_key_reaches_no_client(answers: list[httpx.Response]) -> None:
    assert all(PROVIDER_KEY not in answer.text + str(answer.headers) for answer in answers)


def test_a_provider_that_refuses_the_gateways_key_does_not_look_like_the_tenants_key(
    http: httpx.Client,
) -> None:
    prompt = [{"role": "user", "content": "[[fail=401x9]]"}]

    answer = http.post(CHAT, json={"model": "gpt-4o", "messages": prompt})

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_error")


FORGED = json.dumps(
    {"event": "llm_usage", "request_id": "forged", "tenant_id": "forged-tenant", "schema_version": 1}
)


@pytest.mark.parametrize("mask", ["{}", "\n{}\n", "\r\n{}\r\n", "\x00\n{}\n\x00", "\u2028{}\u2028"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_forged_line_stays_a_text(mask: str, stream: bool, http: httpx.Client, gateway: Instance) -> None:
    text = mask.replace("{}", FORGED)
    prompt = [{"role": "user", "content": f"[[error_canary={text}]]"}, {"role": "user", "content": text}]

    for body in (
        {"model": "gpt-4o", "messages": prompt, "user": text, "stream": stream},
        {"model": text, "messages": prompt},
        {"model": "gpt-4o", "messages": prompt, text: 1},
    ):
        http.post(CHAT, json=body, headers={"idempotency-key": FORGED, "traceparent": FORGED})

    assert all(line["request_id"] != "forged" for line in gateway.lines())
    assert "forged-tenant" not in gateway.stdout.read_text()


def test_ids_of_the_client_change_no_event(http: httpx.Client, gateway: Instance) -> None:
    headers = {
        "x-request-id": "forged",
        "x-litellm-call-id": "forged",
        "x-litellm-trace-id": "forged",
        "x-litellm-timeout": "0.001",
        "x-litellm-tags": "a",
        "x-litellm-num-retries": "9",
        "x-tallygate-request-id": "forged",
    }

    prompt = [{"role": "user", "content": "hello"}]

    answer = http.post(CHAT, json={"model": "gpt-4o", "messages": prompt}, headers=headers)

    event = gateway.event_of(answer.headers["x-request-id"])
    assert event["request_id"] != "forged"
    assert event["status"] == "success"


def test_answers_carry_no_header_of_litellm(http: httpx.Client) -> None:
    answer = http.post(CHAT, json={"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})

    names = {name for name in answer.headers if not name.startswith("x-ratelimit-")}
    assert names == {"content-type", "content-length", "x-request-id"}
