"""Events that can be read back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, refusal, use


def test_events_are_listed_newest_first_by_type_and_time(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(hours=1)
    client.v1.customers.update(shop.customer, {"name": "b"})
    since = int((START + timedelta(minutes=30)).timestamp())

    types = [event.type for event in client.v1.events.list({"type": "customer.*", "limit": 100}).data]
    recent = client.v1.events.list({"created": {"gte": since}}).data

    assert types == ["customer.updated", "customer.subscription.created", "customer.created"]
    assert [event.type for event in recent] == ["customer.updated"]
    assert client.v1.events.list({"types": ["invoice.paid"]}).data[0].data.object["status"] == "paid"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.events.list({"type": "invoice.paid", "types": ["invoice.paid"]})


def test_an_event_shows_the_object_as_it_was_then(client: stripe.StripeClient, shop: Shop) -> None:
    client.v1.customers.update(shop.customer, {"name": "later"})

    event = client.v1.events.list({"type": "customer.created"}).data[0]

    assert event.data.object["name"] == "aurora"
    assert client.v1.events.retrieve(event.id).api_version == stripe.api_version


def test_events_are_kept_for_30_days(client: stripe.StripeClient, double: Double) -> None:
    client.v1.customers.create({"name": "a"})
    event = client.v1.events.list().data[0]

    double.clock.at = START + timedelta(days=30)
    assert client.v1.events.list().data
    double.clock.at = START + timedelta(days=30, seconds=1)

    assert client.v1.events.list().data == []
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.events.retrieve(event.id)
    assert refusal(error.value) == (404, "resource_missing")


def test_thin_events_are_paged_and_filtered(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    for number in range(5):
        use(client, "cus_unknown", 1, f"lost {number}", double.clock.at)
        double.advance(minutes=3)
    kinds = ["v1.billing.meter.error_report_triggered"]
    since = (START + timedelta(minutes=7)).isoformat()

    every = list(client.v2.core.events.list({"types": kinds, "limit": 2}).auto_paging_iter())
    recent = client.v2.core.events.list({"types": kinds, "created": {"gte": since}}).data
    about = client.v2.core.events.list({"object_id": shop.tokens}).data

    assert len({event.id for event in every}) == 5
    assert [event.created for event in every] == sorted((event.created for event in every), reverse=True)
    assert len(recent) == 3
    assert {event.type for event in about} == {*kinds, "v1.billing.meter.created"}


def test_a_thin_event_that_does_not_exist_is_missing(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.StripeError) as error:
        client.v2.core.events.retrieve("evt_test_unknown")

    assert error.value.http_status == 404


def test_deactivating_a_meter_is_told(client: stripe.StripeClient, shop: Shop) -> None:
    client.v1.billing.meters.deactivate(shop.tokens)

    event: Any = client.v1.events.list({"type": "billing.meter.deactivated"}).data[0]
    assert event.data.object.status == "inactive"


def test_an_update_says_what_was_before(client: stripe.StripeClient, shop: Shop) -> None:
    client.v1.subscriptions.update(shop.subscription, {"cancel_at_period_end": True})
    client.v1.customers.update(shop.customer, {"name": "borealis"})

    kinds = ["customer.updated", "customer.subscription.updated"]
    events: list[Any] = client.v1.events.list({"types": kinds}).data
    customer, subscription = (event.data.previous_attributes.to_dict() for event in events)
    assert customer == {"name": "aurora"}
    assert subscription["cancel_at_period_end"] is False
