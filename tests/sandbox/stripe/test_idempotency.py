"""Idempotency keys: version 1 keeps every first answer, version 2 does failed work again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, refusal, use

EVENTS_V1 = "/v1/billing/meter_events"
EVENTS_V2 = "/v2/billing/meter_events"


def received(double: Double) -> list[str]:
    return [event["identifier"] for event in double.get("/_sandbox/ledger")["events"]]


def v1_send(client: stripe.StripeClient, shop: Shop, key: str, value: str = "5") -> Any:
    params: Any = {
        "event_name": "tokens", "identifier": "one",
        "payload": {"stripe_customer_id": shop.customer, "value": value},
    }  # fmt: skip
    return client.v1.billing.meter_events.create(params, {"idempotency_key": key})


def test_v1_answers_a_repeated_key_as_the_first_time(client: stripe.StripeClient) -> None:
    first = client.v1.customers.create({"name": "a"}, {"idempotency_key": "k"})
    again = client.v1.customers.create({"name": "a"}, {"idempotency_key": "k"})

    assert first.id == again.id
    assert again.last_response.headers["idempotent-replayed"] == "true"  # type: ignore[union-attr]
    assert again.last_response.headers["original-request"] == first.last_response.headers["request-id"]  # type: ignore[union-attr]
    assert len(client.v1.customers.list().data) == 1


def test_v1_keeps_an_answer_for_24_hours(client: stripe.StripeClient, double: Double) -> None:
    first = client.v1.customers.create({"name": "a"}, {"idempotency_key": "k"})
    double.clock.at = START + timedelta(hours=24, seconds=1)

    assert client.v1.customers.create({"name": "a"}, {"idempotency_key": "k"}).id != first.id


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_key_belongs_to_one_request(client: stripe.StripeClient, shop: Shop, version: str) -> None:
    def send(value: int) -> None:
        if version == "v1":
            v1_send(client, shop, "k", str(value))
        else:
            use(client, shop.customer, value, "one", START, key="k")

    send(1)

    with pytest.raises(stripe.IdempotencyError) as error:
        send(2)
    assert error.value.http_status == 400


def test_v1_sticks_to_a_500(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.arm("error_500", match={"path": EVENTS_V1})
    for _ in range(2):
        with pytest.raises(stripe.APIError) as error:
            v1_send(client, shop, "k")
        assert error.value.http_status == 500
    assert received(double) == []

    v1_send(client, shop, "another key")

    assert received(double) == ["one"]


def test_v1_sticks_to_a_refusal_of_work_that_began(client: stripe.StripeClient, shop: Shop) -> None:
    client.v1.billing.meters.deactivate(shop.tokens)
    with pytest.raises(stripe.InvalidRequestError):
        v1_send(client, shop, "k")
    client.v1.billing.meters.reactivate(shop.tokens)

    with pytest.raises(stripe.InvalidRequestError) as error:
        v1_send(client, shop, "k")

    assert refusal(error.value) == (400, "archived_meter")


def test_v1_keeps_nothing_of_a_request_that_was_not_valid(client: stripe.StripeClient) -> None:
    wrong: Any = {"nam": "a"}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create(wrong, {"idempotency_key": "k"})

    assert client.v1.customers.create({"name": "a"}, {"idempotency_key": "k"}).name == "a"


@pytest.mark.parametrize("fault", ["rate_limit_429", "conflict_409"])
def test_v1_keeps_nothing_of_a_request_that_was_turned_away(
    client: stripe.StripeClient, shop: Shop, double: Double, fault: str
) -> None:
    double.arm(fault, match={"path": EVENTS_V1})
    with pytest.raises(stripe.StripeError):
        v1_send(client, shop, "k")

    v1_send(client, shop, "k")

    assert received(double) == ["one"]


def test_v2_does_failed_work_again(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.arm("error_500", match={"path": EVENTS_V2})
    with pytest.raises(stripe.APIError):
        use(client, shop.customer, 5, "one", START, key="k")

    use(client, shop.customer, 5, "one", START, key="k")

    assert received(double) == ["one"]


def test_v2_does_refused_work_again(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    client.v1.billing.meters.deactivate(shop.tokens)
    with pytest.raises(stripe.StripeError):
        use(client, shop.customer, 5, "one", START, key="k")
    client.v1.billing.meters.reactivate(shop.tokens)

    use(client, shop.customer, 5, "one", START, key="k")

    assert received(double) == ["one"]


@pytest.mark.parametrize("fault", ["commit_then_500", "commit_then_drop"])
def test_v2_knows_by_the_key_that_the_work_was_done(
    client: stripe.StripeClient, shop: Shop, double: Double, fault: str
) -> None:
    double.arm(fault, match={"path": EVENTS_V2})
    with pytest.raises(stripe.StripeError):
        use(client, shop.customer, 5, "one", START, key="k")

    use(client, shop.customer, 5, "one", START, key="k")

    assert received(double) == ["one"]


@pytest.mark.parametrize("fault", ["commit_then_500", "commit_then_drop"])
def test_under_another_key_work_that_was_done_is_a_duplicate(
    client: stripe.StripeClient, shop: Shop, double: Double, fault: str
) -> None:
    double.arm(fault, match={"path": EVENTS_V2})
    with pytest.raises(stripe.StripeError):
        use(client, shop.customer, 5, "one", START, key="one:a0")

    with pytest.raises(stripe.StripeError) as error:
        use(client, shop.customer, 5, "one", START, key="one:a1")

    assert refusal(error.value) == (400, "duplicate_meter_event")


def test_v1_sticks_to_a_500_that_hides_work_that_was_done(
    client: stripe.StripeClient, double: Double
) -> None:
    double.arm("commit_then_500")
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            client.v1.customers.create({"name": "a"}, {"idempotency_key": "k"})

    assert len(client.v1.customers.list().data) == 1


def test_the_sdk_retries_a_dropped_call_under_one_key_and_does_the_work_once(
    double: Double,
) -> None:
    double.arm("commit_then_drop", count=2)

    double.client(max_network_retries=2).v1.customers.create({"name": "a"})

    assert len(double.client().v1.customers.list().data) == 1


def test_a_key_has_at_most_255_characters(client: stripe.StripeClient) -> None:
    client.v1.customers.create({"name": "a"}, {"idempotency_key": "k" * 255})

    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "a"}, {"idempotency_key": "k" * 256})


def test_the_versions_keep_their_keys_apart(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    v1_send(client, shop, "k")
    use(client, shop.customer, 5, "two", START, key="k")

    assert received(double) == ["one", "two"]
