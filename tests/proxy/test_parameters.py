"""Body parameters: what is listed passes unchanged, what is not is refused, and nothing crashes."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import admission
from proxy.errors import ApiError
from proxy.parameters import ALLOWED, checked
from proxy.paths import ENDPOINTS
from tallygate.catalogue import Model, Price

NOON = datetime(2026, 3, 1, tzinfo=UTC)
PRICE = Price("v1", NOON, input=2_000, cached_input=0, cache_write=3_000, output=10_000)
MODEL = Model("m", "openai", "gpt-x", "chat", "c", (PRICE,), (), 10, 0, 100, None, "KEY")
NAMES = sorted({name for names in ALLOWED.values() for name in names})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_every_endpoint_has_its_list() -> None:
    assert set(ALLOWED) == {endpoint.name for endpoint in ENDPOINTS}


@given(
    endpoint=st.sampled_from(sorted(ALLOWED)),
    body=st.dictionaries(st.sampled_from([*NAMES, "no-log"]), json_values, max_size=6) | json_values,
)
def test_any_body_passes_or_is_refused(endpoint: str, body: Any) -> None:
    try:
        passed = checked(endpoint, copy.deepcopy(body))
    except ApiError:
        return  # anything else would be the gateway's own failure

    assert set(passed) <= ALLOWED[endpoint]
    reserved = admission.reservation(MODEL, passed, 100, NOON)
    assert reserved.tokens > 0
    assert reserved.cost_nano_usd > 0


@pytest.mark.parametrize(
    ("endpoint", "body", "stored"),
    [
        ("responses", {"model": "m", "input": "x"}, False),
        ("responses", {"model": "m", "input": "x", "store": True}, False),
        ("chat/completions", {"model": "m", "messages": [], "store": True}, False),
        ("chat/completions", {"model": "m", "messages": []}, None),
    ],
)
def test_nothing_is_stored_at_the_provider(endpoint: str, body: dict[str, Any], stored: bool | None) -> None:
    assert checked(endpoint, body).get("store") is stored


@pytest.mark.parametrize("tier", ["auto", "flex", "priority", "", 7, ["default"]])
def test_a_service_tier_without_a_price_is_refused(tier: Any) -> None:
    with pytest.raises(ApiError, match="service_tier"):
        checked("chat/completions", {"model": "m", "messages": [], "service_tier": tier})


@pytest.mark.parametrize(
    ("body", "tokens", "cost"),
    [
        ({}, 10 + 100, 10 * 3 + 100 * 10),
        ({"max_tokens": 5}, 10 + 5, 10 * 3 + 5 * 10),
        ({"max_completion_tokens": 10**9}, 10 + 100, 10 * 3 + 100 * 10),
        ({"max_tokens": None, "n": 2}, 10 + 200, 10 * 3 + 200 * 10),
    ],
)
def test_a_reservation_covers_the_most_that_a_request_can_cost(
    body: dict[str, Any], tokens: int, cost: int
) -> None:
    reserved = admission.reservation(MODEL, body, 30, NOON)

    assert (reserved.tokens, reserved.cost_nano_usd) == (tokens, cost)
