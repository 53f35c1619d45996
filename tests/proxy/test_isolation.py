"""Two tenants, one of whom tries to see, spend or exhaust what is the other's."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx
import pytest

from tests.support.gateway import Instance, Site, tenant

CHAT: Final = "/v1/chat/completions"
SECRET: Final = "the-victims-own-words-7f3a"
VICTIM: Final = "victim"
RIVAL: Final = "rival"


@pytest.fixture(scope="module")
def keys(provider_site: Site) -> dict[str, str]:
    """Keys of both; the rival may use one small model and has almost no limits left to use."""
    return {
        VICTIM: provider_site.add(
            tenant(VICTIM, stripe_customer="cus_victim", monthly_budget_nano_usd=10**12)
        ),
        RIVAL: provider_site.add(tenant(RIVAL, models=("gpt-4o-mini",), stripe_customer="cus_rival")),
    }


def chat(model: str = "gpt-4o-mini", text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20, **more}


def post(
    gateway: Instance, key: str, body: Any, path: str = CHAT, headers: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.post(
        gateway.url + path,
        json=body,
        headers={"authorization": f"Bearer {key}", **(headers or {})},
        timeout=30,
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat("gpt-4o")),
        (CHAT, chat("claude-haiku-4-5")),
        (CHAT, chat("openai/gpt-4o")),
        (CHAT, chat("gpt-4o-2024-08-06")),
        (CHAT, chat("*")),
        ("/v1/messages", chat("claude-haiku-4-5")),
        ("/v1/messages/count_tokens", {"model": "claude-haiku-4-5", "messages": []}),
        ("/v1/responses", {"model": "gpt-4o", "input": "hi"}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"}),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}),
    ],
)
def test_a_model_that_is_not_the_tenants_calls_no_provider(
    gateway: Instance, provider_site: Site, keys: dict[str, str], path: str, body: dict[str, Any]
) -> None:
    answer = post(gateway, keys[RIVAL], body, path)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "model_not_allowed"
    event = gateway.event_of(answer.headers["x-request-id"])
    assert (event["tenant_id"], event["attempts"], event["total_tokens"]) == (RIVAL, 0, 0)
    assert not [row for row in provider_site.ledger() if row["request_id"] == event["request_id"]]


@pytest.mark.parametrize(
    "more",
    [
        {"fallbacks": ["gpt-4o"]},
        {"fallbacks": [{"gpt-4o-mini": ["gpt-4o"]}]},
        {"context_window_fallbacks": [{"gpt-4o-mini": ["gpt-4o"]}]},
        {"models": ["gpt-4o"]},
        {"api_base": "http://127.0.0.1:9"},
        {"base_url": "http://127.0.0.1:9"},
        {"api_key": "sk-another"},
        {"metadata": {"user_api_key_team_id": VICTIM}},
        {"metadata": {"tags": [VICTIM], "user_id": VICTIM}},
        {"litellm_metadata": {"user_api_key": VICTIM}},
        {"tags": [VICTIM]},
        {"cache": {"no-cache": False, "namespace": VICTIM}},
        {"caching": True},
        {"no-log": True},
        {"mock_response": "free"},
        {"user_config": {"model_list": []}},
        {"specific_deployment": "gpt-4o"},
        {"proxy_server_request": {}},
        {"tenant_id": VICTIM},
        {"key_id": "key_0"},
        {"customer_id": "cus_victim"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_parameters_that_would_reach_beyond_the_tenant_are_refused(
    gateway: Instance, provider_site: Site, keys: dict[str, str], more: dict[str, Any]
) -> None:
    answer = post(gateway, keys[RIVAL], chat(**more))

    assert answer.status_code == 400
    event = gateway.event_of(answer.headers["x-request-id"])
    assert (event["tenant_id"], event["attempts"], event.get("customer_id")) == (RIVAL, 0, "cus_rival")


@pytest.mark.parametrize(
    "more",
    [{"previous_response_id": "resp_of_the_victim"}, {"background": True}, {"conversation": "conv_1"}],
    ids=lambda more: next(iter(more)),
)
def test_nothing_that_a_provider_keeps_is_reached(
    gateway: Instance, keys: dict[str, str], more: dict[str, Any]
) -> None:
    """All tenants share the gateway's account at the provider: an id of it would open another's words."""
    answer = post(gateway, keys[RIVAL], {"model": "gpt-4o-mini", "input": "hi", **more}, "/v1/responses")

    assert answer.status_code == 400
    assert gateway.event_of(answer.headers["x-request-id"])["attempts"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"x-tenant-id": VICTIM, "x-litellm-customer-id": VICTIM, "x-litellm-end-user-id": VICTIM},
        {"x-litellm-tags": VICTIM, "x-litellm-spend-logs-metadata": json.dumps({"tenant_id": VICTIM})},
        {"openai-organization": VICTIM, "openai-project": VICTIM, "anthropic-beta": "x"},
        {"x-litellm-api-key": "sk-1234", "api-key": "sk-1234", "x-goog-api-key": "sk-1234"},
        {"x-forwarded-for": "10.0.0.1", "x-forwarded-host": VICTIM, "cookie": f"tenant={VICTIM}"},
        {"x-litellm-model": "gpt-4o", "x-litellm-fallbacks": "gpt-4o", "x-litellm-disable-logging": "true"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_no_header_makes_a_request_another_tenants(
    gateway: Instance, provider_site: Site, keys: dict[str, str], headers: dict[str, str]
) -> None:
    answer = post(gateway, keys[RIVAL], chat(user=VICTIM), headers=headers)

    assert answer.status_code == 200
    event = gateway.event_of(answer.headers["x-request-id"])
    assert (event["tenant_id"], event["customer_id"], event["model"]) == (RIVAL, "cus_rival", "gpt-4o-mini")
    models = {row["model"] for row in provider_site.ledger() if row["request_id"] == event["request_id"]}
    assert models == {"gpt-4o-mini"}


def test_the_same_words_are_asked_of_the_provider_for_each_tenant(
    gateway: Instance, provider_site: Site, keys: dict[str, str]
) -> None:
    """No answer is kept: a shared one would tell what others ask, and bill what nobody served."""
    body = chat(text=SECRET, temperature=0, seed=1)
    answers = [post(gateway, keys[name], body) for name in (VICTIM, RIVAL, RIVAL)]

    for answer in answers:
        request_id = answer.headers["x-request-id"]
        assert gateway.event_of(request_id)["attempts"] == 1
        assert [row for row in provider_site.ledger() if row["request_id"] == request_id]


def test_usage_shows_the_callers_own_whatever_it_asks_for(gateway: Instance, keys: dict[str, str]) -> None:
    post(gateway, keys[VICTIM], chat())
    headers = {"authorization": f"Bearer {keys[RIVAL]}", "x-tenant-id": VICTIM}

    seen = httpx.get(f"{gateway.url}/v1/usage?tenant_id={VICTIM}&tenant={VICTIM}", headers=headers).json()

    own = [event for event in gateway.events() if event["tenant_id"] == RIVAL and event["attempts"]]
    assert seen["tenant_id"] == RIVAL
    assert seen["requests"] == len(own)
    assert seen["meters"]["llm_output_tokens"] == sum(event["output_tokens"] for event in own)
    assert VICTIM not in json.dumps(seen)


def test_no_refusal_tells_of_others(gateway: Instance, keys: dict[str, str]) -> None:
    """A model that exists for another, and one that exists for nobody, are refused in the same words."""
    answers = [post(gateway, keys[RIVAL], chat(model)) for model in ("gpt-4o", "no-such-model")]

    assert answers[0].json() == answers[1].json()
    for answer in answers:
        assert not any(word in answer.text for word in (VICTIM, "gpt-4o", "claude", SECRET))


def test_a_tenant_that_exhausts_its_own_exhausts_nothing_of_anothers(
    gateway: Instance, provider_site: Site, keys: dict[str, str]
) -> None:
    poor = provider_site.add(tenant("poor", rpm=3, monthly_budget_nano_usd=10**9))
    broke = provider_site.add(tenant("broke", monthly_budget_nano_usd=1))

    statuses = [post(gateway, poor, chat()).status_code for _ in range(5)]
    refused = post(gateway, broke, chat())

    assert statuses == [200, 200, 200, 429, 429]
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")
    assert post(gateway, keys[VICTIM], chat()).status_code == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_refused_budget_speaks_in_the_apis_own_shape(
    gateway: Instance, provider_site: Site, path: str
) -> None:
    key = provider_site.keys.get("empty") or provider_site.add(tenant("empty", monthly_budget_nano_usd=0))
    model = "claude-haiku-4-5" if path != CHAT else "gpt-4o-mini"

    answer = post(gateway, key, chat(model), path)

    assert answer.status_code == 402
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == (
        "budget_exceeded",
        "insufficient_quota" if path == CHAT else "billing_error",
    )
    assert gateway.event_of(answer.headers["x-request-id"])["error_type"] == "budget_exceeded"


def test_a_tenant_whose_record_misses_a_field_is_refused_not_served_and_no_500(
    gateway: Instance, provider_site: Site, keys: dict[str, str]
) -> None:
    key = provider_site.add(tenant("broken"))
    document = provider_site.database.get("tenants", "broken")
    assert document is not None
    del document["rpm"]
    provider_site.database.put("tenants", "broken", document)

    answer = post(gateway, key, chat())

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert post(gateway, keys[VICTIM], chat()).status_code == 200


def test_a_grace_that_lies_in_the_past_suspends(gateway: Instance, provider_site: Site) -> None:
    key = provider_site.add(tenant("late", status="grace", grace_until="2020-01-01T00:00:00Z"))

    answer = post(gateway, key, chat())

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenant_suspended")


def test_a_key_of_a_megabyte_is_refused(gateway: Instance) -> None:
    """Whatever refuses it first, it is no 500 and opens nothing."""
    try:
        status = post(gateway, "tg_" + "x" * 2**20, chat()).status_code
    except httpx.TransportError:  # the server closes a connection whose headers never end
        return
    assert status in (400, 401, 413, 431)
