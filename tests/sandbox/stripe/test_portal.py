"""The customer portal: configurations say what it allows, sessions are links to it."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import Shop


def made(client: stripe.StripeClient, **features: Any) -> stripe.billing_portal.Configuration:
    given: Any = features
    return client.v1.billing_portal.configurations.create({"features": given})


def test_what_is_not_allowed_is_off(client: stripe.StripeClient) -> None:
    allowed: Any = {"enabled": True, "mode": "at_period_end"}
    features = made(client, invoice_history={"enabled": True}, subscription_cancel=allowed).features

    assert features.invoice_history.enabled
    assert (features.subscription_cancel.enabled, features.subscription_cancel.mode) == (
        True, "at_period_end",
    )  # fmt: skip
    assert not features.subscription_update.enabled
    assert not features.payment_method_update.enabled
    assert not features.customer_update.enabled


def test_updates_are_allowed_for_named_prices_only(client: stripe.StripeClient, shop: Shop) -> None:
    product = str(client.v1.prices.retrieve(shop.seat_price).product)
    allowed: Any = {
        "enabled": True, "default_allowed_updates": ["quantity"], "proration_behavior": "create_prorations",
        "products": [{"product": product, "prices": [shop.seat_price]}],
    }  # fmt: skip

    update = made(client, subscription_update=allowed).features.subscription_update

    assert update.default_allowed_updates == ["quantity"]
    for missing in ("default_allowed_updates", "products"):
        with pytest.raises(stripe.InvalidRequestError):
            made(client, subscription_update={name: v for name, v in allowed.items() if name != missing})
    nothing = [{"product": product, "prices": ["price_nothing"]}]
    with pytest.raises(stripe.InvalidRequestError):
        made(client, subscription_update={**allowed, "products": nothing})


def test_an_update_names_few_products_each_with_its_own_prices(
    client: stripe.StripeClient, shop: Shop
) -> None:
    product = str(client.v1.prices.retrieve(shop.seat_price).product)
    other = client.v1.products.create({"name": "another"}).id
    many = [client.v1.products.create({"name": str(number)}).id for number in range(11)]
    seat = {"product": product, "prices": [shop.seat_price]}
    refused: list[list[Any]] = [
        [{"product": one, "prices": []} for one in many],
        [seat, seat],
        [{"product": other, "prices": [shop.seat_price]}],
        [{**seat, "adjustable_quantity": {"enabled": True, "minimum": 5, "maximum": 4}}],
    ]

    for products in refused:
        allowed = {"enabled": True, "default_allowed_updates": ["quantity"], "products": products}
        with pytest.raises(stripe.InvalidRequestError):
            made(client, subscription_update=allowed)


def test_cancelling_at_the_period_s_end_prorates_nothing(client: stripe.StripeClient) -> None:
    for mode, behavior in (("at_period_end", "create_prorations"), ("immediately", "always_invoice")):
        cancel = {"enabled": True, "mode": mode, "proration_behavior": behavior}
        with pytest.raises(stripe.InvalidRequestError):
            made(client, subscription_cancel=cancel)
    with pytest.raises(stripe.InvalidRequestError):
        made(client, customer_update={"enabled": True})


def test_a_configuration_changes_where_it_is_told_to(client: stripe.StripeClient) -> None:
    first = made(client, invoice_history={"enabled": True})
    update: Any = {"features": {"payment_method_update": {"enabled": True}}, "metadata": {"of": "us"}}

    changed = client.v1.billing_portal.configurations.update(first.id, update)
    off = client.v1.billing_portal.configurations.update(first.id, {"active": False})

    assert changed.features.invoice_history.enabled
    assert changed.features.payment_method_update.enabled
    assert (off.active, off.is_default) == (False, False)
    listed = client.v1.billing_portal.configurations.list
    assert listed({"active": True}).data == []
    assert [one.id for one in listed().data] == [first.id]


def test_a_link_is_for_one_customer_and_one_configuration(client: stripe.StripeClient, shop: Shop) -> None:
    configuration = made(client, invoice_history={"enabled": True}).id
    params: Any = {
        "customer": shop.customer,
        "configuration": configuration,
        "return_url": "https://a.example",
    }
    sessions = client.v1.billing_portal.sessions

    link = sessions.create(params)

    assert (link.customer, link.configuration, link.return_url) == (
        shop.customer, configuration, "https://a.example",
    )  # fmt: skip
    assert link.url.startswith("http")
    for name, nobody in (("customer", "cus_nobody"), ("configuration", "bpc_nothing")):
        bad: Any = {**params, name: nobody}
        with pytest.raises(stripe.InvalidRequestError):
            sessions.create(bad)
    with pytest.raises(stripe.InvalidRequestError, match="No configuration provided"):
        sessions.create({"customer": shop.customer})
    client.v1.billing_portal.configurations.update(configuration, {"active": False})
    with pytest.raises(stripe.InvalidRequestError):
        sessions.create(params)
