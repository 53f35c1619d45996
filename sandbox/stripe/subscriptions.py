"""Subscriptions and their items, and the invoices that their periods bring.

Licensed items are charged for the period ahead, metered ones for the period that ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from stripe import params as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, first_page, in_range, names, page
from sandbox.stripe.errors import StripeRefusalError, bad_parameter, missing_object
from sandbox.stripe.first_period import beginning
from sandbox.stripe.invoices import draft, finalize, make_line, take_pending
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
from sandbox.stripe.periods import next_boundary
from sandbox.stripe.store import Document, Store, merge_metadata
from sandbox.stripe.wire import at, new_id, unix

SUBSCRIPTION: Final = "subscription"


def show(subscription: Document) -> Document:
    """A subscription as the API shows it: with its items as a list."""
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    return {**subscription, "items": first_page(url, subscription["items"])}


def _create(call: Call) -> Document:
    customer = call.params.get("customer")
    if customer is None:
        raise bad_parameter("Missing required param: customer.", "customer", "parameter_missing")
    if call.store.get("customer", customer, param="customer").get("deleted"):
        raise missing_object("customer", customer, "customer")
    _refuse_classic(call.params)
    subscription_id, first = new_id("sub"), beginning(call.params, call.now)
    items = [
        make_item(call.store, subscription_id, given, created=call.seconds, period=first.period)
        for given in call.params.get("items", [])
    ]
    if not items:
        raise bad_parameter("Missing required param: items.", "items", "parameter_missing")
    refuse_same_price(items)
    subscription: Document = {
        "id": subscription_id,
        "object": "subscription",
        "billing_cycle_anchor": first.anchor,
        "billing_schedules": [],
        "billing_mode": {"type": "flexible", "flexible": {}, "updated_at": None},
        "cancel_at": None,
        "cancel_at_period_end": call.params.get("cancel_at_period_end", False),
        "canceled_at": None,
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
        "status": "active",
        "trial_end": None,
        "trial_start": None,
    }
    merge_metadata(subscription, call.params)
    call.store.add(SUBSCRIPTION, subscription, owner=customer)
    _first_invoice(call, subscription, first.period)
    announce(call.store, call.now, "customer.subscription.created", show(subscription))
    return show(subscription)


def _refuse_classic(params: Mapping[str, Any]) -> None:
    if params.get("billing_mode", {}).get("type", "flexible") != "flexible":
        raise bad_parameter("The sandbox bills in the mode `flexible` only.", "billing_mode[type]")


def _first_invoice(call: Call, subscription: Document, period: Period) -> None:
    lines = [
        make_line(
            item, period.start, period.end, quantity=item["quantity"],
            amount=part_amount(subscription, item, item["quantity"], period),
        )
        for item in subscription["items"]
        if not is_metered(item)
    ]  # fmt: skip
    stub = period.end == subscription["billing_cycle_anchor"]
    if not lines or (stub and not is_prorated(call.params)):
        return
    invoice = draft(
        call.store, call.now, customer=subscription["customer"], subscription=subscription["id"],
        reason="subscription_create", period=(period.start, period.start), lines=lines,
    )  # fmt: skip
    finalize(call.store, call.now, invoice)
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
        "AND json_extract(document, '$.status') = 'active' ORDER BY due LIMIT 1"
    ).fetchone()
    return None if row is None else (row["due"], json.loads(row["document"]))


def end_period(store: Store, subscription: Document, end: int) -> None:
    """Draft the period's invoice, and begin the next period or, if asked to, end the subscription."""
    now = at(end)
    leaving = subscription["cancel_at_period_end"]
    start = min(item["current_period_start"] for item in subscription["items"])
    following = next_boundary(subscription["billing_cycle_anchor"], end)
    lines = _behind(store, subscription, end)
    if not leaving:
        lines += _ahead(subscription["items"], end, following)
    lines += take_pending(store, subscription["customer"], subscription["id"])
    if lines:
        invoice = draft(
            store, now, customer=subscription["customer"], subscription=subscription["id"],
            reason="subscription_cycle", period=(start, end), lines=lines,
        )  # fmt: skip
        subscription["latest_invoice"] = invoice["id"]
    if leaving:
        _close(store, now, subscription)
        return
    for item in subscription["items"]:
        item |= {"current_period_start": end, "current_period_end": following}
    store.save(subscription)
    announce(store, now, "customer.subscription.updated", show(subscription))


def _close(store: Store, now: datetime, subscription: Document) -> None:
    ended = unix(now)
    subscription |= {
        "status": "canceled",
        "ended_at": ended,
        "canceled_at": subscription["canceled_at"] or ended,
    }
    store.save(subscription)
    announce(store, now, "customer.subscription.deleted", show(subscription))


def close_all(store: Store, now: datetime, customer: str) -> None:
    """End every running subscription of a customer at once."""
    for subscription in store.every(SUBSCRIPTION, owner=customer):
        if subscription["status"] != "canceled":
            _close(store, now, subscription)


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
    if wanted in ("canceled", "ended"):
        return bool(subscription["status"] == "canceled")
    return bool(subscription["status"] == (wanted or "active"))


def running(call: Call, subscription_id: str, param: str = "id") -> Document:
    """A subscription that has not ended.

    Raises:
        StripeRefusalError: 404 for one that has, or that never was.
    """
    subscription = call.store.get(SUBSCRIPTION, subscription_id, param=param)
    if subscription["status"] == "canceled":
        raise StripeRefusalError(404, f"No such subscription: '{subscription_id}'", "resource_missing")
    return subscription


def _update(call: Call) -> Document:
    subscription = running(call, call.id)
    if "cancel_at_period_end" in call.params:
        leaving = call.params["cancel_at_period_end"]
        subscription |= {
            "cancel_at_period_end": leaving,
            "canceled_at": call.seconds if leaving else None,
            "cancel_at": subscription["items"][0]["current_period_end"] if leaving else None,
        }
    for name in ("description", "default_payment_method"):
        if name in call.params:
            subscription[name] = call.params[name] or None
    merge_metadata(subscription, call.params)
    prorated = is_prorated(call.params)
    for given in call.params.get("items", []):
        apply_item(call, subscription, given, prorated=prorated)
    return keep_changes(call, subscription)


def keep_changes(call: Call, subscription: Document) -> Document:
    """Save what was changed in memory, invoice it if asked to, and tell of it; the subscription as shown."""
    refuse_same_price(subscription["items"])
    call.store.save(subscription)
    if call.params.get("proration_behavior") == "always_invoice":
        lines = take_pending(call.store, subscription["customer"], subscription["id"])
        if lines:
            invoice = draft(
                call.store, call.now, customer=subscription["customer"], subscription=subscription["id"],
                reason="subscription_update", period=(call.seconds, call.seconds), lines=lines,
            )  # fmt: skip
            finalize(call.store, call.now, invoice)
            subscription["latest_invoice"] = invoice["id"]
            call.store.save(subscription)
    announce(call.store, call.now, "customer.subscription.updated", show(subscription))
    return show(subscription)


def _cancel(call: Call) -> Document:
    subscription = running(call, call.id)
    if call.params.get("invoice_now"):
        lines = _behind(call.store, subscription, call.seconds)
        lines += take_pending(call.store, subscription["customer"], subscription["id"])
        start = min(item["current_period_start"] for item in subscription["items"])
        if lines:
            invoice = draft(
                call.store, call.now, customer=subscription["customer"], subscription=subscription["id"],
                reason="subscription_cycle", period=(start, call.seconds), lines=lines,
            )  # fmt: skip
            subscription["latest_invoice"] = invoice["id"]
    _close(call.store, call.now, subscription)
    return show(subscription)


OPERATIONS: Final = (
    Operation(
        "POST", "/v1/subscriptions", sdk.SubscriptionCreateParams, _create,
        names(
            "customer items metadata description cancel_at_period_end default_payment_method billing_mode "
            "backdate_start_date billing_cycle_anchor billing_cycle_anchor_config proration_behavior "
            "payment_behavior off_session"
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
            "payment_behavior off_session"
        ),
    ),
    Operation(
        "DELETE", "/v1/subscriptions/{id}", sdk.SubscriptionCancelParams, _cancel, names("invoice_now"),
    ),
)  # fmt: skip
