"""Subscriptions and their items, and the invoices that their periods bring.

Licensed items are charged for the period ahead, metered ones for the period that ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from stripe import params as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, in_range, names, page
from sandbox.stripe.collection import await_first_payment, close, finalize_and_collect
from sandbox.stripe.errors import bad_parameter, declined, missing_object
from sandbox.stripe.first_period import beginning
from sandbox.stripe.invoice_items import take_pending
from sandbox.stripe.invoices import draft, make_line
from sandbox.stripe.items import (
    REMOVED,
    Period,
    apply_item,
    is_metered,
    is_prorated,
    make_item,
    part_amount,
    refuse_same_price,
)
from sandbox.stripe.payments import MISSING, outcome_of
from sandbox.stripe.periods import next_boundary
from sandbox.stripe.phases import split, take_turn, turn_of
from sandbox.stripe.standing import ENDED, SUBSCRIPTION, announce_status, change_status, running, show
from sandbox.stripe.store import Document, Store, merge_metadata
from sandbox.stripe.timers import set_timer
from sandbox.stripe.wire import at, new_id

_PAID_BY: Final = ("allow_incomplete", "default_incomplete", "error_if_incomplete")
WARNED_BEFORE: Final = timedelta(days=3)
TRIAL_WARNING: Final = "trial_warning"


def begin(call: Call) -> Document:
    """Make a subscription by the parameters of a call; the subscription as it is kept.

    Raises:
        StripeRefusalError: for parameters that don't fit; 402 for a card that is declined, if asked to.
    """
    customer = call.params.get("customer")
    if customer is None:
        raise bad_parameter("Missing required param: customer.", "customer", "parameter_missing")
    if call.store.get("customer", customer, param="customer").get("deleted"):
        raise missing_object("customer", customer, "customer")
    _refuse_classic(call.params)
    _payment_behavior(call.params)
    subscription_id, first = new_id("sub"), beginning(call.params, call.now)
    items = [
        make_item(call.store, subscription_id, given, created=call.seconds, period=first.period)
        for given in call.params.get("items", [])
    ]
    if not items:
        raise bad_parameter("Missing required param: items.", "items", "parameter_missing")
    refuse_same_price(items)
    missing = call.params.get("trial_settings", {}).get("end_behavior", {}).get("missing_payment_method")
    subscription: Document = {
        "id": subscription_id,
        "object": "subscription",
        "billing_cycle_anchor": first.anchor,
        "billing_schedules": [],
        "billing_mode": {"type": "flexible", "flexible": {}, "updated_at": None},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": call.seconds,
        "currency": items[0]["price"]["currency"],
        "customer": customer,
        "default_payment_method": call.params.get("default_payment_method"),
        "description": call.params.get("description"),
        "ended_at": None,
        "items": items,
        "latest_invoice": None,
        "livemode": False,
        "metadata": {},
        "pause_collection": None,
        "schedule": None,
        "start_date": first.period.start,
        "status": "trialing" if first.trial else "active",
        "trial_end": first.period.end if first.trial else None,
        "trial_settings": {"end_behavior": {"missing_payment_method": missing or "create_invoice"}},
        "trial_start": first.period.start if first.trial else None,
    }
    if call.params.get("cancel_at_period_end"):
        _leave_at_period_end(call, subscription, leaving=True)
    merge_metadata(subscription, call.params)
    call.store.add(SUBSCRIPTION, subscription, owner=customer)
    _first_invoice(call, subscription, first.period)
    if first.trial:
        warning = max(first.period.end - int(WARNED_BEFORE.total_seconds()), call.seconds)
        set_timer(call.store, TRIAL_WARNING, subscription_id, warning)
    announce(call.store, call.now, "customer.subscription.created", show(subscription))
    announce_status(call.store, call.now, subscription)
    return subscription


def _create(call: Call) -> Document:
    return show(begin(call))


def _refuse_classic(params: Mapping[str, Any]) -> None:
    if params.get("billing_mode", {}).get("type", "flexible") != "flexible":
        raise bad_parameter("The sandbox bills in the mode `flexible` only.", "billing_mode[type]")


def _payment_behavior(params: Mapping[str, Any]) -> str:
    behavior: str = params.get("payment_behavior", _PAID_BY[0])
    if behavior not in _PAID_BY:
        raise bad_parameter(f"The sandbox does not carry out `{behavior}`.", "payment_behavior")
    return behavior


def _first_invoice(call: Call, subscription: Document, period: Period) -> None:
    """Charge the licensed items for the first period; unpaid, the subscription is ``incomplete``."""
    trial = subscription["status"] == "trialing"
    lines = [
        make_line(
            item, period.start, period.end, quantity=item["quantity"],
            amount=0 if trial else part_amount(subscription, item, item["quantity"], period),
        )
        for item in subscription["items"]
        if not is_metered(item)
    ]  # fmt: skip
    stub = period.end == subscription["billing_cycle_anchor"] and not trial
    if not lines or (stub and not is_prorated(call.params)):
        return
    invoice = draft(
        call.store, call.now, customer=subscription["customer"], subscription=subscription["id"],
        reason="subscription_create", period=(period.start, period.start), lines=lines,
    )  # fmt: skip
    behavior = _payment_behavior(call.params)
    invoice["auto_advance"] = behavior != "default_incomplete"
    invoice = finalize_and_collect(call.store, call.now, invoice)
    if invoice["status"] != "paid":
        if behavior == "error_if_incomplete":
            raise declined(keeps_work=False)
        subscription["status"] = "incomplete"
        await_first_payment(call.store, call.now, subscription)
    subscription["latest_invoice"] = invoice["id"]
    call.store.save(subscription)


def _ahead(items: Iterable[Document], start: int, end: int) -> list[Document]:
    return [make_line(item, start, end, quantity=item["quantity"]) for item in items if not is_metered(item)]


def _behind(store: Store, subscription: Document, end: int) -> list[Document]:
    """Lines for what was counted, by the items that are there and by those taken away since."""
    lines = [
        make_line(item, item["current_period_start"], end)
        for item in subscription["items"]
        if is_metered(item)
    ]
    for removed in store.every(REMOVED, owner=subscription["id"]):
        if not removed["billed"]:
            lines.append(make_line(removed["item"], removed["start"], removed["end"]))
            store.save({**removed, "billed": True})
    return lines


def next_period_end(store: Store) -> tuple[int, Document] | None:
    """The subscription whose period ends next, and when (seconds)."""
    row = store.execute(
        "SELECT document, json_extract(document, '$.items[0].current_period_end') AS due FROM objects "
        "INDEXED BY subscriptions_by_end WHERE kind = 'subscription' "
        "AND json_extract(document, '$.status') IN ('active', 'trialing', 'past_due', 'unpaid') "
        "ORDER BY due LIMIT 1"
    ).fetchone()
    return None if row is None else (row["due"], json.loads(row["document"]))


def end_period(store: Store, subscription: Document, end: int) -> None:
    """Draft the period's invoice, and begin the next period or, if asked to, end the subscription.

    What was used in a trial is not charged.
    """
    now, trial = at(end), subscription["status"] == "trialing"
    turn = turn_of(store, subscription, end)
    leaving = subscription["cancel_at_period_end"] or (turn is not None and turn.cancels)
    if trial and not leaving and outcome_of(store, subscription["customer"]) == MISSING:
        behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
        if behavior == "pause":
            _skip_charges(store, subscription, end)
            change_status(store, now, subscription, "paused", "customer.subscription.paused")
            return
        leaving = behavior == "cancel"
    start = min(item["current_period_start"] for item in subscription["items"])
    following = next_boundary(subscription["billing_cycle_anchor"], end)
    lines = _behind(store, subscription, end)
    if trial:
        lines = []
    if turn is not None:
        take_turn(store, subscription, turn, Period(end, following))
    if not leaving:
        lines += _ahead(subscription["items"], end, following)
    lines += take_pending(store, subscription["customer"], subscription["id"])
    if lines:
        invoice = draft(
            store, now, customer=subscription["customer"], subscription=subscription["id"],
            reason="subscription_cycle", period=(start, end), lines=lines,
            auto_advance=_advances(subscription),
        )  # fmt: skip
        subscription["latest_invoice"] = invoice["id"]
    if leaving:
        close(store, now, subscription, reason="cancellation_requested")
        return
    for item in subscription["items"]:
        item |= {"current_period_start": end, "current_period_end": following}
    if trial:
        change_status(store, now, subscription, "active")
        return
    store.save(subscription)
    announce(store, now, "customer.subscription.updated", show(subscription))


def _advances(subscription: Document) -> bool:
    """Whether a new invoice is finalized by itself; those of an unpaid or paused one stay drafts."""
    pause = subscription["pause_collection"]
    held = pause is not None and pause["behavior"] == "keep_as_draft"
    return not held and subscription["status"] != "unpaid"


def _skip_charges(store: Store, subscription: Document, end: int) -> None:
    """What a trial counted is charged to nobody, also by items that were taken away."""
    _behind(store, subscription, end)


def warn_of_trial_end(store: Store, due: int, subscription_id: str) -> None:
    """Tell that a trial ends in three days."""
    subscription = store.get(SUBSCRIPTION, subscription_id)
    if subscription["status"] == "trialing":
        announce(store, at(due), "customer.subscription.trial_will_end", show(subscription))


def close_all(store: Store, now: datetime, customer: str) -> None:
    """End every running subscription of a customer at once."""
    for subscription in store.every(SUBSCRIPTION, owner=customer):
        if subscription["status"] not in ENDED:
            close(store, now, subscription, reason="cancellation_requested")


def _retrieve(call: Call) -> Document:
    return show(call.store.get(SUBSCRIPTION, call.id, stale=call.stale))


def _list(call: Call) -> Document:
    wanted = call.params
    status = wanted.get("status")
    price = wanted.get("price")
    every = call.store.every(SUBSCRIPTION, owner=wanted.get("customer"), newest_first=True, stale=call.stale)
    chosen = [
        one
        for one in every
        if _has_status(one, status)
        and (price is None or any(item["price"]["id"] == price for item in one["items"]))
        and in_range(one["created"], wanted.get("created"))
    ]
    found = page(call, chosen)
    return {**found, "data": [show(one) for one in found["data"]]}


def _has_status(subscription: Document, wanted: str | None) -> bool:
    """Without a filter, a list leaves out what was canceled."""
    if wanted == "all":
        return True
    if wanted == "ended":
        return subscription["status"] in ENDED
    if wanted is None:
        return bool(subscription["status"] != "canceled")
    return bool(subscription["status"] == wanted)


def _update(call: Call) -> Document:
    subscription = running(call.store, call.id)
    _payment_behavior(call.params)
    if "cancel_at_period_end" in call.params:
        _leave_at_period_end(call, subscription, leaving=call.params["cancel_at_period_end"])
    if "pause_collection" in call.params:
        subscription["pause_collection"] = _pause(call.params["pause_collection"])
    if "trial_settings" in call.params:
        subscription["trial_settings"] = dict(call.params["trial_settings"])
    for name in ("description", "default_payment_method"):
        if name in call.params:
            subscription[name] = call.params[name] or None
    merge_metadata(subscription, call.params)
    prorated = is_prorated(call.params)
    for given in call.params.get("items", []):
        apply_item(call, subscription, given, prorated=prorated)
    if "trial_end" in call.params:
        return _end_trial(call, subscription)
    return keep_changes(call, subscription)


def _end_trial(call: Call, subscription: Document) -> Document:
    """End a trial now: the first period that is charged begins."""
    if call.params["trial_end"] != "now" or subscription["status"] != "trialing":
        raise bad_parameter("The sandbox takes `trial_end` as `now`, for a trial that runs.", "trial_end")
    subscription |= {"trial_end": call.seconds, "billing_cycle_anchor": call.seconds}
    for item in subscription["items"]:
        item["current_period_end"] = call.seconds
    call.store.save(subscription)
    end_period(call.store, subscription, call.seconds)
    return show(subscription)


def _leave_at_period_end(call: Call, subscription: Document, *, leaving: bool) -> None:
    if subscription["schedule"]:
        raise bad_parameter(
            f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and "
            "updating any cancelation behavior directly is not allowed. Please update the schedule instead.",
            "cancel_at_period_end", None,
        )  # fmt: skip
    subscription |= {
        "cancel_at_period_end": leaving,
        "canceled_at": call.seconds if leaving else None,
        "cancel_at": subscription["items"][0]["current_period_end"] if leaving else None,
    }
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if leaving else None


def _pause(given: Any) -> Document | None:
    if not given:
        return None
    if "resumes_at" in given:
        raise bad_parameter("The sandbox does not carry out `resumes_at`.", "pause_collection[resumes_at]")
    return {"behavior": given["behavior"], "resumes_at": None}


def keep_changes(call: Call, subscription: Document) -> Document:
    """Save what was changed in memory, invoice it if asked to, and tell of it; the subscription as shown."""
    refuse_same_price(subscription["items"])
    before = call.store.get(SUBSCRIPTION, subscription["id"])
    call.store.save(subscription)
    if before["items"] != subscription["items"]:
        split(call.store, subscription, call.seconds)
    if call.params.get("proration_behavior") == "always_invoice":
        lines = take_pending(call.store, subscription["customer"], subscription["id"])
        if lines:
            invoice = draft(
                call.store, call.now, customer=subscription["customer"], subscription=subscription["id"],
                reason="subscription_update", period=(call.seconds, call.seconds), lines=lines,
            )  # fmt: skip
            subscription["latest_invoice"] = invoice["id"]
            call.store.save(subscription)
            _collect_now(call, subscription, invoice)
    announce(call.store, call.now, "customer.subscription.updated", show(subscription))
    return show(subscription)


def _collect_now(call: Call, subscription: Document, invoice: Document) -> None:
    """Have the invoice of a change paid at once; what that does to the status is in the document then."""
    invoice = finalize_and_collect(call.store, call.now, invoice)
    if invoice["status"] != "paid" and _payment_behavior(call.params) == "error_if_incomplete":
        raise declined(keeps_work=False)
    subscription |= call.store.get(SUBSCRIPTION, subscription["id"])


def _resume(call: Call) -> Document:
    """Begin anew after a pause: a period from now on, charged at once.

    A card that is declined refuses it and leaves the pause; Stripe waits for the payment instead.
    """
    subscription = call.store.get(SUBSCRIPTION, call.id)
    if subscription["status"] != "paused":
        raise bad_parameter("The subscription is not paused.", "id", None)
    following = next_boundary(call.seconds, call.seconds)
    subscription |= {"billing_cycle_anchor": call.seconds}
    for item in subscription["items"]:
        item |= {"current_period_start": call.seconds, "current_period_end": following}
    lines = _ahead(subscription["items"], call.seconds, following)
    if lines:
        invoice = draft(
            call.store, call.now, customer=subscription["customer"], subscription=subscription["id"],
            reason="subscription_update", period=(call.seconds, call.seconds), lines=lines,
        )  # fmt: skip
        subscription["latest_invoice"] = invoice["id"]
        call.store.save(subscription)
        if finalize_and_collect(call.store, call.now, invoice)["status"] != "paid":
            raise declined(keeps_work=False)
    change_status(call.store, call.now, subscription, "active", "customer.subscription.resumed")
    return show(subscription)


def _cancel(call: Call) -> Document:
    subscription = running(call.store, call.id)
    if call.params.get("invoice_now"):
        lines = _behind(call.store, subscription, call.seconds)
        if subscription["status"] == "trialing":
            lines = []
        lines += take_pending(call.store, subscription["customer"], subscription["id"])
        start = min(item["current_period_start"] for item in subscription["items"])
        if lines:
            invoice = draft(
                call.store, call.now, customer=subscription["customer"], subscription=subscription["id"],
                reason="subscription_cycle", period=(start, call.seconds), lines=lines,
            )  # fmt: skip
            subscription["latest_invoice"] = invoice["id"]
    close(call.store, call.now, subscription, reason="cancellation_requested")
    return show(subscription)


OPERATIONS: Final = (
    Operation(
        "POST", "/v1/subscriptions", sdk.SubscriptionCreateParams, _create,
        names(
            "customer items metadata description cancel_at_period_end default_payment_method billing_mode "
            "backdate_start_date billing_cycle_anchor billing_cycle_anchor_config proration_behavior "
            "payment_behavior off_session trial_period_days trial_end trial_settings"
        ),
    ),
    Operation("GET", "/v1/subscriptions", sdk.SubscriptionListParams, _list, names(
        "customer status price created limit starting_after ending_before"
    )),
    Operation("GET", "/v1/subscriptions/{id}", sdk.SubscriptionRetrieveParams, _retrieve),
    Operation(
        "POST", "/v1/subscriptions/{id}", sdk.SubscriptionUpdateParams, _update,
        names(
            "items metadata description cancel_at_period_end default_payment_method proration_behavior "
            "payment_behavior off_session pause_collection trial_end trial_settings"
        ),
    ),
    Operation(
        "DELETE", "/v1/subscriptions/{id}", sdk.SubscriptionCancelParams, _cancel, names("invoice_now"),
    ),
    Operation(
        "POST", "/v1/subscriptions/{id}/resume", sdk.SubscriptionResumeParams, _resume,
        names("proration_behavior"),
    ),
)  # fmt: skip
