"""What comes too fast or at the same time, and the faults that happen on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.stripe.limits import BURST_SECONDS, RateLimit
from tests.sandbox.stripe.double import START, Double, Host, Shop, refusal, use

EVENTS_V1 = "/v1/billing/meter_events"
EVENTS_V2 = "/v2/billing/meter_events"
SLOW_SECONDS = 0.8
"""Long enough for another call to come meanwhile, also on a busy machine."""


@contextmanager
def slow_event(double: Double, shop: Shop) -> Iterator[None]:
    """One meter event of version 2 on the customer and ``tokens``, at work while the block runs."""
    double.arm("latency", seconds=SLOW_SECONDS, match={"path": EVENTS_V2})
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(use, double.client(), shop.customer, 1, "slow", START)
        wait_until_injected(double, "latency")
        yield
        slow.result()


def wait_until_injected(double: Double, kind: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        faults = double.get("/_sandbox/faults")["faults"]
        if any(fault["kind"] == kind and fault["injected"] for fault in faults):
            return
    raise AssertionError(f"{kind} was not injected")


def test_v2_takes_one_call_at_a_time_for_a_customer_and_meter(
    client: stripe.StripeClient, double: Double, shop: Shop
) -> None:
    with slow_event(double, shop), pytest.raises(stripe.APIError) as error:
        use(client, shop.customer, 1, "meanwhile", START)

    assert refusal(error.value) == (409, "too_many_concurrent_requests")
    assert [event["identifier"] for event in double.get("/_sandbox/ledger")["events"]] == ["slow"]


def test_other_meters_and_other_customers_are_not_in_the_way(
    client: stripe.StripeClient, double: Double, shop: Shop
) -> None:
    other = client.v1.customers.create({"name": "borealis"}).id

    with slow_event(double, shop):
        use(client, shop.customer, 1, "other meter", START, meter="cost")
        use(client, other, 1, "other customer", START)

    assert len(double.get("/_sandbox/ledger")["events"]) == 3


def test_v1_answers_a_lock_timeout_that_the_sdk_retries(double: Double, shop: Shop) -> None:
    double.arm("latency", match={"path": EVENTS_V1}, seconds=SLOW_SECONDS)
    params: Any = {"event_name": "tokens", "payload": {"stripe_customer_id": shop.customer, "value": "1"}}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(double.client().v1.billing.meter_events.create, params)
        wait_until_injected(double, "latency")

        with pytest.raises(stripe.RateLimitError) as error:
            double.client().v1.billing.meter_events.create(params)
        double.client(max_network_retries=4).v1.billing.meter_events.create(params)
        slow.result()

    assert refusal(error.value) == (429, "lock_timeout")
    assert error.value.headers is not None
    assert error.value.headers["stripe-rate-limited-reason"] == "resource-specific"
    assert len(double.get("/_sandbox/ledger")["events"]) == 2


def test_a_key_in_use_is_a_conflict(double: Double) -> None:
    double.arm("latency", seconds=SLOW_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(double.client().v1.customers.create, {"name": "a"}, {"idempotency_key": "k"})
        wait_until_injected(double, "latency")

        with pytest.raises(stripe.APIError) as error:
            double.client().v1.customers.create({"name": "a"}, {"idempotency_key": "k"})
        made = slow.result()

    assert refusal(error.value) == (409, "idempotency_key_in_use")
    assert [one.id for one in double.client().v1.customers.list().data] == [made.id]


def test_a_rate_limit_says_why_and_the_sdk_does_not_retry_it(double: Double) -> None:
    double.arm("rate_limit_429")

    with pytest.raises(stripe.RateLimitError) as error:
        double.client(max_network_retries=2).v1.customers.list()

    assert error.value.headers is not None
    assert error.value.headers["stripe-rate-limited-reason"] == "global-rate"
    assert refusal(error.value) == (429, "rate_limit")


def test_meter_events_have_a_limit_of_their_own(host: Host, tmp_path: Path) -> None:
    with host.running(tmp_path / "stripe", basic_per_second=0.3) as double:
        client = double.client()
        for _ in range(int(0.3 * BURST_SECONDS)):
            client.v1.customers.list()
        with pytest.raises(stripe.RateLimitError):
            client.v1.customers.list()

        with pytest.raises(stripe.StripeError) as error:
            use(client, "cus_1", 1, "one", START)

    assert refusal(error.value) == (400, "no_meter")


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    limit = RateLimit(per_second=2, monotonic=lambda: now[0])
    taken = sum(limit.take() for _ in range(100))
    assert taken == 2 * BURST_SECONDS
    assert not limit.take()

    now[0] += 1.5

    assert [limit.take() for _ in range(4)] == [True, True, True, False]


def test_a_conflict_can_be_injected_in_version_2(
    client: stripe.StripeClient, double: Double, shop: Shop
) -> None:
    double.arm("conflict_409", match={"path": EVENTS_V2})

    with pytest.raises(stripe.APIError) as error:
        use(client, shop.customer, 1, "one", START)

    assert refusal(error.value) == (409, "too_many_concurrent_requests")


def test_a_conflict_can_be_injected_in_version_1(client: stripe.StripeClient, double: Double) -> None:
    double.arm("conflict_409")

    with pytest.raises(stripe.APIError) as error:
        client.v1.customers.create({"name": "a"})

    assert refusal(error.value) == (409, "idempotency_key_in_use")


def test_an_outage_answers_nothing_and_does_nothing(double: Double) -> None:
    double.arm("outage", count=2)
    for _ in range(2):
        with pytest.raises(stripe.APIConnectionError):
            double.client().v1.customers.create({"name": "a"})

    assert double.client().v1.customers.list().data == []


def test_commit_then_drop_does_the_work_and_closes_the_connection(double: Double) -> None:
    double.arm("commit_then_drop")

    with pytest.raises(stripe.APIConnectionError):
        double.client().v1.customers.create({"name": "a"})

    assert len(double.client().v1.customers.list().data) == 1


def test_commit_then_500_does_the_work_and_says_otherwise(double: Double) -> None:
    double.arm("commit_then_500")

    with pytest.raises(stripe.APIError) as error:
        double.client().v1.customers.create({"name": "a"})

    assert error.value.http_status == 500
    assert len(double.client().v1.customers.list().data) == 1


def test_a_fault_after_the_commit_waits_for_something_that_commits(double: Double) -> None:
    double.arm("commit_then_500")
    client = double.client()
    wrong: Any = {"customer": "cus_unknown", "items": [{"price": "price_unknown"}]}

    client.v1.customers.list()
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscriptions.create(wrong)

    with pytest.raises(stripe.APIError):
        client.v1.customers.create({"name": "a"})


def test_a_fault_hits_only_what_it_matches(client: stripe.StripeClient, double: Double, shop: Shop) -> None:
    double.arm("error_500", match={"customer": shop.customer, "meter": "tokens"})

    use(client, shop.customer, 1, "cost", START, meter="cost")
    client.v1.customers.list()
    with pytest.raises(stripe.APIError):
        use(client, shop.customer, 1, "tokens", START)


def test_a_stale_read_shows_an_object_before_its_last_change(
    client: stripe.StripeClient, double: Double, shop: Shop
) -> None:
    client.v1.subscriptions.update(shop.subscription, {"cancel_at_period_end": True})
    double.arm("stale_read", match={"path": f"/v1/subscriptions/{shop.subscription}"})

    stale = client.v1.subscriptions.retrieve(shop.subscription)
    fresh = client.v1.subscriptions.retrieve(shop.subscription)

    assert (stale.cancel_at_period_end, fresh.cancel_at_period_end) == (False, True)
