"""How invoices are collected: finalized at their time, paid or tried again, and what a subscription is then.

An attempt that fails makes an active subscription ``past_due``; it is made again by ``RETRIED_AFTER``.
When the last one has failed, the account's setting decides (``payments.after_failure``).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sandbox.stripe.announcements import announce
from sandbox.stripe.deliveries import is_undelivered
from sandbox.stripe.invoices import FINALIZED_AFTER, INVOICE, amount_due, finalize, show
from sandbox.stripe.payments import WORKS, after_failure, outcome_of
from sandbox.stripe.phases import cancel_schedule
from sandbox.stripe.standing import SUBSCRIPTION, announce_status, change_status
from sandbox.stripe.standing import show as show_subscription
from sandbox.stripe.store import Document, Store
from sandbox.stripe.timers import set_timer
from sandbox.stripe.wire import at, unix

RETRIED_AFTER: Final = (timedelta(days=3), timedelta(days=5), timedelta(days=7))
"""From one failed attempt to the next; Stripe's own choice ("smart retries") is not published."""
WAITS_AT_MOST: Final = timedelta(hours=72)
RETRY: Final = "payment_retry"
_FIRST: Final = "subscription_create"


def finalize_and_collect(store: Store, now: datetime, invoice: Document) -> Document:
    """Finalize a draft and, where it advances by itself, try to have it paid."""
    invoice = finalize(store, now, invoice)
    if amount_due(store, invoice) == 0:
        return mark_paid(store, now, invoice)
    held = _pause_of(store, invoice)
    if held == "void":
        return void(store, now, invoice)
    if held == "mark_uncollectible":
        return close_unpaid(store, now, invoice, "uncollectible")
    if invoice["auto_advance"]:
        return attempt(store, now, invoice)
    return invoice


def _pause_of(store: Store, invoice: Document) -> str | None:
    subscription = _subscription_of(store, invoice)
    pause = None if subscription is None else subscription["pause_collection"]
    return None if pause is None else str(pause["behavior"])


def attempt(store: Store, now: datetime, invoice: Document, *, on_demand: bool = False) -> Document:
    """Try to have an open invoice paid; the invoice as it stands then.

    An attempt on demand leaves the retries as they are planned; it counts only as the first.
    """
    done = invoice["attempt_count"]
    invoice |= {"attempted": True, "attempt_count": max(done, 1) if on_demand else done + 1}
    if outcome_of(store, invoice["customer"]) == WORKS:
        return mark_paid(store, now, invoice)
    return _failed(store, now, invoice, on_demand=on_demand)


def mark_paid(store: Store, now: datetime, invoice: Document) -> Document:
    """Settle an open invoice, and give service back where it was the one that was missing."""
    invoice["status_transitions"] |= {"paid_at": unix(now)}
    invoice |= {"status": "paid", "auto_advance": False, "next_payment_attempt": None}
    set_timer(store, RETRY, invoice["id"], None)
    store.save(invoice)
    for kind in ("invoice.paid", "invoice.payment_succeeded"):
        announce(store, now, kind, show(store, invoice))
    subscription = _subscription_of(store, invoice)
    if subscription is not None and subscription["latest_invoice"] == invoice["id"]:
        if subscription["status"] == "incomplete":
            set_timer(store, EXPIRY, subscription["id"], None)
        if subscription["status"] in ("incomplete", "past_due", "unpaid"):
            change_status(store, now, subscription, "active")
    return invoice


def _failed(store: Store, now: datetime, invoice: Document, *, on_demand: bool) -> Document:
    done = invoice["attempt_count"]
    first = invoice["billing_reason"] == _FIRST
    last = not on_demand and (first or done > len(RETRIED_AFTER))
    if not on_demand:
        again = None if last else unix(now + RETRIED_AFTER[done - 1])
        invoice |= {"next_payment_attempt": again, "auto_advance": not last}
        set_timer(store, RETRY, invoice["id"], again)
    store.save(invoice)
    announce(store, now, "invoice.payment_failed", show(store, invoice))
    subscription = _subscription_of(store, invoice)
    if subscription is None or first:
        return invoice
    if subscription["status"] == "active":
        change_status(store, now, subscription, "past_due")
    if last and subscription["status"] == "past_due":
        _give_up(store, now, subscription)
    return invoice


def _give_up(store: Store, now: datetime, subscription: Document) -> None:
    wanted = after_failure(store)
    if wanted == "unpaid":
        change_status(store, now, subscription, "unpaid")
    elif wanted == "cancel":
        close(store, now, subscription, reason="payment_failed")


def retry(store: Store, due: int, invoice_id: str) -> None:
    """The attempt that was planned for this moment."""
    invoice = store.get(INVOICE, invoice_id)
    if invoice["status"] == "open":
        attempt(store, at(due), invoice)


def void(store: Store, now: datetime, invoice: Document) -> Document:
    """Make an open invoice worth nothing."""
    return close_unpaid(store, now, invoice, "void")


def close_unpaid(store: Store, now: datetime, invoice: Document, status: str) -> Document:
    """End an open invoice as ``void`` or ``uncollectible``."""
    moment, kind = {
        "void": ("voided_at", "invoice.voided"),
        "uncollectible": ("marked_uncollectible_at", "invoice.marked_uncollectible"),
    }[status]
    invoice["status_transitions"] |= {moment: unix(now)}
    invoice |= {"status": status, "auto_advance": False, "next_payment_attempt": None}
    set_timer(store, RETRY, invoice["id"], None)
    store.save(invoice)
    announce(store, now, kind, show(store, invoice))
    return invoice


def finalize_or_wait(store: Store, when: int, invoice: Document) -> None:
    """Finalize a draft at its time, unless an endpoint has not taken its ``invoice.created`` yet.

    Stripe waits for that so that the receiver can add what belongs on the invoice, but no longer than
    three days. It is looked at again every hour.
    """
    latest = invoice["created"] + int(WAITS_AT_MOST.total_seconds())
    if when < latest and is_undelivered(store, "invoice.created", invoice["id"]):
        again = when + int(FINALIZED_AFTER.total_seconds())
        store.save({**invoice, "automatically_finalizes_at": min(again, latest)})
        return
    finalize_and_collect(store, at(when), invoice)


# --- subscriptions that end ----------------------------------------------------------------------

EXPIRY: Final = "incomplete_expiry"
COMPLETED_WITHIN: Final = timedelta(hours=23)


def await_first_payment(store: Store, now: datetime, subscription: Document) -> None:
    """From now on the first invoice has to be paid within 23 hours."""
    set_timer(store, EXPIRY, subscription["id"], unix(now + COMPLETED_WITHIN))


def expire_incomplete(store: Store, due: int, subscription_id: str) -> None:
    """The first invoice was not paid in time: it is void, and the subscription never was one."""
    subscription = store.get(SUBSCRIPTION, subscription_id)
    if subscription["status"] != "incomplete":
        return
    _void_open(store, at(due), subscription)
    change_status(store, at(due), subscription, "incomplete_expired", ended_at=due)


def _void_open(store: Store, now: datetime, subscription: Document) -> None:
    for invoice in _open_invoices(store, subscription):
        void(store, now, invoice)


def _open_invoices(store: Store, subscription: Document) -> list[Document]:
    return [
        invoice
        for invoice in store.every(INVOICE, owner=subscription["customer"])
        if invoice["status"] == "open" and subscription_id_of(invoice) == subscription["id"]
    ]


def close(store: Store, now: datetime, subscription: Document, *, reason: str) -> None:
    """End a subscription; its open invoices stay open, and nobody tries any more to have them paid.

    ``reason``: ``cancellation_requested`` or ``payment_failed``.
    """
    ended = unix(now)
    if subscription["status"] == "incomplete":
        _void_open(store, now, subscription)
    for invoice in _open_invoices(store, subscription):
        set_timer(store, RETRY, invoice["id"], None)
        store.save({**invoice, "auto_advance": False, "next_payment_attempt": None})
    set_timer(store, EXPIRY, subscription["id"], None)
    cancel_schedule(store, now, subscription)
    details = {"comment": None, "feedback": None, "reason": reason}
    subscription |= {
        "status": "canceled",
        "cancellation_details": details,
        "ended_at": ended,
        "canceled_at": subscription["canceled_at"] or ended,
    }
    store.save(subscription)
    announce(store, now, "customer.subscription.deleted", show_subscription(subscription))
    announce_status(store, now, subscription)


def subscription_id_of(invoice: Document) -> str | None:
    """The subscription that an invoice is of."""
    if not invoice["parent"]:
        return None
    found: str | None = invoice["parent"]["subscription_details"]["subscription"]
    return found


def _subscription_of(store: Store, invoice: Document) -> Document | None:
    found = subscription_id_of(invoice)
    return None if found is None else store.find(SUBSCRIPTION, found)
