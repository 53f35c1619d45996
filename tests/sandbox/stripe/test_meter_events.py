"""Meter events: what is refused at once, what later, and what counts only once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, make_meter, refusal, use


def v1_event(shop: Shop, **changes: Any) -> Any:
    event = {
        "event_name": "tokens", "identifier": "one", "timestamp": int(START.timestamp()),
        "payload": {"stripe_customer_id": shop.customer, "value": "5"},
    }  # fmt: skip
    return event | changes


def test_a_repeated_identifier_is_refused_by_v1_without_a_code_and_without_retry(
    client: stripe.StripeClient, shop: Shop
) -> None:
    client.v1.billing.meter_events.create(v1_event(shop))

    with pytest.raises(stripe.InvalidRequestError, match="already exists with identifier one") as error:
        client.v1.billing.meter_events.create(v1_event(shop))

    assert refusal(error.value) == (400, None)
    assert error.value.headers is not None
    assert error.value.headers["stripe-should-retry"] == "false"


def test_a_repeated_identifier_is_refused_by_v2_with_a_typed_code(
    client: stripe.StripeClient, shop: Shop
) -> None:
    use(client, shop.customer, 5, "one", START)

    with pytest.raises(stripe.StripeError) as error:
        use(client, shop.customer, 5, "one", START)

    assert refusal(error.value) == (400, "duplicate_meter_event")


def test_an_identifier_is_unique_for_24_hours_only(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, 5, "one", START)
    double.clock.at = START + timedelta(hours=23, minutes=59)
    with pytest.raises(stripe.StripeError):
        use(client, shop.customer, 5, "one", START)

    double.clock.at = START + timedelta(hours=24, seconds=1)
    use(client, shop.customer, 5, "one", START)

    assert [event["value"] for event in double.get("/_sandbox/ledger")["events"]] == ["5", "5"]


@pytest.mark.parametrize(
    ("ago", "code"),
    [
        (timedelta(days=35, minutes=1), "timestamp_too_far_in_past"),
        (timedelta(days=34, hours=23), None),
        (timedelta(minutes=-4), None),
        (timedelta(minutes=-6), "timestamp_in_future"),
    ],
)
def test_events_lie_between_35_days_back_and_5_minutes_ahead(
    client: stripe.StripeClient, shop: Shop, ago: timedelta, code: str | None
) -> None:
    if code is None:
        use(client, shop.customer, 1, "in", START - ago)
        return
    with pytest.raises(stripe.StripeError) as error:
        use(client, shop.customer, 1, "out", START - ago)
    assert refusal(error.value) == (400, code)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("9" * 15, None),
        ("-5", None),
        ("1" + "0" * 15, "meter_event_value_too_many_digits"),
        ("1.5", "payload_invalid_value"),
        ("1e-05", "payload_invalid_value"),
        ("many", "payload_invalid_value"),
        ("", "payload_invalid_value"),
    ],
)
def test_values_are_whole_numbers_of_at_most_15_digits(
    client: stripe.StripeClient, shop: Shop, value: str, code: str | None
) -> None:
    if code is None:
        use(client, shop.customer, value, "fits", START)
        return
    with pytest.raises(stripe.StripeError) as error:
        use(client, shop.customer, value, "does not", START)
    assert refusal(error.value) == (400, code)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"value": "1"}, "payload_no_customer_defined"),
        ({"stripe_customer_id": "cus_1"}, "payload_no_value_defined"),
    ],
)
def test_a_payload_names_customer_and_value(
    client: stripe.StripeClient, shop: Shop, payload: dict[str, str], code: str
) -> None:
    params: Any = {"event_name": "tokens", "payload": payload}

    with pytest.raises(stripe.StripeError) as error:
        client.v2.billing.meter_events.create(params)

    assert refusal(error.value) == (400, code)


def test_an_event_without_a_meter_is_refused(client: stripe.StripeClient, shop: Shop) -> None:
    with pytest.raises(stripe.StripeError) as error:
        use(client, shop.customer, 1, "one", START, meter="unheard_of")

    assert refusal(error.value) == (400, "no_meter")


def test_a_deactivated_meter_refuses_events_until_it_is_reactivated(
    client: stripe.StripeClient, shop: Shop
) -> None:
    client.v1.billing.meters.deactivate(shop.tokens)
    with pytest.raises(stripe.StripeError) as error:
        use(client, shop.customer, 1, "one", START)
    assert refusal(error.value) == (400, "archived_meter")

    client.v1.billing.meters.reactivate(shop.tokens)

    use(client, shop.customer, 1, "one", START)


def test_an_identifier_has_at_most_100_characters(client: stripe.StripeClient, shop: Shop) -> None:
    use(client, shop.customer, 1, "x" * 100, START)

    with pytest.raises(stripe.InvalidRequestError):
        use(client, shop.customer, 1, "x" * 101, START)


def test_an_unknown_customer_is_accepted_and_reported_later_by_a_thin_event(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, "cus_unknown", 7, "lost", START, key="lost:a0")
    assert not client.v2.core.events.list({"types": ["v1.billing.meter.error_report_triggered"]}).data

    double.advance(minutes=5)

    event: Any = client.v2.core.events.list({"types": ["v1.billing.meter.error_report_triggered"]}).data[0]
    assert event.related_object.id == shop.tokens
    error = event.data.reason.error_types[0]
    assert (error.code, error.error_count) == ("meter_event_customer_not_found", 1)
    assert error.sample_errors[0].request.identifier == "lost:a0"
    assert double.get("/_sandbox/ledger")["events"] == []


def test_a_report_counts_every_error_and_shows_samples_only(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    for number in range(8):
        use(client, "cus_unknown", 7, f"lost {number}", START)

    double.advance(minutes=5)

    event: Any = client.v2.core.events.list().data[0]
    error = event.data.reason.error_types[0]
    assert (error.error_count, len(error.sample_errors)) == (8, 5)


def test_events_of_no_meter_sent_by_the_stream_are_reported_without_a_meter(
    client: stripe.StripeClient, double: Double
) -> None:
    session = client.v2.billing.meter_event_session.create()
    events: Any = [{"event_name": "unheard_of", "payload": {"stripe_customer_id": "cus_1", "value": "1"}}]

    client.v2.billing.meter_event_stream.create({"events": events}, {"api_key": session.authentication_token})
    double.advance(minutes=5)

    event: Any = client.v2.core.events.list().data[0]
    assert event.type == "v1.billing.meter.no_meter_found"
    assert event.data.reason.error_types[0].code == "no_meter"


def test_the_stream_takes_100_events_at_once_and_drops_repeats_silently(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    token = client.v2.billing.meter_event_session.create().authentication_token

    def send(count: int) -> None:
        events: Any = [
            {
                "event_name": "tokens", "identifier": f"n{number}",
                "payload": {"stripe_customer_id": shop.customer, "value": "1"},
            }
            for number in range(count)
        ]  # fmt: skip
        client.v2.billing.meter_event_stream.create({"events": events}, {"api_key": token})

    send(100)
    send(100)
    with pytest.raises(stripe.InvalidRequestError):
        send(101)

    assert len(double.get("/_sandbox/ledger")["events"]) == 100


def test_a_session_lasts_15_minutes(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    token = client.v2.billing.meter_event_session.create().authentication_token
    events: Any = [{"event_name": "tokens", "payload": {"stripe_customer_id": shop.customer, "value": "1"}}]
    client.v2.billing.meter_event_stream.create({"events": events}, {"api_key": token})

    double.advance(minutes=15, seconds=1)

    with pytest.raises(stripe.TemporarySessionExpiredError) as error:
        client.v2.billing.meter_event_stream.create({"events": events}, {"api_key": token})
    assert refusal(error.value) == (401, "billing_meter_event_session_expired")


def test_an_api_key_does_not_open_the_stream(client: stripe.StripeClient, shop: Shop) -> None:
    events: Any = [{"event_name": "tokens", "payload": {"stripe_customer_id": shop.customer, "value": "1"}}]

    with pytest.raises(stripe.AuthenticationError):
        client.v2.billing.meter_event_stream.create({"events": events})


def test_an_event_can_be_canceled_within_24_hours_of_its_arrival(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, 5, "wrong", START)
    use(client, shop.customer, 2, "right", START)

    client.v1.billing.meter_event_adjustments.create(
        {"type": "cancel", "event_name": "tokens", "cancel": {"identifier": "wrong"}}
    )

    assert [event["identifier"] for event in double.get("/_sandbox/ledger")["events"]] == ["right"]
    double.clock.at = START + timedelta(hours=25)
    with pytest.raises(stripe.InvalidRequestError, match="24 hours"):
        client.v1.billing.meter_event_adjustments.create(
            {"type": "cancel", "event_name": "tokens", "cancel": {"identifier": "right"}}
        )


def test_a_meter_reads_the_payload_keys_that_it_was_made_with(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    make_meter(
        client, "calls",
        customer_mapping={"type": "by_id", "event_payload_key": "who"},
        value_settings={"event_payload_key": "how_many"},
    )  # fmt: skip
    params: Any = {"event_name": "calls", "payload": {"who": shop.customer, "how_many": "4"}}

    client.v2.billing.meter_events.create(params)

    event = double.get("/_sandbox/ledger")["events"][0]
    assert (event["customer"], event["meter"], event["value"]) == (shop.customer, "calls", "4")


def test_a_meter_that_counts_needs_no_value(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    make_meter(client, "calls", default_aggregation={"formula": "count"})
    params: Any = {"event_name": "calls", "payload": {"stripe_customer_id": shop.customer}}

    for _ in range(3):
        client.v2.billing.meter_events.create(params)

    assert double.get("/_sandbox/ledger")["meter_hours"][0]["value"] == "3"
