"""What is believed of Stripe; docs/stripe.md lists each test."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import stripe

from sandbox.layout import REPOSITORY
from tallygate.subscriptions.events import THIN_EVENTS
from tallygate.subscriptions.moving import MOVE_KEY
from tallygate.subscriptions.portal import (
    allows,
    create_configuration,
    find_configuration,
    wanted_features,
)

PAGE = REPOSITORY / "docs" / "stripe.md"


@pytest.fixture
def product(client: stripe.StripeClient) -> Iterator[str]:
    made = client.v1.products.create({"name": "conformance"}).id
    yield made
    client.v1.products.update(made, {"active": False})


@pytest.fixture
def customer(client: stripe.StripeClient) -> Iterator[str]:
    made = client.v1.customers.create({"name": "conformance"}).id
    yield made
    if not getattr(client.v1.customers.retrieve(made), "deleted", False):
        client.v1.customers.delete(made)


def price(client: stripe.StripeClient, product: str, **changes: Any) -> stripe.Price:
    params: Any = {
        "product": product,
        "currency": "usd",
        "unit_amount": 0,
        "recurring": {"interval": "month"},
        "metadata": {"tallygate_plan": "team"},
    } | changes
    return client.v1.prices.create(params)


def subscribe(client: stripe.StripeClient, customer: str, product: str) -> stripe.Subscription:
    """A subscription that costs nothing, so that no card is needed."""
    return client.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": price(client, product).id, "quantity": 2}]}
    )


def test_a_lookup_key_moves_to_a_new_price(client: stripe.StripeClient, product: str) -> None:
    key = f"conformance-{uuid.uuid4().hex}"
    old = price(client, product, lookup_key=key)

    new = price(client, product, unit_amount=100, lookup_key=key, transfer_lookup_key=True)

    assert [found.id for found in client.v1.prices.list({"lookup_keys": [key]}).data] == [new.id]
    assert (client.v1.prices.retrieve(old.id).active, client.v1.prices.retrieve(old.id).lookup_key) == (
        True,
        None,
    )


def test_an_item_carries_its_price_s_metadata(
    client: stripe.StripeClient, customer: str, product: str
) -> None:
    (item,) = subscribe(client, customer, product)["items"].data

    assert item.price.metadata is not None
    assert item.price.metadata["tallygate_plan"] == "team"


def test_ended_subscriptions_are_listed(client: stripe.StripeClient, customer: str, product: str) -> None:
    made = subscribe(client, customer, product)
    client.v1.subscriptions.cancel(made.id)

    (found,) = client.v1.subscriptions.list(
        {"customer": customer, "status": "all", "expand": ["data.customer"]}
    ).data

    assert (found.id, found.status) == (made.id, "canceled")
    assert found.ended_at is not None
    assert not isinstance(found.customer, str)


def test_periods_stand_on_the_items(client: stripe.StripeClient, customer: str, product: str) -> None:
    (item,) = subscribe(client, customer, product)["items"].data

    assert item.current_period_start < item.current_period_end
    assert item.created <= item.current_period_end


def test_a_session_keeps_its_metadata(client: stripe.StripeClient, product: str) -> None:
    made = client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": price(client, product).id, "quantity": 1}],
            "client_reference_id": "acme",
            "metadata": {"tallygate_tenant": "acme"},
            "success_url": "https://example.com",
        }
    )

    found = client.v1.checkout.sessions.retrieve(made.id)

    assert found.client_reference_id == "acme"
    assert found.metadata is not None
    assert found.metadata["tallygate_tenant"] == "acme"


def test_an_item_of_a_one_off_invoice_is_listed_with_its_metadata(
    client: stripe.StripeClient, customer: str
) -> None:
    draft = client.v1.invoices.create({"customer": customer, "auto_advance": False, "currency": "usd"})
    metadata = {"tallygate_delta": "u1:e1:acme:llm_cost_nano_usd:0:1"}
    made = client.v1.invoice_items.create(
        {
            "customer": customer,
            "invoice": str(draft.id),
            "currency": "usd",
            "quantity": 3_000_000_123,
            "unit_amount_decimal": Decimal("0.00000012"),
            "metadata": metadata,
        }
    )

    listed = {item.id: item for item in client.v1.invoice_items.list({"customer": customer}).data}

    assert (made.amount, made.quantity) == (360, 3_000_000_123)
    kept = listed[made.id].metadata
    assert kept is not None
    assert kept.to_dict() == metadata
    client.v1.invoices.delete(str(draft.id))


def test_a_repeated_identifier_is_refused(client: stripe.StripeClient, customer: str) -> None:
    name = f"conformance_{uuid.uuid4().hex[:12]}"
    meter = client.v1.billing.meters.create(
        {
            "event_name": name,
            "display_name": "conformance",
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
    )
    event: Any = {
        "event_name": name,
        "identifier": uuid.uuid4().hex,
        "payload": {"stripe_customer_id": customer, "value": "1"},
    }
    try:
        client.v2.billing.meter_events.create(event, {"idempotency_key": uuid.uuid4().hex})
        with pytest.raises(stripe.StripeError) as refused:
            client.v2.billing.meter_events.create(event, {"idempotency_key": uuid.uuid4().hex})
    finally:
        client.v1.billing.meters.deactivate(meter.id)

    assert refused.value.code == "duplicate_meter_event"


def test_a_missing_object_is_said_to_be_missing(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.subscriptions.retrieve(f"sub_{int(time.time())}missing")

    assert refused.value.code == "resource_missing"


def test_a_deleted_customer_has_no_running_subscription(
    client: stripe.StripeClient, customer: str, product: str
) -> None:
    made = subscribe(client, customer, product)
    client.v1.customers.delete(customer)

    assert client.v1.subscriptions.retrieve(made.id).status == "canceled"


def test_a_schedule_plans_another_price(client: stripe.StripeClient, customer: str, product: str) -> None:
    made = subscribe(client, customer, product)
    (item,) = made["items"].data
    other = price(client, product, nickname="another")
    schedule = client.v1.subscription_schedules.create({"from_subscription": made.id})
    (phase,) = schedule.phases
    planned: Any = {
        "end_behavior": "release",
        "metadata": {MOVE_KEY: "yes"},
        "proration_behavior": "none",
        "phases": [
            {
                "items": [{"price": item.price.id, "quantity": 2}],
                "start_date": phase.start_date,
                "end_date": item.current_period_end,
                "proration_behavior": "none",
            },
            {
                "items": [{"price": other.id, "quantity": 2}],
                "start_date": item.current_period_end,
                "duration": {"interval": "month", "interval_count": 1},
                "proration_behavior": "none",
            },
        ],
    }

    client.v1.subscription_schedules.update(schedule.id, planned)

    by_price: Any = {"price": item.price.id, "expand": ["data.schedule"]}
    (found,) = client.v1.subscriptions.list(by_price).data
    assert isinstance(found.schedule, stripe.SubscriptionSchedule)
    assert [len(one["items"]) for one in found.schedule.phases] == [1, 1]
    assert found["items"].data[0].price.id == item.price.id
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    client.v1.subscription_schedules.release(schedule.id)
    assert client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True}).cancel_at_period_end


def test_a_destination_tells_its_secret_once(client: stripe.StripeClient) -> None:
    service = client.v2.core.event_destinations
    url = f"https://example.com/{uuid.uuid4().hex}"
    made = service.create(
        {
            "name": "conformance", "type": "webhook_endpoint", "event_payload": "thin",
            "enabled_events": list(THIN_EVENTS), "webhook_endpoint": {"url": url},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )  # fmt: skip
    try:
        noted: Any = {"metadata": {"version": "1"}}
        service.update(made.id, noted)
        listed = service.list({"include": ["webhook_endpoint.url"]}).auto_paging_iter()
        (found,) = [one for one in listed if one.webhook_endpoint and one.webhook_endpoint.url == url]
    finally:
        service.delete(made.id)

    assert made.webhook_endpoint is not None
    assert (made.webhook_endpoint.signing_secret or "").startswith("whsec_")
    assert sorted(found.enabled_events) == sorted(THIN_EVENTS)
    assert found.webhook_endpoint is not None
    assert found.webhook_endpoint.signing_secret is None
    assert found.metadata is not None
    assert found.metadata["version"] == "1"


def test_the_portal_allows_what_its_configuration_says(client: stripe.StripeClient, product: str) -> None:
    wanted = wanted_features({product: price(client, product, unit_amount=100).id})
    create_configuration(client, wanted)

    found = find_configuration(client)
    try:
        assert found is not None
        assert allows(found, wanted)
    finally:
        if found is not None:
            client.v1.billing_portal.configurations.update(found.id, {"active": False})


def test_the_page_lists_every_test_and_no_other() -> None:
    told = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    here = {name for name in globals() if name.startswith("test_") and "_page_" not in name}

    assert told == here, f"docs/stripe.md and {__file__} differ: {told ^ here}"
