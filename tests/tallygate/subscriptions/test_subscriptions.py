"""A tenant's life as Stripe tells it, through the real webhook and the real sync, on the double."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tallygate.clock import parse_rfc3339
from tallygate.records import COST_METER, TOKEN_METERS
from tallygate.tenants import change_tenant
from tests.tallygate.subscriptions.shop import Shop


def test_who_pays_in_checkout_is_served(shop: Shop) -> None:
    customer = shop.subscribe(plan="team", seats=4)

    tenant, plan = shop.now(), shop.plans.plans["team"]
    assert (tenant.status, tenant.stripe_customer, tenant.seats) == ("active", customer, 4)
    assert (tenant.plan, tenant.models, tenant.rpm) == ("team", plan.models, plan.quotas.rpm)
    (segment,) = shop.segments()
    assert {item.meter for item in segment.items} == set(TOKEN_METERS)
    assert segment.charge_basis == "tokens"
    assert segment.valid_to is None
    assert shop.waiting() == []
    assert shop.parked() == []


def test_segments_reach_the_warehouse(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")

    (row,) = shop.ledger_segments()
    assert (row["tenant_id"], row["stripe_customer"], row["plan"]) == ("acme", customer, "scale")
    assert [item["meter"] for item in row["items"]] == [COST_METER]


def test_seats_change_at_once_and_bill_nothing_anew(shop: Shop) -> None:
    customer = shop.subscribe(plan="team", seats=3)
    before = shop.segments()

    shop.client.v1.subscription_items.update(shop.item(customer, "seat").id, {"quantity": 9})
    shop.settle()

    assert shop.now().seats == 9
    assert shop.segments() == before


def test_a_payment_that_fails_gives_grace_from_the_unpaid_invoice_and_then_refusal(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    shop.payments(customer, "declines")
    end = shop.segments()[0].period_end
    shop.advance(seconds=(end - shop.stage.clock.now()).total_seconds())
    shop.settle()
    assert shop.now().status == "active"

    _until_final(shop, customer)
    tenant = shop.now()
    assert tenant.status == "grace"
    (unpaid,) = shop.client.v1.invoices.list({"customer": customer, "status": "open"}).data
    finalized = unpaid.status_transitions.finalized_at
    assert finalized is not None
    assert tenant.grace_until is not None
    until = parse_rfc3339(tenant.grace_until)
    assert until.timestamp() == finalized + timedelta(days=7).total_seconds()

    shop.advance(seconds=(until - shop.stage.clock.now()).total_seconds())
    shop.sync()
    assert shop.now().status == "suspended"

    shop.payments(customer, "works")
    shop.client.v1.invoices.pay(unpaid.id)
    shop.settle()
    assert shop.now().status == "active"


def _until_final(shop: Shop, customer: str) -> None:
    """Held drafts are let go, and final, within some hours."""
    for _ in range(24):
        shop.advance(minutes=10)
        shop.sync()
        if not shop.client.v1.invoices.list({"customer": customer, "status": "draft"}).data:
            break
    shop.settle()


def test_a_renewal_is_a_new_segment_at_the_exact_boundary(shop: Shop) -> None:
    shop.subscribe(plan="team")
    (first,) = shop.segments()

    shop.advance(seconds=(first.period_end - shop.stage.clock.now()).total_seconds() + 60)
    shop.settle()

    before, after = shop.segments()
    assert before.valid_to == after.valid_from == first.period_end
    assert after.period_start == first.period_end
    assert after.items == first.items


def test_a_cancellation_ends_the_segment_and_the_service(shop: Shop) -> None:
    customer = shop.subscribe(plan="team")
    shop.client.v1.subscriptions.cancel(shop.subscription(customer).id, {"invoice_now": True})
    shop.settle()

    ended = shop.subscription(customer).ended_at
    (segment,) = shop.segments()
    assert shop.now().status == "closed"
    assert segment.valid_to is not None
    assert segment.valid_to.timestamp() == ended


def test_leaving_at_the_period_s_end_is_known_ahead(shop: Shop) -> None:
    customer = shop.subscribe(plan="team")

    shop.client.v1.subscriptions.update(shop.subscription(customer).id, {"cancel_at_period_end": True})
    shop.settle()

    (segment,) = shop.segments()
    assert segment.valid_to == segment.period_end
    assert shop.now().status == "active"


def test_who_comes_back_is_served_again(shop: Shop) -> None:
    customer = shop.subscribe(plan="team")
    shop.client.v1.subscriptions.cancel(shop.subscription(customer).id)
    shop.settle()

    shop.complete(shop.link("acme", "scale", customer=customer))
    shop.settle()

    assert (shop.now().status, shop.now().plan) == ("active", "scale")
    before, after = shop.segments()
    assert before.valid_to is not None
    assert before.valid_to <= after.valid_from
    assert [item.meter for item in after.items] == [COST_METER]


def test_a_deleted_customer_closes_the_tenant(shop: Shop) -> None:
    customer = shop.subscribe(plan="team")

    shop.client.v1.customers.delete(customer)
    shop.settle()

    assert shop.now().status == "closed"


def test_two_items_on_one_meter_stop_it_and_are_told(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    customer = shop.subscribe(plan="scale")

    shop.complete(shop.link("acme", "scale", customer=customer))
    shop.settle()

    items = [item.meter for item in shop.segments()[-1].items]
    assert items == [COST_METER, COST_METER]
    assert '"event": "two_items"' in capsys.readouterr().out


def test_a_plan_price_made_by_hand_is_told(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Someone changes a price in the Dashboard: the item still counts, and somebody is called."""
    customer = shop.subscribe(plan="scale")
    item = shop.item(customer, COST_METER)
    by_hand = shop.client.v1.prices.create(
        {
            "product": item.price.product,
            "currency": "usd",
            "unit_amount_decimal": item.price.unit_amount_decimal * 2,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": item.price.recurring.meter},
        }
    )
    capsys.readouterr()
    shop.client.v1.subscription_items.update(item.id, {"price": by_hand.id})
    shop.settle()

    assert '"event": "plan_unknown"' in capsys.readouterr().out
    assert shop.now().plan == "scale"


def test_a_session_that_somebody_else_made_binds_nobody(shop: Shop) -> None:
    """``client_reference_id`` can be set by anyone in the address of a payment link."""
    shop.tenant("acme")
    price = shop.client.v1.prices.list({"lookup_keys": ["starter-flat"]}).data[0]
    forged = shop.client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": price.id, "quantity": 1}],
            "client_reference_id": "acme",
            "success_url": "https://example.com",
        }
    )
    shop.complete(forged.id)
    shop.settle()

    assert shop.now().stripe_customer is None
    assert ("checkout.session.completed", "foreign_session") in shop.parked()


def test_a_bound_tenant_is_not_bound_anew(shop: Shop) -> None:
    customer = shop.subscribe()

    shop.complete(shop.link("acme", "scale"))  # another person pays with another customer
    shop.settle()

    assert shop.now().stripe_customer == customer
    assert ("checkout.session.completed", "tenant_bound") in shop.parked()


def test_a_customer_that_no_tenant_claims_is_parked_in_the_end(shop: Shop) -> None:
    stranger = shop.client.v1.customers.create({"name": "stranger"}).id
    price = shop.client.v1.prices.list({"lookup_keys": ["starter-flat"]}).data[0]
    shop.client.v1.subscriptions.create({"customer": stranger, "items": [{"price": price.id, "quantity": 1}]})
    shop.stage.stripe.post("/_sandbox/tick")

    for _ in range(40):
        shop.advance(minutes=2)
        shop.sync()

    assert shop.waiting() == []
    assert {reason for _, reason in shop.parked()} == {"no_tenant"}


def test_an_event_that_was_never_delivered_arrives_by_the_list(shop: Shop) -> None:
    customer = shop.subscribe(plan="team", seats=3)
    shop.sync("hourly")
    shop.stage.stripe.arm("webhook_loss", rate=1.0, seed=1)
    shop.client.v1.subscription_items.update(shop.item(customer, "seat").id, {"quantity": 8})
    shop.settle()
    assert shop.now().seats == 3

    run = shop.sync("hourly")

    assert run.found == 1
    assert shop.now().seats == 8
    assert shop.sync("hourly").found == 0


def test_a_snapshot_that_its_endpoint_missed_arrives_by_the_list(shop: Shop) -> None:
    """An endpoint of snapshots beside the thin one: its events have ids of their own."""
    nowhere: Any = {"url": "http://127.0.0.1:9", "enabled_events": ["customer.subscription.updated"]}
    customer = shop.subscribe(plan="team", seats=3)
    shop.client.v1.webhook_endpoints.create(nowhere)
    shop.sync("hourly")
    shop.client.v1.subscription_items.update(shop.item(customer, "seat").id, {"quantity": 8})
    shop.settle()

    run = shop.sync("hourly")

    rows = [row for _, row in shop.stage.database.query("inbox") if row["source"] == "list"]
    assert run.found == 1
    assert [(row["type"], row["thin"]) for row in rows] == [("customer.subscription.updated", False)]


def test_the_daily_look_finds_what_drifted_and_nothing_else(shop: Shop) -> None:
    customer = shop.subscribe(plan="team", seats=3)
    assert shop.sync("daily").drifts == 0
    shop.stage.stripe.arm("webhook_loss", rate=1.0, seed=1)
    shop.client.v1.subscription_items.update(shop.item(customer, "seat").id, {"quantity": 8})
    shop.settle()

    assert shop.sync("daily").drifts == 1
    assert shop.now().seats == 8
    assert shop.sync("daily").drifts == 0


def test_what_an_operator_suspended_stays_so(shop: Shop) -> None:
    customer = shop.subscribe(plan="team")
    change_tenant(
        shop.stage.database, "acme",
        lambda tenant: replace(tenant, status="suspended", operator_status="suspended"),
    )  # fmt: skip

    shop.client.v1.subscription_items.update(shop.item(customer, "seat").id, {"quantity": 8})
    shop.settle()

    assert (shop.now().status, shop.now().billing_status, shop.now().seats) == ("suspended", "active", 8)


def test_usage_that_stripe_refuses_later_is_noted_as_rejected(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report comes by the event, the note in the ledger is the reporter's."""
    shop.subscribe(plan="scale")
    shop.use(cost_nano_usd=5000)
    shop.stage.stripe.arm("async_reject")
    shop.stage.report()
    shop.advance(minutes=3)
    shop.settle()

    run = shop.stage.report()

    assert run.rejected == 1
    assert '"event": "meter_events_refused"' in capsys.readouterr().out
    (row,) = [row for row in shop.stage.deliveries() if row["delivery"] == "rejected"]
    assert (row["value"], row["delivery_reason"]) == (5000, "meter_event_customer_not_found")
    assert shop.stage.report().rejected == 0
