"""What comes of payments: invoices paid, failed and tried again, and subscriptions over time."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import Double, Receiver, Shop, refusal, subscribe, use


def status(client: stripe.StripeClient, subscription: str) -> str:
    return client.v1.subscriptions.retrieve(subscription).status


def latest(client: stripe.StripeClient, customer: str) -> stripe.Invoice:
    return client.v1.invoices.list({"customer": customer, "limit": 1}).data[0]


def types(client: stripe.StripeClient, *wanted: str) -> list[str]:
    """The events of some types, oldest first."""
    listed = client.v1.events.list({"types": list(wanted), "limit": 100}).data
    return [event.type for event in reversed(listed)]


@pytest.fixture
def overdue(client: stripe.StripeClient, shop: Shop, double: Double) -> Shop:
    """The shop an hour after a renewal that could not be paid."""
    double.pays(shop.customer, "declines")
    double.advance(days=31, hours=1)
    return shop


def test_a_renewal_that_is_declined_makes_the_subscription_past_due(
    client: stripe.StripeClient, overdue: Shop
) -> None:
    invoice = latest(client, overdue.customer)
    finalized = invoice.status_transitions.finalized_at

    assert status(client, overdue.subscription) == "past_due"
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert (invoice.amount_due, invoice.amount_paid, invoice.amount_remaining) == (8000, 0, 8000)
    assert finalized is not None
    assert invoice.next_payment_attempt == finalized + 3 * 86_400
    assert types(client, "invoice.payment_failed", "customer.subscription.updated")[-2:] == [
        "invoice.payment_failed", "customer.subscription.updated",
    ]  # fmt: skip


def test_until_the_draft_is_final_a_declined_card_does_no_harm(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.pays(shop.customer, "declines")
    double.advance(days=31, minutes=59)
    assert status(client, shop.subscription) == "active"


def test_a_failed_payment_is_tried_again_after_3_5_and_7_days(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    counts = []
    for days in (3, 5, 7):
        double.advance(days=days, seconds=-1)
        before = latest(client, overdue.customer).attempt_count
        double.advance(seconds=1)
        counts.append((before, latest(client, overdue.customer).attempt_count))

    assert counts == [(1, 2), (2, 3), (3, 4)]
    invoice = latest(client, overdue.customer)
    assert (invoice.status, invoice.next_payment_attempt, invoice.auto_advance) == ("open", None, False)
    assert types(client, "invoice.payment_failed") == ["invoice.payment_failed"] * 4


@pytest.mark.parametrize(
    ("setting", "end"), [("unpaid", "unpaid"), ("cancel", "canceled"), ("past_due", "past_due")]
)
def test_the_setting_decides_what_the_last_failure_leads_to(
    client: stripe.StripeClient, overdue: Shop, double: Double, setting: str, end: str
) -> None:
    double.post("/_sandbox/settings", {"after_failed_payments": setting})

    double.advance(days=15)

    subscription = client.v1.subscriptions.retrieve(overdue.subscription)
    assert subscription.status == end
    assert (subscription.ended_at is not None) == (end == "canceled")
    if end == "canceled":
        assert subscription.cancellation_details is not None
        assert subscription.cancellation_details.reason == "payment_failed"


def test_a_retry_that_works_gives_service_back(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    double.pays(overdue.customer, "works")
    assert status(client, overdue.subscription) == "past_due"

    double.advance(days=3)

    assert status(client, overdue.subscription) == "active"
    assert latest(client, overdue.customer).status == "paid"
    double.advance(days=12)
    assert status(client, overdue.subscription) == "active"


def test_paying_on_demand_gives_service_back_at_once(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    double.pays(overdue.customer, "works")

    paid = client.v1.invoices.pay(latest(client, overdue.customer).id)

    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 8000, 0)
    assert status(client, overdue.subscription) == "active"
    double.advance(days=15)
    assert types(client, "invoice.payment_failed") == ["invoice.payment_failed"]


def test_paying_on_demand_with_a_declined_card_is_402_and_was_an_attempt(
    client: stripe.StripeClient, overdue: Shop
) -> None:
    planned = latest(client, overdue.customer).next_payment_attempt

    with pytest.raises(stripe.CardError) as error:
        client.v1.invoices.pay(latest(client, overdue.customer).id)

    assert refusal(error.value) == (402, "card_declined")
    assert types(client, "invoice.payment_failed") == ["invoice.payment_failed"] * 2
    invoice = latest(client, overdue.customer)
    assert (invoice.status, invoice.next_payment_attempt, invoice.attempt_count) == ("open", planned, 1)


def test_unpaid_subscriptions_go_on_with_drafts_that_wait(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    double.advance(days=35)
    draft = latest(client, overdue.customer)
    assert status(client, overdue.subscription) == "unpaid"
    assert (draft.status, draft.auto_advance) == ("draft", False)

    double.pays(overdue.customer, "works")
    assert client.v1.invoices.pay(draft.id).status == "paid"

    assert status(client, overdue.subscription) == "active"


def test_an_old_invoice_that_is_paid_does_not_hide_the_newest(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    old = latest(client, overdue.customer)
    double.advance(days=35)
    double.pays(overdue.customer, "works")

    client.v1.invoices.pay(old.id)

    assert status(client, overdue.subscription) == "unpaid"


def test_an_ended_subscription_is_not_collected_any_more(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    client.v1.subscriptions.cancel(overdue.subscription)
    double.pays(overdue.customer, "works")

    double.advance(days=40)

    invoice = latest(client, overdue.customer)
    assert (invoice.status, invoice.auto_advance, invoice.next_payment_attempt) == ("open", False, None)


def test_writing_off_and_voiding_end_the_retries(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    invoice = latest(client, overdue.customer)

    written_off = client.v1.invoices.mark_uncollectible(invoice.id)
    voided = client.v1.invoices.void_invoice(invoice.id)
    double.advance(days=20)

    assert (written_off.status, voided.status) == ("uncollectible", "void")
    assert types(client, "invoice.voided", "invoice.marked_uncollectible") == [
        "invoice.marked_uncollectible", "invoice.voided",
    ]  # fmt: skip
    assert latest(client, overdue.customer).attempt_count == 1
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.pay(invoice.id)


def test_a_paid_invoice_is_not_paid_twice(client: stripe.StripeClient, shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.invoices.pay(latest(client, shop.customer).id)
    assert refusal(error.value) == (400, "invoice_already_paid")


# --- the first payment ---------------------------------------------------------------------------


def poor(client: stripe.StripeClient, double: Double) -> str:
    """A customer whose card is declined."""
    customer = client.v1.customers.create({"name": "poor"}).id
    double.pays(customer, "declines")
    return customer


def test_a_first_invoice_that_is_declined_leaves_it_incomplete(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = subscribe(client, shop.flat_price, poor(client, double))

    assert made.status == "incomplete"
    assert client.v1.invoices.retrieve(str(made.latest_invoice)).status == "open"


def test_an_incomplete_subscription_is_active_when_it_is_paid(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    customer = poor(client, double)
    made = subscribe(client, shop.flat_price, customer)
    double.advance(hours=22, minutes=59)
    double.pays(customer, "works")

    client.v1.invoices.pay(str(made.latest_invoice))
    double.advance(hours=5)

    assert status(client, made.id) == "active"


def test_an_incomplete_subscription_expires_after_23_hours(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = subscribe(client, shop.flat_price, poor(client, double))
    double.advance(hours=22, minutes=59)
    before = status(client, made.id)
    double.advance(minutes=1)

    assert (before, status(client, made.id)) == ("incomplete", "incomplete_expired")
    assert client.v1.invoices.retrieve(str(made.latest_invoice)).status == "void"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscriptions.update(made.id, {"metadata": {"a": "b"}})


def test_the_first_invoice_is_not_tried_again_by_itself(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    customer = poor(client, double)
    made = subscribe(client, shop.flat_price, customer)
    double.pays(customer, "works")
    double.advance(hours=24)
    assert status(client, made.id) == "incomplete_expired"


def test_default_incomplete_waits_for_a_payment_even_of_a_good_card(
    client: stripe.StripeClient, shop: Shop
) -> None:
    made = subscribe(client, shop.flat_price, payment_behavior="default_incomplete")
    invoice = client.v1.invoices.retrieve(str(made.latest_invoice))
    assert (made.status, invoice.status, invoice.attempt_count) == ("incomplete", "open", 0)

    client.v1.invoices.pay(invoice.id)

    assert status(client, made.id) == "active"


def test_error_if_incomplete_makes_nothing(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    customer = poor(client, double)

    with pytest.raises(stripe.CardError):
        subscribe(client, shop.flat_price, customer, payment_behavior="error_if_incomplete")

    assert client.v1.subscriptions.list({"customer": customer, "status": "all"}).data == []
    assert client.v1.invoices.list({"customer": customer}).data == []


def test_a_subscription_without_a_first_charge_needs_no_card(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = subscribe(client, shop.tokens_price, poor(client, double))
    assert (made.status, made.latest_invoice) == ("active", None)


def test_lists_know_the_statuses(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    customer = poor(client, double)
    expired = subscribe(client, shop.flat_price, customer).id
    double.advance(hours=24)
    incomplete = subscribe(client, shop.flat_price, customer).id
    canceled = subscribe(client, shop.tokens_price, customer).id
    client.v1.subscriptions.cancel(canceled)

    def listed(wanted: str | None) -> set[str]:
        params: Any = {"customer": customer, **({"status": wanted} if wanted else {})}
        return {one.id for one in client.v1.subscriptions.list(params).data}

    assert listed(None) == {expired, incomplete}
    assert listed("all") == {expired, incomplete, canceled}
    assert listed("ended") == {expired, canceled}
    assert listed("incomplete") == {incomplete}
    assert listed("canceled") == {canceled}


# --- pausing the collection ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behavior", "end"),
    [("keep_as_draft", "draft"), ("void", "void"), ("mark_uncollectible", "uncollectible")],
)
def test_a_pause_of_the_collection_changes_invoices_and_not_the_status(
    client: stripe.StripeClient, shop: Shop, double: Double, behavior: Any, end: str
) -> None:
    client.v1.subscriptions.update(shop.subscription, {"pause_collection": {"behavior": behavior}})

    double.advance(days=31, hours=2)

    assert latest(client, shop.customer).status == end
    subscription = client.v1.subscriptions.retrieve(shop.subscription)
    assert subscription.status == "active"
    assert subscription.pause_collection is not None
    resumed = client.v1.subscriptions.update(shop.subscription, {"pause_collection": ""})
    assert resumed.pause_collection is None


# --- usage meanwhile -----------------------------------------------------------------------------


def test_usage_while_past_due_is_billed_by_the_next_invoice(
    client: stripe.StripeClient, overdue: Shop, double: Double
) -> None:
    use(client, overdue.customer, 4_000_000, "meanwhile", double.clock.at)
    double.pays(overdue.customer, "works")

    double.advance(days=29)

    amounts = [line.amount for line in latest(client, overdue.customer).lines.data]
    assert 1200 in amounts  # 4,000,000 × 0.0003 ¢


# --- who is told ---------------------------------------------------------------------------------


def test_thin_events_name_the_status(
    client: stripe.StripeClient, shop: Shop, double: Double, hook: Receiver
) -> None:
    names = ("past_due", "unpaid", "active", "incomplete")
    destination: Any = {
        "name": "n", "type": "webhook_endpoint", "event_payload": "thin",
        "enabled_events": [f"v1.customer.subscription.{name}" for name in names],
        "webhook_endpoint": {"url": hook.url},
    }  # fmt: skip
    client.v2.core.event_destinations.create(destination)
    double.pays(shop.customer, "declines")
    double.advance(days=31 + 16, hours=2)
    double.pays(shop.customer, "works")
    client.v1.invoices.pay(latest(client, shop.customer).id)
    double.post("/_sandbox/tick")

    assert hook.types == [f"v1.customer.subscription.{name}" for name in names[:3]]
    assert {body["related_object"]["id"] for body in hook.bodies} == {shop.subscription}


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/_sandbox/customers/{customer}/payment", {"outcome": "maybe"}, 400),
        ("/_sandbox/customers/{customer}/payment", {}, 400),
        ("/_sandbox/customers/cus_nobody/payment", {"outcome": "works"}, 404),
        ("/_sandbox/settings", {"after_failed_payments": "forgive"}, 400),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(
    double: Double, shop: Shop, path: str, body: Any, answer: int
) -> None:
    sent = double.http.post(f"{double.url}{path.format(customer=shop.customer)}", json=body)
    assert sent.status_code == answer
    assert sent.json()["error"]


def test_controls_can_be_read(double: Double, shop: Shop) -> None:
    assert double.get(f"/_sandbox/customers/{shop.customer}/payment") == {"outcome": "works"}
    assert double.get("/_sandbox/settings") == {"after_failed_payments": "unpaid"}
