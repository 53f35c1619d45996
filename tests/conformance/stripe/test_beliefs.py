"""What is believed of Stripe; docs/stripe.md lists each test."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from sandbox.layout import REPOSITORY

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


def test_the_page_lists_every_test_and_no_other() -> None:
    told = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    here = {name for name in globals() if name.startswith("test_") and "_page_" not in name}

    assert told == here, f"docs/stripe.md and {__file__} differ: {told ^ here}"
