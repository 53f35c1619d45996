"""Whatever is sent, the double answers, and not with a failure of its own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.stripe.double import Double, Shop

_WORDS = """
event_name identifier timestamp payload stripe_customer_id value customer items price quantity metadata expand
limit starting_after created gte recurring interval usage_type meter 0 1 -1 id amount currency invoice mode
line_items success_url subscription_data trial_period_days trial_end from_subscription features lines type
"""
_NAMES = st.sampled_from(_WORDS.split())
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12), st.sampled_from(["tokens", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"]),
)  # fmt: skip
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.lists(
    st.tuples(
        st.tuples(_NAMES, st.lists(_NAMES | st.just(""), max_size=3)).map(
            lambda parts: parts[0] + "".join(f"[{step}]" for step in parts[1])
        ),
        st.text(max_size=8) | st.sampled_from(["1", "-1", "tokens", "true", "999999999999999999999"]),
    ),
    max_size=6,
)  # fmt: skip
_PATHS = [
    "/v1/billing/meter_events", "/v1/billing/meters", "/v1/billing/meter_event_adjustments", "/v1/customers",
    "/v1/products", "/v1/prices", "/v1/subscriptions", "/v1/subscription_items", "/v1/invoices",
    "/v1/invoiceitems", "/v1/webhook_endpoints", "/v1/checkout/sessions", "/v1/subscription_schedules",
    "/v1/credit_notes", "/v1/billing_portal/configurations", "/v1/billing_portal/sessions",
]  # fmt: skip


def is_own_failure(answer: Any) -> bool:
    return answer.status_code >= 500 or ("error" not in answer.json() and answer.status_code != 200)


@given(body=st.dictionaries(_NAMES, _JSON, max_size=5))
@settings(max_examples=60)
@pytest.mark.parametrize("path", ["/v2/billing/meter_events", "/v2/core/event_destinations"])
def test_any_json_is_answered(double: Double, shop: Shop, path: str, body: dict[str, Any]) -> None:
    answer = double.http.post(f"{double.url}{path}", json=body, headers={"authorization": "Bearer sk_test_x"})

    assert not is_own_failure(answer), body


@given(customer=_JSON, value=_JSON, timestamp=_JSON, identifier=_JSON)
@settings(max_examples=100)
def test_any_meter_event_is_answered(
    double: Double, shop: Shop, customer: Any, value: Any, timestamp: Any, identifier: Any
) -> None:
    event = {
        "event_name": "tokens", "identifier": identifier, "timestamp": timestamp,
        "payload": {"stripe_customer_id": customer, "value": value},
    }  # fmt: skip
    answer = double.http.post(
        f"{double.url}/v2/billing/meter_events", json=event, headers={"authorization": "Bearer sk_test_x"}
    )

    assert not is_own_failure(answer), event


@given(fields=_FIELDS)
@settings(max_examples=20)
@pytest.mark.parametrize("path", _PATHS)
def test_any_form_is_answered(double: Double, shop: Shop, path: str, fields: list[tuple[str, str]]) -> None:
    headers = {"authorization": "Bearer sk_test_x"}
    written = double.http.post(f"{double.url}{path}", content=urlencode(fields), headers=headers)
    read = double.http.get(f"{double.url}{path}?{urlencode(fields)}", headers=headers)

    assert not is_own_failure(written), fields
    assert not is_own_failure(read), fields


@pytest.mark.parametrize("seconds", ["0", "-60", "253402300800", "60000000000000000000"])
@pytest.mark.parametrize("query", ["start_time={}&end_time=60", "start_time=0&end_time={}"])
def test_any_moment_is_answered(double: Double, shop: Shop, query: str, seconds: str) -> None:
    url = f"{double.url}/v1/billing/meters/{shop.tokens}/event_summaries?customer={shop.customer}&"

    answer = double.http.get(url + query.format(seconds), headers={"authorization": "Bearer sk_test_x"})

    assert not is_own_failure(answer)


@pytest.mark.parametrize("seconds", ["-1", "253402300800", "999999999999999999"])
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/billing/meter_events", "timestamp"), ("/v1/subscriptions", "backdate_start_date"),
        ("/v1/subscriptions", "billing_cycle_anchor"),
    ],
)  # fmt: skip
def test_any_timestamp_is_answered(double: Double, shop: Shop, path: str, field: str, seconds: str) -> None:
    fields = {
        "/v1/billing/meter_events": {
            "event_name": "tokens", "payload[stripe_customer_id]": shop.customer, "payload[value]": "1",
        },
        "/v1/subscriptions": {"customer": shop.customer, "items[0][price]": shop.tokens_price},
    }[path]  # fmt: skip

    answer = double.http.post(
        f"{double.url}{path}", data=fields | {field: seconds}, headers={"authorization": "Bearer sk_test_x"}
    )

    assert answer.status_code == 400
    assert not is_own_failure(answer)
