"""Answers look as the SDK says they do: no field that it does not know, and none missing that it promises."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe
from stripe._object_classes import OBJECT_CLASSES, V2_OBJECT_CLASSES
from stripe.events._event_classes import get_v2_event_class

from tests.sandbox.stripe.double import START, Double, Shop, use

_NOT_CARRIED_OUT = {
    "invoice": {
        "automatic_tax", "default_tax_rates", "discounts", "issuer",
        "payment_settings",
        "amount_overpaid", "amount_shipping",
    },
    "subscription": {"automatic_tax", "discounts", "invoice_settings"},
    "subscription_item": {"plan"},
}  # fmt: skip
"""Promised by the SDK, about taxes, discounts, payments and old plans, which the double does not have."""


def known(cls: type) -> dict[str, Any]:
    """The fields of one of the SDK's classes: name to type, which is text where it refers forward."""
    return {
        name: hint
        for base in reversed(cls.__mro__)
        for name, hint in vars(base).get("__annotations__", {}).items()
        if not name.startswith("_") and "ClassVar" not in str(hint)
    }


def is_promised(hint: Any) -> bool:
    """Whether a field is always there and never null."""
    if isinstance(hint, str):
        return not hint.startswith("Optional[")
    return type(None) not in typing.get_args(hint)


@pytest.fixture
def answers(client: stripe.StripeClient, shop: Shop, double: Double) -> dict[str, Any]:
    """One answer of each kind, as sent."""
    use(client, "cus_unknown", 1, "lost", START)
    double.advance(minutes=5)
    item = client.v1.subscriptions.retrieve(shop.subscription)["items"].data[0]
    invoice = client.v1.invoices.list({"customer": shop.customer}).data[0]
    event_params: Any = {
        "event_name": "tokens", "identifier": "one",
        "payload": {"stripe_customer_id": shop.customer, "value": "1"},
    }  # fmt: skip
    second: Any = {**event_params, "identifier": "two"}
    hook: Any = {"url": "http://127.0.0.1:9/", "enabled_events": ["*"]}
    thin: Any = {
        "name": "n", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": ["*"],
        "webhook_endpoint": {"url": "http://127.0.0.1:9/"},
    }  # fmt: skip
    checkout: Any = {
        "mode": "subscription", "success_url": "http://127.0.0.1:9/",
        "line_items": [{"price": shop.flat_price, "quantity": 1}],
    }  # fmt: skip
    configuration = client.v1.billing_portal.configurations.create(
        {"features": {"invoice_history": {"enabled": True}}}
    )
    objects: list[Any] = [
        client.v1.billing.meters.retrieve(shop.tokens),
        client.v1.billing.meter_events.create(event_params),
        client.v2.billing.meter_events.create(second),
        client.v1.billing.meter_event_adjustments.create(
            {"type": "cancel", "event_name": "tokens", "cancel": {"identifier": "one"}}
        ),
        client.v2.billing.meter_event_adjustments.create(
            {"type": "cancel", "event_name": "tokens", "cancel": {"identifier": "two"}}
        ),
        client.v2.billing.meter_event_session.create(),
        client.v1.customers.retrieve(shop.customer),
        client.v1.prices.retrieve(shop.tokens_price),
        client.v1.products.retrieve(str(item.price.product)),
        client.v1.subscriptions.retrieve(shop.subscription),
        item,
        invoice,
        invoice.lines.data[0],
        client.v1.invoice_items.create(
            {"customer": shop.customer, "pricing": {"price": shop.flat_price}, "quantity": 1}
        ),
        client.v1.checkout.sessions.create(checkout),
        client.v1.subscription_schedules.create({"from_subscription": shop.subscription}),
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 1, "out_of_band_amount": 1}),
        configuration,
        client.v1.billing_portal.sessions.create(
            {"customer": shop.customer, "configuration": configuration.id}
        ),
        client.v1.events.list().data[0],
        client.v2.core.events.list().data[0],
        client.v1.webhook_endpoints.create(hook),
        client.v2.core.event_destinations.create(thin),
    ]
    use(client, shop.customer, 1, "three", double.clock.at)
    double.advance(minutes=5)
    start = int(START.timestamp())
    summary = client.v1.billing.meters.event_summaries.list(
        shop.tokens, {"customer": shop.customer, "start_time": start, "end_time": start + 86_400}
    ).data[0]
    return {one.to_dict()["object"]: one.to_dict() for one in [*objects, summary]}


def described(answers: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    classes: dict[str, Any] = {**OBJECT_CLASSES, **V2_OBJECT_CLASSES}
    for name, answer in answers.items():
        path, cls = classes[name]
        fields = known(getattr(importlib.import_module(path), cls))
        if name == "v2.core.event":  # what an event holds is declared by the class of its type
            fields |= known(get_v2_event_class(answer["type"]))
        yield name, answer, fields


def test_every_field_is_one_that_the_sdk_knows(answers: dict[str, Any]) -> None:
    unknown = {
        name: sorted(set(answer) - set(fields))
        for name, answer, fields in described(answers)
        if set(answer) - set(fields)
    }

    assert unknown == {}


def test_every_field_that_the_sdk_promises_is_there(answers: dict[str, Any]) -> None:
    missing = {}
    for name, answer, fields in described(answers):
        promised = {field for field, hint in fields.items() if is_promised(hint)}
        lacking = promised - set(answer) - _NOT_CARRIED_OUT.get(name, set())
        if lacking:
            missing[name] = sorted(lacking)

    assert missing == {}


def test_the_list_of_what_is_left_out_names_nothing_that_is_there(answers: dict[str, Any]) -> None:
    for name, fields in _NOT_CARRIED_OUT.items():
        assert not fields & set(answers[name]), name


def test_moments_are_seconds_in_version_1_and_text_in_version_2(
    answers: dict[str, Any], double: Double
) -> None:
    assert answers["billing.meter_event"]["timestamp"] == int((START + timedelta(minutes=5)).timestamp())
    assert answers["v2.billing.meter_event"]["timestamp"] == "2026-01-01T00:05:00.000Z"
