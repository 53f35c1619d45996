"""What a subscription's schedule does at the end of a billing period: its next phase begins, or it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sandbox.stripe.announcements import announce
from sandbox.stripe.items import Period, is_metered, make_item
from sandbox.stripe.store import Document, Store
from sandbox.stripe.wire import at, unix

SCHEDULE: Final = "subscription_schedule"


@dataclass(frozen=True, slots=True)
class Turn:
    """What is due for a schedule at one moment."""

    schedule: Document
    phase: Document | None
    """The phase that begins; None: the last one has ended."""

    @property
    def cancels(self) -> bool:
        """Whether the subscription ends with the schedule."""
        return self.phase is None and bool(self.schedule["end_behavior"] == "cancel")


def turn_of(store: Store, subscription: Document, end: int) -> Turn | None:
    """What the subscription's schedule wants at the end of a period, if anything."""
    schedule = subscription["schedule"] and store.find(SCHEDULE, subscription["schedule"])
    if not schedule or schedule["status"] != "active":
        return None
    for phase in schedule["phases"]:
        if phase["start_date"] == end:
            return Turn(schedule, phase)
    return Turn(schedule, None) if schedule["phases"][-1]["end_date"] == end else None


def take_turn(store: Store, subscription: Document, turn: Turn, period: Period) -> None:
    """Carry it out on the subscription, in memory; the schedule is saved and told of."""
    schedule, phase = turn.schedule, turn.phase
    if phase is None:
        finish(store, subscription, schedule, period.start)
        return
    subscription["items"] = [_item(store, subscription, wanted, period) for wanted in phase["items"]]
    schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    store.save(schedule)
    announce(store, at(period.start), "subscription_schedule.updated", schedule)


def _item(store: Store, subscription: Document, wanted: Mapping[str, Any], period: Period) -> Document:
    """The item that has the price already, with the phase's quantity, or a new one."""
    for item in subscription["items"]:
        if item["price"]["id"] == wanted["price"]:
            quantity = {} if is_metered(item) else {"quantity": wanted.get("quantity", 1)}
            kept: Document = {**item, **quantity}
            return kept
    given = {name: wanted[name] for name in ("price", "quantity") if wanted.get(name) is not None}
    return make_item(store, subscription["id"], given, created=period.start, period=period)


def as_given(item: Document) -> Document:
    """A subscription's item as a phase names it."""
    quantity = {} if is_metered(item) else {"quantity": item["quantity"]}
    return {"price": item["price"]["id"], **quantity}


def shown_phase(
    items: list[Mapping[str, Any]] | list[Document], start: int, end: int, given: Mapping[str, Any]
) -> Document:
    """A phase as the API shows it; times in seconds since the epoch."""
    return {
        "add_invoice_items": [],
        "billing_cycle_anchor": None,
        "collection_method": None,
        "currency": "usd",
        "default_payment_method": None,
        "description": None,
        "discounts": [],
        "end_date": end,
        "items": [
            {
                "discounts": [], "metadata": item.get("metadata") or {}, "plan": item["price"],
                "price": item["price"], "quantity": item.get("quantity"), "tax_rates": [],
            }
            for item in items
        ],
        "metadata": given.get("metadata") or {},
        "proration_behavior": given.get("proration_behavior", "create_prorations"),
        "start_date": start,
        "trial_end": None,
    }  # fmt: skip


def split(store: Store, subscription: Document, seconds: int) -> None:
    """Note in a schedule that its subscription's items were changed beside it.

    The running phase ends now, and one with the changed items goes on to where it would have ended. The
    phases after it stay as they were planned, old quantities included.
    """
    schedule = subscription["schedule"] and store.find(SCHEDULE, subscription["schedule"])
    if not schedule or schedule["status"] != "active":
        return
    items = [as_given(item) for item in subscription["items"]]
    start = schedule["current_phase"]["start_date"]
    phases = []
    for phase in schedule["phases"]:
        if phase["start_date"] != start:
            phases.append(phase)
            continue
        if seconds > start:
            phases.append({**phase, "end_date": seconds})
        phases.append(shown_phase(items, max(seconds, start), phase["end_date"], phase))
        schedule["current_phase"] = {"start_date": max(seconds, start), "end_date": phase["end_date"]}
    schedule["phases"] = phases
    store.save(schedule)
    announce(store, at(seconds), "subscription_schedule.updated", schedule)


def finish(store: Store, subscription: Document, schedule: Document, seconds: int) -> None:
    """End a schedule at its end: the subscription goes on without it, or ends as well."""
    if schedule["end_behavior"] == "cancel":
        schedule |= {"status": "completed", "completed_at": seconds, "current_phase": None}
        store.save(schedule)
        announce(store, at(seconds), "subscription_schedule.completed", schedule)
        return
    release(store, subscription, schedule, seconds)


def cancel_schedule(store: Store, now: datetime, subscription: Document) -> None:
    """A subscription that ends takes its schedule with it."""
    schedule = subscription["schedule"] and store.find(SCHEDULE, subscription["schedule"])
    if schedule and schedule["status"] == "active":
        schedule |= {"status": "canceled", "canceled_at": unix(now), "current_phase": None}
        store.save(schedule)
        announce(store, now, "subscription_schedule.canceled", schedule)


def release(store: Store, subscription: Document, schedule: Document, seconds: int) -> None:
    """Let a subscription go on without its schedule; the subscription is changed in memory only."""
    schedule |= {
        "status": "released",
        "released_at": seconds,
        "released_subscription": subscription["id"],
        "subscription": None,
        "current_phase": None,
    }
    subscription["schedule"] = None
    store.save(schedule)
    announce(store, at(seconds), "subscription_schedule.released", schedule)
