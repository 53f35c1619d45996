"""Trials: free, warned of, and over; paused without a card."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, subscribe, use


def ends(behavior: str) -> Any:
    return {"end_behavior": {"missing_payment_method": behavior}}


def trial(client: stripe.StripeClient, shop: Shop, **params: Any) -> stripe.Subscription:
    given: Any = {
        "customer": client.v1.customers.create({"name": "trying"}).id,
        "items": [{"price": shop.flat_price}, {"price": shop.tokens_price}],
        "trial_period_days": 14,
        **params,
    }
    return client.v1.subscriptions.create(given)


def test_a_trial_begins_with_an_invoice_of_nothing(client: stripe.StripeClient, shop: Shop) -> None:
    made = trial(client, shop)
    first = client.v1.invoices.retrieve(str(made.latest_invoice))
    end = int((START + timedelta(days=14)).timestamp())

    assert (made.status, made.trial_end, made.billing_cycle_anchor) == ("trialing", end, end)
    assert [item.current_period_end for item in made["items"].data] == [end, end]
    assert (first.status, first.total) == ("paid", 0)


def test_a_trial_becomes_active_and_is_charged_from_its_end_on(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    """What was used in the trial is free."""
    made = trial(client, shop)
    use(client, str(made.customer), 9_000_000, "free", START)

    double.advance(days=14, hours=2)

    after = client.v1.subscriptions.retrieve(made.id)
    invoice = client.v1.invoices.retrieve(str(after.latest_invoice))
    assert after.status == "active"
    assert (invoice.status, invoice.total, len(invoice.lines.data)) == ("paid", 5000, 1)


def test_three_days_before_its_end_a_trial_warns(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    trial(client, shop)
    wanted: Any = {"type": "customer.subscription.trial_will_end"}

    double.advance(days=11, seconds=-1)
    before = client.v1.events.list(wanted).data
    double.advance(seconds=1)

    assert before == []
    assert len(client.v1.events.list(wanted).data) == 1


def test_a_trial_that_is_not_paid_afterwards_is_past_due(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = trial(client, shop)
    double.pays(str(made.customer), "declines")
    double.advance(days=14, minutes=30)
    between = client.v1.subscriptions.retrieve(made.id).status
    double.advance(minutes=30)
    assert (between, client.v1.subscriptions.retrieve(made.id).status) == ("active", "past_due")


@pytest.mark.parametrize(
    ("behavior", "end"), [("create_invoice", "past_due"), ("pause", "paused"), ("cancel", "canceled")]
)
def test_without_a_card_a_trial_ends_as_was_asked_for(
    client: stripe.StripeClient, shop: Shop, double: Double, behavior: str, end: str
) -> None:
    made = trial(client, shop, trial_settings=ends(behavior))
    double.pays(str(made.customer), "missing")

    double.advance(days=14, hours=2)

    assert client.v1.subscriptions.retrieve(made.id).status == end


def test_a_paused_subscription_bills_nothing_until_it_is_resumed(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = trial(client, shop, trial_settings=ends("pause"))
    customer = str(made.customer)
    double.pays(customer, "missing")
    double.advance(days=40)
    count = len(client.v1.invoices.list({"customer": customer}).data)
    with pytest.raises(stripe.CardError):
        client.v1.subscriptions.resume(made.id)

    double.pays(customer, "works")
    resumed = client.v1.subscriptions.resume(made.id)

    assert count == 1
    assert resumed.status == "active"
    assert resumed.billing_cycle_anchor == int(double.clock.at.timestamp())
    assert client.v1.invoices.retrieve(str(resumed.latest_invoice)).total == 5000
    told = ["customer.subscription.paused", "customer.subscription.resumed"]
    assert {event.type for event in client.v1.events.list({"types": told}).data} == set(told)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscriptions.resume(made.id)


def test_a_trial_can_end_now(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    made = trial(client, shop)
    double.advance(days=3)

    ended = client.v1.subscriptions.update(made.id, {"trial_end": "now"})
    double.advance(hours=2)

    assert ended.status == "active"
    assert ended.trial_end == int((START + timedelta(days=3)).timestamp())
    invoice = client.v1.invoices.retrieve(str(ended.latest_invoice))
    assert (invoice.status, invoice.total) == ("paid", 5000)


def test_a_trial_that_is_left_at_its_end_costs_nothing(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = trial(client, shop)
    client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})

    double.advance(days=60)

    assert client.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert [i.total for i in client.v1.invoices.list({"customer": str(made.customer)}).data] == [0]


@pytest.mark.parametrize(
    "params",
    [
        {"trial_period_days": 0}, {"trial_period_days": 731}, {"trial_end": 1}, {"trial_end": 9_999_999_999},
        {"trial_period_days": 3, "trial_end": int(START.timestamp()) + 86_400},
        {"trial_period_days": 3, "billing_cycle_anchor": int(START.timestamp()) + 86_400},
    ],
)  # fmt: skip
def test_a_trial_that_makes_no_sense_is_refused(
    client: stripe.StripeClient, shop: Shop, params: dict[str, Any]
) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        subscribe(client, shop.flat_price, **params)
