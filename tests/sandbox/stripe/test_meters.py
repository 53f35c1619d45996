"""Meters: one active meter per event name, immutable but for the display name."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import make_meter, refusal


def test_a_meter_is_read_back_as_it_was_made(client: stripe.StripeClient) -> None:
    made = make_meter(client, "tokens", event_time_window="hour")

    read = client.v1.billing.meters.retrieve(made.id)

    assert (read.event_name, read.status, read.event_time_window) == ("tokens", "active", "hour")
    assert read.customer_mapping.event_payload_key == "stripe_customer_id"
    assert read.value_settings.event_payload_key == "value"


def test_an_event_name_has_one_active_meter(client: stripe.StripeClient) -> None:
    first = make_meter(client, "tokens")
    with pytest.raises(stripe.InvalidRequestError, match="already an active meter"):
        make_meter(client, "tokens")

    client.v1.billing.meters.deactivate(first.id)
    second = make_meter(client, "tokens")

    with pytest.raises(stripe.InvalidRequestError, match="already an active meter"):
        client.v1.billing.meters.reactivate(first.id)
    assert [meter.id for meter in client.v1.billing.meters.list({"status": "active"}).data] == [second.id]


def test_only_the_display_name_can_be_changed(client: stripe.StripeClient) -> None:
    meter = make_meter(client, "tokens")
    assert client.v1.billing.meters.update(meter.id, {"display_name": "Tokens"}).display_name == "Tokens"

    params: Any = {"event_name": "other"}
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.billing.meters.update(meter.id, params)

    assert refusal(error.value) == (400, "parameter_unknown")


def test_an_event_name_has_at_most_100_characters(client: stripe.StripeClient) -> None:
    make_meter(client, "x" * 100)

    with pytest.raises(stripe.InvalidRequestError):
        make_meter(client, "y" * 101)


def test_there_is_no_formula_max(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as error:
        make_meter(client, "tokens", default_aggregation={"formula": "max"})

    assert error.value.param == "default_aggregation[formula]"


def test_deactivating_twice_is_refused(client: stripe.StripeClient) -> None:
    meter = make_meter(client, "tokens")
    stopped = client.v1.billing.meters.deactivate(meter.id)
    assert stopped.status == "inactive"
    assert stopped.status_transitions.deactivated_at is not None

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.billing.meters.deactivate(meter.id)


def test_a_meter_that_does_not_exist_is_missing(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.billing.meters.retrieve("mtr_unknown")

    assert refusal(error.value) == (404, "resource_missing")


def test_a_metered_price_needs_an_active_meter(client: stripe.StripeClient) -> None:
    product = client.v1.products.create({"name": "Gateway"}).id
    meter = make_meter(client, "tokens")
    params: Any = {
        "product": product, "currency": "usd", "unit_amount_decimal": "0.0003",
        "recurring": {"interval": "month", "usage_type": "metered"},
    }  # fmt: skip
    with pytest.raises(stripe.InvalidRequestError, match="backed by a meter"):
        client.v1.prices.create(params)

    client.v1.billing.meters.deactivate(meter.id)

    params["recurring"]["meter"] = meter.id
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        client.v1.prices.create(params)
