"""Checkout: a session is made, a person pays on it, a subscription stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import Double, Receiver, Shop


def session(client: stripe.StripeClient, shop: Shop, **params: Any) -> stripe.checkout.Session:
    given: Any = {
        "mode": "subscription",
        "line_items": [
            {"price": shop.flat_price, "quantity": 1}, {"price": shop.seat_price, "quantity": 2},
            {"price": shop.tokens_price},
        ],
        "success_url": "https://gateway.example/welcome",
        "client_reference_id": "borealis",
        "metadata": {"of": "the session"},
        "subscription_data": {"metadata": {"tenant_id": "borealis"}},
        **params,
    }  # fmt: skip
    chosen: Any = {name: one for name, one in given.items() if one is not None}
    return client.v1.checkout.sessions.create(chosen)


def complete(double: Double, made: stripe.checkout.Session, **given: Any) -> Any:
    return double.http.post(f"{double.url}/_sandbox/checkout/sessions/{made.id}/complete", json=given)


def test_a_session_is_open_and_has_a_page(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    made = session(client, shop)

    assert (made.status, made.payment_status, made.mode) == ("open", "unpaid", "subscription")
    assert (made.amount_total, made.currency, made.subscription, made.customer) == (7000, "usd", None, None)
    assert made.expires_at == int((double.clock.at + timedelta(hours=24)).timestamp())
    assert double.http.get(str(made.url)).json()["status"] == "open"
    lines = client.v1.checkout.sessions.line_items.list(made.id).data
    assert [(line.quantity, line.amount_total) for line in lines] == [(1, 5000), (2, 2000), (None, 0)]


def test_a_person_who_pays_has_a_subscription(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = session(client, shop)

    complete(double, made, email="ada@example.com").raise_for_status()

    done = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["subscription", "customer"]})
    subscription, customer = done.subscription, done.customer
    assert isinstance(subscription, stripe.Subscription)
    assert isinstance(customer, stripe.Customer)
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    assert done.client_reference_id == "borealis"
    assert customer.email == "ada@example.com"
    assert (subscription.status, subscription.metadata.to_dict()) == ("active", {"tenant_id": "borealis"})
    assert [item.price.id for item in subscription["items"].data] == [
        shop.flat_price, shop.seat_price, shop.tokens_price,
    ]  # fmt: skip
    assert client.v1.invoices.retrieve(str(done.invoice)).amount_paid == 7000


def test_its_metadata_stays_with_the_session(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    """Only ``subscription_data.metadata`` reaches the subscription."""
    made = session(client, shop, subscription_data=None)
    complete(double, made).raise_for_status()
    done = client.v1.checkout.sessions.retrieve(made.id, {"expand": ["subscription"]})
    assert isinstance(done.subscription, stripe.Subscription)
    assert done.subscription.metadata.to_dict() == {}


def test_a_declined_card_leaves_the_page_open(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    customer = client.v1.customers.create({"name": "ada"}).id
    made = session(client, shop, customer=customer)

    refused = complete(double, made, card="declines")

    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "card_declined")
    assert client.v1.checkout.sessions.retrieve(made.id).status == "open"
    assert client.v1.subscriptions.list({"customer": customer, "status": "all"}).data == []
    assert complete(double, made).status_code == 200
    assert client.v1.subscriptions.list({"customer": customer}).data[0].status == "active"


def test_everybody_is_told(client: stripe.StripeClient, shop: Shop, double: Double, hook: Receiver) -> None:
    wanted: Any = [
        "checkout.session.completed", "customer.subscription.created", "customer.created", "invoice.paid",
    ]  # fmt: skip
    client.v1.webhook_endpoints.create({"url": hook.url, "enabled_events": wanted})
    made = session(client, shop)

    complete(double, made).raise_for_status()
    double.post("/_sandbox/tick")

    assert sorted(hook.types) == sorted(wanted)
    completed = next(body for body in hook.bodies if body["type"] == "checkout.session.completed")
    assert completed["data"]["object"]["client_reference_id"] == "borealis"
    assert completed["data"]["object"]["subscription"].startswith("sub_")


def test_a_session_is_used_once(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    made = session(client, shop)
    complete(double, made).raise_for_status()

    assert complete(double, made).status_code == 400
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(made.id)


def test_a_session_expires_by_itself_or_on_demand(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    by_hand, by_time = session(client, shop), session(client, shop)

    assert client.v1.checkout.sessions.expire(by_hand.id).status == "expired"
    double.advance(hours=23, minutes=59)
    before = client.v1.checkout.sessions.retrieve(by_time.id).status
    double.advance(minutes=1)

    assert (before, client.v1.checkout.sessions.retrieve(by_time.id).status) == ("open", "expired")
    assert complete(double, by_time).status_code == 400
    assert len(client.v1.events.list({"type": "checkout.session.expired"}).data) == 2


def test_a_trial_by_checkout_needs_no_payment(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    data = {
        "trial_period_days": 7,
        "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
    }
    made = session(client, shop, payment_method_collection="if_required", subscription_data=data)
    assert made.amount_total == 0

    complete(double, made, card="missing").raise_for_status()
    done = client.v1.checkout.sessions.retrieve(made.id)
    double.advance(days=7, hours=2)

    assert done.payment_status == "no_payment_required"
    assert client.v1.subscriptions.retrieve(str(done.subscription)).status == "paused"


def test_a_card_is_needed_where_one_is_asked_for(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    assert complete(double, session(client, shop), card="missing").status_code == 400


def test_sessions_are_listed(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    made = session(client, shop, customer=shop.customer)
    other = session(client, shop)
    complete(double, made).raise_for_status()
    listed = client.v1.checkout.sessions.list
    subscription = str(client.v1.checkout.sessions.retrieve(made.id).subscription)

    assert [one.id for one in listed().data] == [other.id, made.id]
    assert [one.id for one in listed({"customer": shop.customer}).data] == [made.id]
    assert [one.id for one in listed({"subscription": subscription}).data] == [made.id]
    assert [one.id for one in listed({"status": "open"}).data] == [other.id]


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "payment"}, {"success_url": None}, {"line_items": None}, {"customer": "cus_nobody"},
        {"line_items": [{"price": "price_nothing", "quantity": 1}]}, {"expires_at": 1},
        {"ui_mode": "embedded_page"}, {"subscription_data": {"application_fee_percent": 1}},
        {"discounts": [{"coupon": "c"}]},
    ],
)  # fmt: skip
def test_a_session_that_cannot_be_carried_out_is_refused(
    client: stripe.StripeClient, shop: Shop, params: dict[str, Any]
) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        session(client, shop, **params)


def test_a_metered_line_has_no_quantity_and_a_licensed_one_has(
    client: stripe.StripeClient, shop: Shop
) -> None:
    for line in ({"price": shop.tokens_price, "quantity": 1}, {"price": shop.flat_price}):
        with pytest.raises(stripe.InvalidRequestError):
            session(client, shop, line_items=[line])


def test_an_unknown_page_is_404(double: Double) -> None:
    assert double.http.get(f"{double.url}/_sandbox/checkout/sessions/cs_none").status_code == 404
    answer = double.http.post(f"{double.url}/_sandbox/checkout/sessions/cs_none/complete", json={})
    assert answer.status_code == 404
