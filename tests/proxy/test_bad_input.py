"""Bad input: a clear error in the API's own shape, nothing half done, an event once the tenant is known."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anthropic
import httpx
import openai
import pytest

from proxy.limits.budget import Budget
from tallygate import keys, spend
from tallygate.tenants import get_key, issue_key, revoke_key
from tests.support.gateway import Instance, Site, tenant

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
HELLO = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True)
class Bad:
    """A bad request and the answer that it must get."""

    status: int
    code: str
    content: bytes = b""
    body: Mapping[str, Any] = field(default_factory=dict)
    path: str = CHAT

    def bytes(self) -> bytes:
        return self.content or json.dumps(self.body).encode()


def chat(**changes: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": HELLO, **changes}


def message(**changes: Any) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "messages": HELLO, "max_tokens": 9, **changes}


INVALID = (400, "invalid_request")
CONTROLS: dict[str, Any] = {
    "no-log": True,
    "mock_response": "free",
    "mock_testing_fallbacks": True,
    "api_base": "http://127.0.0.1:1",
    "base_url": "http://127.0.0.1:1",
    "api_key": "sk-x",
    "api_version": "1",
    "fallbacks": ["gpt-4o-mini"],
    "context_window_fallbacks": [],
    "disable_fallbacks": True,
    "num_retries": 50,
    "timeout": 1,
    "tags": ["x"],
    "cache": {"no-store": True},
    "ttl": 1,
    "metadata": {"user_api_key_auth_metadata": {}},
    "litellm_metadata": {},
    "litellm_params": {},
    "litellm_call_id": "x",
    "litellm_trace_id": "x",
    "proxy_server_request": {},
    "user_api_key_dict": {},
    "callbacks": ["otel"],
    "success_callback": ["otel"],
    "failure_callback": ["otel"],
    "guardrails": [],
    "prompt_id": "x",
    "prompt_variables": {},
    "custom_llm_provider": "azure",
    "model_list": [],
    "router_settings_override": {},
    "extra_body": {"no-log": True},
    "extra_headers": {"x": "y"},
    "input_cost_per_token": 0,
    "output_cost_per_token": 0,
    "secret_fields": {},
    "specific_deployment": True,
    "caching": True,
    "drop_params": True,
    "allowed_openai_params": ["x"],
    "web_search_options": {},
    "service_tier": "priority",
}
CASES: dict[str, Bad] = {
    "empty": Bad(*INVALID, content=b" "),
    "not JSON": Bad(*INVALID, content=b'{"model": "gpt-4o", "messages": [', path=MESSAGES),
    "not UTF-8": Bad(*INVALID, content=b'{"model": "\xff\xfe"}'),
    "a huge number": Bad(*INVALID, content=b'{"model": "gpt-4o", "max_tokens": ' + b"9" * 5000 + b"}"),
    "a list": Bad(*INVALID, content=b"[]"),
    "nested without end": Bad(*INVALID, content=b'{"model": "gpt-4o", "messages": ' + b"[" * 100_000),
    "nested deeply": Bad(
        *INVALID, content=b'{"model": "gpt-4o", "messages": ' + b"[" * 300 + b"]" * 300 + b"}"
    ),
    "half a surrogate": Bad(
        *INVALID, content=b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\\ud800"}]}'
    ),
    "no model": Bad(*INVALID, body={"messages": HELLO}),
    "no messages": Bad(*INVALID, body={"model": "gpt-4o"}),
    "no max_tokens": Bad(*INVALID, body={"model": "claude-haiku-4-5", "messages": HELLO}, path=MESSAGES),
    "no input": Bad(*INVALID, body={"model": "text-embedding-3-small"}, path="/v1/embeddings"),
    "model of a wrong type": Bad(*INVALID, body=chat(model=7)),
    "messages of a wrong type": Bad(*INVALID, body=chat(messages="hello")),
    "a message of a wrong type": Bad(*INVALID, body=chat(messages=["hello"])),
    "stream of a wrong type": Bad(*INVALID, body=chat(stream="yes")),
    "stream_options of a wrong type": Bad(*INVALID, body=chat(stream=True, stream_options=[1])),
    "max_tokens of a wrong type": Bad(*INVALID, body=chat(max_tokens="10")),
    "max_tokens true": Bad(*INVALID, body=message(max_tokens=True), path=MESSAGES),
    "max_tokens negative": Bad(*INVALID, body=chat(max_tokens=-1)),
    "too many answers": Bad(*INVALID, body=chat(n=100_000)),
    "tools of a wrong type": Bad(*INVALID, body=chat(tools={"a": 1})),
    "input of a wrong type": Bad(*INVALID, body={"model": "gpt-4o", "input": 7}, path="/v1/responses"),
    "a model that does not exist": Bad(403, "model_not_allowed", body=chat(model="gpt-99")),
    "a provider's name before the model": Bad(403, "model_not_allowed", body=chat(model="openai/gpt-4o")),
    "any model": Bad(403, "model_not_allowed", body=message(model="*"), path=MESSAGES),
    "an embedding model in a chat": Bad(*INVALID, body=chat(model="text-embedding-3-small")),
    "a chat model for embeddings": Bad(
        *INVALID, body={"model": "gpt-4o", "input": "x"}, path="/v1/embeddings"
    ),
    "a background response": Bad(
        *INVALID, body={"model": "gpt-4o", "input": "x", "background": True}, path="/v1/responses"
    ),
    "a response that goes on": Bad(
        *INVALID, body={"model": "gpt-4o", "input": "x", "previous_response_id": "r"}, path="/v1/responses"
    ),
    "a tool of the provider": Bad(
        *INVALID,
        body={"model": "gpt-4o", "input": "x", "tools": [{"type": "web_search"}]},
        path="/v1/responses",
    ),
    "a tool of the provider, Anthropic": Bad(
        *INVALID, body=message(tools=[{"type": "web_search_20250305", "name": "web_search"}]), path=MESSAGES
    ),
    "a cache of an hour": Bad(
        *INVALID,
        body=message(
            system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
        ),
        path=MESSAGES,
    ),
    "metadata of LiteLLM": Bad(*INVALID, body=message(metadata={"user_id": "u", "tags": []}), path=MESSAGES),
    "a picture to fetch": Bad(
        *INVALID,
        body=chat(
            model="claude-haiku-4-5",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/picture.png"}}
                    ],
                }
            ],
        ),
    ),
    "more than the body limit": Bad(413, "request_too_large", body=chat(user="x" * 1_100_000)),
} | {
    f"control parameter {name}": Bad(*INVALID, body=chat(**{name: value})) for name, value in CONTROLS.items()
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_and_leaves_an_event(name: str, http: httpx.Client, gateway: Instance) -> None:
    bad = CASES[name]

    response = http.post(bad.path, content=bad.bytes(), headers={"content-type": "application/json"})

    assert response.status_code == bad.status
    assert _code(response, bad.path) == bad.code
    event = gateway.event_of(response.headers["x-request-id"])
    assert (event["status"], event["http_status"], event["error_type"]) == ("failure", bad.status, bad.code)
    assert (event["tenant_id"], event["total_tokens"], event["attempts"]) == ("acme", 0, 0)


def _code(response: httpx.Response, path: str) -> str:
    content = response.json()
    if path == MESSAGES:
        assert content["type"] == "error"
    error = content["error"]
    assert isinstance(error["message"], str)
    assert "litellm." not in error["message"]
    code: str = error["code"]
    return code


@pytest.mark.parametrize(
    ("header", "value"), [("x-padding", "x" * 100_000), ("authorization", "Bearer " + "x" * 100_000)]
)
def test_a_header_of_100_kb_is_refused(header: str, value: str, http: httpx.Client) -> None:
    response = http.post(CHAT, json=chat(), headers={header: value})

    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_a_body_is_json_whatever_its_header_says(http: httpx.Client) -> None:
    response = http.post(CHAT, json=chat(), headers={"content-type": "multipart/form-data; boundary=x"})

    assert response.status_code == 200


@pytest.fixture(scope="module")
def refused_keys(provider_site: Site) -> dict[str, str | None]:
    """Keys that open nothing, by why."""
    database, now = provider_site.database, datetime.now(UTC)
    expired = issue_key(database, "acme", label="old", now=now, expires_at=now - timedelta(seconds=1))
    revoked = issue_key(database, "acme", label="leaked", now=now)
    record = get_key(database, revoked.key_hash)
    assert record is not None
    revoke_key(database, record, at=now - timedelta(seconds=1))
    good = provider_site.keys["acme"]
    return {
        "missing": None,
        "empty": "",
        "unknown": keys.mint().secret,
        "mistyped": good[:-1] + ("a" if good[-1] != "a" else "b"),
        "the provider's form": "sk-proj-1234",
        "expired": expired.secret,
        "revoked": revoked.secret,
        "its hash": keys.key_hash(good),
        "not ASCII": "tg_é",
    }


WHY = (
    "missing", "empty", "unknown", "mistyped", "the provider's form", "expired", "revoked", "its hash",
    "not ASCII",
)  # fmt: skip


@pytest.mark.parametrize("why", WHY)
@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/models"])
def test_a_key_that_opens_nothing_is_refused(
    why: str, path: str, gateway: Instance, refused_keys: dict[str, str | None]
) -> None:
    key = refused_keys[why]
    headers = [] if key is None else [(b"x-api-key", key.encode())]
    before = len(gateway.events())

    if path == "/v1/models":
        response = httpx.get(gateway.url + path, headers=headers)
    else:
        response = httpx.post(gateway.url + path, json={"model": "gpt-4o"}, headers=headers)

    assert (response.status_code, _code(response, path)) == (401, "invalid_key")
    assert len(gateway.events()) == before  # no tenant, no event


def test_both_clients_understand_a_refused_key(gateway: Instance) -> None:
    with (
        openai.OpenAI(api_key="wrong", base_url=f"{gateway.url}/v1", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as openai_error,
    ):
        client.models.list()
    with (
        anthropic.Anthropic(api_key="wrong", base_url=gateway.url, max_retries=0) as claude,
        pytest.raises(anthropic.AuthenticationError) as anthropic_error,
    ):
        claude.messages.create(model="claude-haiku-4-5", max_tokens=1, messages=[])

    assert openai_error.value.code == "invalid_key"
    assert anthropic_error.value.type == "authentication_error"


@pytest.mark.parametrize(
    ("status", "code"),
    [("suspended", "tenant_suspended"), ("pending", "tenant_suspended"), ("closed", "tenant_closed")],
)
def test_a_tenant_that_is_not_served_is_refused_and_leaves_an_event(
    status: str, code: str, gateway: Instance, provider_site: Site
) -> None:
    key = provider_site.add(tenant(f"tenant-{status}", status=status))
    headers = {"authorization": f"Bearer {key}"}

    response = httpx.post(gateway.url + CHAT, json=chat(), headers=headers)

    assert (response.status_code, _code(response, CHAT)) == (403, code)
    event = gateway.event_of(response.headers["x-request-id"])
    assert (event["tenant_id"], event["error_type"], event["attempts"]) == (f"tenant-{status}", code, 0)


LIMITED, OVER = (429, "rate_limited"), (402, "budget_exceeded")


@pytest.mark.parametrize(
    ("limits", "answer"),
    [
        ({"rpm": 0}, LIMITED),
        ({"tpm": 0}, LIMITED),
        ({"max_parallel": 0}, LIMITED),
        ({"rpm": -1, "tpm": -1, "max_parallel": -1}, LIMITED),
        ({"monthly_budget_nano_usd": 0}, OVER),
        ({"monthly_budget_nano_usd": -1}, OVER),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_limits_and_budgets_of_nothing_refuse_everything(
    limits: dict[str, int], answer: tuple[int, str], path: str, gateway: Instance, provider_site: Site
) -> None:
    key = provider_site.add(tenant(f"nothing-{uuid.uuid4().hex[:8]}", **limits))

    body = chat() if path == CHAT else message()
    response = httpx.post(gateway.url + path, json=body, headers={"x-api-key": key})

    assert (response.status_code, _code(response, path)) == answer
    assert ("retry-after" in response.headers) == (answer == LIMITED)
    event = gateway.event_of(response.headers["x-request-id"])
    assert (event["error_type"], event["attempts"]) == (answer[1], 0)


def test_a_budget_below_what_is_spent_already_refuses(gateway: Instance, provider_site: Site) -> None:
    """It was lowered in the middle of the month, after another instance had spent more."""
    dollar = 10**9
    now = datetime.now(UTC)
    for month in {spend.month_of(now), spend.month_of(now + timedelta(days=1))}:  # the test may see it turn
        other = Budget("lowered", "another-instance", month)
        assert other.ask(provider_site.database, 5 * dollar, 10 * dollar, 0.0)[0]
    key = provider_site.add(tenant("lowered", monthly_budget_nano_usd=dollar))

    response = httpx.post(gateway.url + CHAT, json=chat(), headers={"x-api-key": key})

    assert (response.status_code, _code(response, CHAT)) == OVER


def test_grace_serves_until_it_ends(gateway: Instance, provider_site: Site) -> None:
    ends = {"served": timedelta(hours=1), "refused": timedelta(seconds=-1)}
    statuses = {}
    for name, left in ends.items():
        until = (datetime.now(UTC) + left).isoformat()
        key = provider_site.add(tenant(f"grace-{name}", status="grace", grace_until=until))
        answer = httpx.post(gateway.url + CHAT, json=chat(), headers={"x-api-key": key}, timeout=20)
        statuses[name] = answer.status_code

    assert statuses == {"served": 200, "refused": 403}


def test_a_model_of_others_is_refused_as_if_it_did_not_exist(gateway: Instance, provider_site: Site) -> None:
    key = provider_site.add(tenant("narrow", models=("gpt-4o-mini",)))

    answers = [
        httpx.post(gateway.url + CHAT, json=chat(model=model), headers={"x-api-key": key})
        for model in ("gpt-4o", "gpt-99")
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json() == answers[1].json()


def test_the_fallback_that_a_tenant_may_not_use_is_not_taken(gateway: Instance, provider_site: Site) -> None:
    key = provider_site.add(tenant("mini-only", models=("gpt-4o-mini",)))
    prompt = [{"role": "user", "content": "[[fail=500x3]]"}]

    answer = httpx.post(
        gateway.url + CHAT,
        json=chat(model="gpt-4o-mini", messages=prompt),
        headers={"x-api-key": key},
        timeout=20,
    )

    event = gateway.event_of(answer.headers["x-request-id"])
    assert (answer.status_code, event["attempts"], event["total_tokens"]) == (500, 3, 0)
    models = {row["model"] for row in provider_site.ledger() if row["request_id"] == event["request_id"]}
    assert models == {"gpt-4o-mini"}


def test_models_lists_what_the_tenant_may_use_in_either_shape(gateway: Instance, provider_site: Site) -> None:
    key = provider_site.add(tenant("lister", models=("gpt-4o-mini", "claude-haiku-4-5", "withdrawn")))

    with openai.OpenAI(api_key=key, base_url=f"{gateway.url}/v1") as client:
        by_openai = [model.id for model in client.models.list()]
    with anthropic.Anthropic(api_key=key, base_url=gateway.url) as claude:
        by_anthropic = [model.id for model in claude.models.list()]

    assert by_openai == by_anthropic == ["gpt-4o-mini", "claude-haiku-4-5"]
