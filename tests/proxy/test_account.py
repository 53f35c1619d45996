"""What a tenant may see of itself: its usage, budget and limits, and nothing of another's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tallygate.appdb import faults
from tallygate.tenants import issue_key, put_tenant
from tests.proxy.test_gateway import NOON, House, Reply, answering, run
from tests.proxy.test_gateway import house as house
from tests.support.gateway import tenant

BUDGET = 10_000_000
USAGE = b'{"usage": {"prompt_tokens": 7, "completion_tokens": 3}}'
"""Seven tokens of 1,000 nano-USD."""


def usage(house: House, key: str | None = None) -> dict[str, Any]:
    reply: Reply = run(house.get("/v1/usage", key))
    assert reply.status == 200, reply.body
    content: dict[str, Any] = json.loads(reply.body)
    return content


def test_a_tenant_without_requests_sees_zeros_and_its_limits(house: House) -> None:
    put_tenant(
        house.database, tenant("acme", rpm=60, tpm=1000, max_parallel=5, monthly_budget_nano_usd=BUDGET)
    )

    assert usage(house) == {
        "object": "usage",
        "tenant_id": "acme",
        "period": {"start": "2026-03-01T00:00:00.000000Z", "end": "2026-04-01T00:00:00.000000Z"},
        "requests": 0,
        "meters": {
            "llm_input_tokens": 0,
            "llm_cached_input_tokens": 0,
            "llm_cache_write_tokens": 0,
            "llm_output_tokens": 0,
            "llm_cost_nano_usd": 0,
        },
        "budget": {
            "limit_nano_usd": BUDGET,
            "spent_nano_usd": 0,
            "left_nano_usd": BUDGET,
            "warnings_percent": [],
        },
        "limits": {
            "requests_per_minute": 60,
            "tokens_per_minute": 1000,
            "parallel_requests": 5,
            "remaining_requests": 60,
            "remaining_tokens": 1000,
        },
    }


def test_usage_is_what_the_events_say(house: House) -> None:
    served = house.behind(answering(USAGE))
    for _ in range(3):
        assert run(served.post()).status == 200

    seen = usage(served)

    events = served.events()
    assert seen["requests"] == len(events) == 3
    assert seen["meters"]["llm_input_tokens"] == sum(event["input_tokens"] for event in events) == 21
    assert seen["meters"]["llm_output_tokens"] == sum(event["output_tokens"] for event in events) == 9
    assert seen["budget"]["spent_nano_usd"] == sum(int(event["cost_nano_usd"]) for event in events) == 21_000
    assert seen["budget"]["limit_nano_usd"] is seen["budget"]["left_nano_usd"] is None


def test_a_tenant_sees_its_own_usage_only(house: House) -> None:
    put_tenant(house.database, tenant("other", models=("small",)))
    key = issue_key(house.database, "other", label="test", now=NOON).secret
    served = house.behind(answering(USAGE))
    run(served.post())

    assert usage(served, key)["requests"] == 0
    assert usage(served, key)["tenant_id"] == "other"
    assert usage(served)["requests"] == 1


def test_the_warnings_show(house: House) -> None:
    put_tenant(house.database, tenant("acme", models=("small",), monthly_budget_nano_usd=25_000))
    served = house.behind(answering(b'{"usage": {"prompt_tokens": 20, "completion_tokens": 0}}'))
    run(served.post())

    assert usage(served)["budget"] == {
        "limit_nano_usd": 25_000,
        "spent_nano_usd": 20_000,
        "left_nano_usd": 5_000,
        "warnings_percent": [80],
    }


def test_a_suspended_tenant_still_sees_its_usage(house: House) -> None:
    put_tenant(house.database, replace(tenant("acme"), status="suspended"))

    assert usage(house)["requests"] == 0


def test_without_a_key_there_is_nothing_to_see(house: House) -> None:
    reply = run(house.get("/v1/usage", "tg_wrong"))

    assert reply.status == 401
    assert json.loads(reply.body)["error"]["code"] == "invalid_key"


def test_with_the_database_down_usage_says_so_and_when_to_ask_again(house: House, tmp_path: Any) -> None:
    run(house.get("/v1/usage"))
    faults.arm(
        faults.faults_path(tmp_path / "app.sqlite"),
        {"kind": "outage", "count": None, "rate": None, "match": {}},
    )

    reply = run(house.get("/v1/usage"))

    assert reply.status == 503
    assert json.loads(reply.body)["error"]["code"] == "database_unavailable"
    assert reply.headers["retry-after"] == "5"


def test_only_get_is_served(house: House) -> None:
    assert run(house.post(path="/v1/usage")).status == 404
