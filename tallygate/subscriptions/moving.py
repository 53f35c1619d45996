"""Moves subscribers of a metered price that was replaced to its successor, at the end of their period.

In the middle of a period a change of a metered price would bill one usage by two prices. So a subscription
schedule of Stripe carries the change out at the boundary: what was used before has the old price, what is
used after it the new one, and nothing is prorated. Moves are found in Stripe alone and can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import stripe

from tallygate.subscriptions.facts import LIVE

MOVE_KEY: Final = "tallygate_move"
"""Metadata of the schedules that are made here."""
TO_BE_MADE: Final = "new"
"""Stands for a successor that does not exist yet, in a dry run."""
_PAGE: Final = 100
_MONTH: Final = {"interval": "month", "interval_count": 1}

State = Literal["due", "planned", "blocked"]


@dataclass(frozen=True, slots=True)
class Move:
    """One subscription that has a price with a successor."""

    subscription: str
    customer: str
    state: State
    at: datetime
    """The end of its period."""
    reason: str
    """Why it is blocked, with what to do."""
    schedule: str | None
    """The schedule that it has already, which is ours or empty."""
    now: tuple[Mapping[str, Any], ...]
    """Its items, as a phase names them."""
    then: tuple[Mapping[str, Any], ...]
    closed: tuple[str, ...]
    """Prices among ``now`` that are not active; a phase takes active ones only."""


def moves(client: stripe.StripeClient, successors: Mapping[str, str]) -> Iterator[Move]:
    """Every subscription that has a price with a successor and does not end with its period.

    ``successors``: ids of prices, old to new.

    Raises:
        stripe.StripeError: when Stripe does not answer.
    """
    seen = set[str]()
    for old in successors:
        params: Any = {"price": old, "limit": _PAGE, "expand": ["data.schedule"]}
        for found in client.v1.subscriptions.list(params).auto_paging_iter():
            if found.id not in seen and found.status in LIVE:
                seen.add(found.id)
                yield from _move(found, list(found["items"].auto_paging_iter()), successors)


def carry_out(client: stripe.StripeClient, move: Move) -> None:
    """Plan a move in Stripe, whose prices are all active; the price changes when the period ends.

    Raises:
        stripe.StripeError: when Stripe does not answer; the next run finds it and goes on.
    """
    if move.schedule is None:
        made = client.v1.subscription_schedules.create({"from_subscription": move.subscription})
    else:
        made = client.v1.subscription_schedules.retrieve(move.schedule)
    _plan(client, made, list(move.now), list(move.then), int(move.at.timestamp()))


def is_to_settle(found: stripe.Subscription) -> bool:
    """Whether :func:`settle` would change something. ``found``: with its schedule expanded."""
    schedule = _ours(found)
    if schedule is None or found.status not in LIVE:
        return False
    items = list(found["items"].auto_paging_iter())
    following = _phase_from(schedule, _period_end(items))
    return following is None or _sorted(_with_seats(items, following)) != _sorted(_items_of(following))


def settle(client: stripe.StripeClient, found: stripe.Subscription) -> None:
    """Release a schedule whose change has happened; let one that waits give the seats that there are now.

    A schedule sets all items when a phase begins, so seats that changed since it was planned would go back.
    And while it is there, Stripe lets nobody decide on leaving. ``found``: with its schedule expanded.

    Raises:
        stripe.StripeError: when Stripe does not answer.
    """
    schedule = _ours(found)
    if schedule is None:
        return
    items = list(found["items"].auto_paging_iter())
    end = _period_end(items)
    following = _phase_from(schedule, end)
    if following is None:
        client.v1.subscription_schedules.release(schedule.id)
        return
    now = [_as_phase_item(item) for item in items]
    _plan(client, schedule, now, _with_seats(items, following), end)


def abandon(client: stripe.StripeClient, found: stripe.Subscription) -> None:
    """Let go of a planned move: whoever leaves with the period is not moved. ``found``: as for settle.

    Raises:
        stripe.StripeError: when Stripe does not answer.
    """
    schedule = _ours(found)
    if schedule is not None:
        client.v1.subscription_schedules.release(schedule.id)


def _ours(found: Any) -> stripe.SubscriptionSchedule | None:
    """The subscription's schedule, if it was made here and its change is planned."""
    schedule = found.schedule
    if not isinstance(schedule, stripe.SubscriptionSchedule) or schedule.status != "active":
        return None
    return schedule if _is_ours(schedule) else None


def _with_seats(items: list[Any], phase: Any) -> list[Mapping[str, Any]]:
    """A phase's metered items, with the licensed ones that run now."""
    licensed = [item for item in map(_as_phase_item, items) if "quantity" in item]
    return [*licensed, *(item for item in _items_of(phase) if "quantity" not in item)]


def _move(found: Any, items: list[Any], successors: Mapping[str, str]) -> Iterator[Move]:
    end = _period_end(items)
    if found.cancel_at is not None and found.cancel_at <= end:
        return  # it ends before anything could change
    now = tuple(_as_phase_item(item) for item in items)
    then = tuple({**item, "price": successors.get(item["price"], item["price"])} for item in now)
    schedule = found.schedule if isinstance(found.schedule, stripe.SubscriptionSchedule) else None
    reason = _obstacle(found, items, schedule)
    planned = not reason and schedule is not None and _plans(schedule, end, then)
    yield Move(
        subscription=found.id,
        customer=found.customer if isinstance(found.customer, str) else found.customer.id,
        state="blocked" if reason else "planned" if planned else "due",
        at=datetime.fromtimestamp(end, UTC),
        reason=reason,
        schedule=None if schedule is None else schedule.id,
        now=now,
        then=then,
        closed=tuple(item.price.id for item in items if not item.price.active),
    )


def _obstacle(found: Any, items: list[Any], schedule: stripe.SubscriptionSchedule | None) -> str:
    """What a schedule of ours would lose or fight with; empty when nothing."""
    if schedule is not None and not (_is_ours(schedule) or _is_empty(schedule)):
        return f"has the schedule {schedule.id} of somebody else: change the price there"
    if found.status == "trialing":
        return "is in its trial: apply again when that is over"
    if found.cancel_at is not None:
        return "ends at a moment of its own: change the price by hand"
    taxed = getattr(found, "automatic_tax", None)
    own = [
        *(getattr(found, "discounts", None) or ()),
        *(getattr(found, "default_tax_rates", None) or ()),
        *(one for item in items for one in getattr(item, "discounts", None) or ()),
        *(one for item in items for one in getattr(item, "tax_rates", None) or ()),
    ]
    if own or (taxed is not None and taxed.enabled):
        return "has discounts or taxes of its own, which a schedule would drop: change the price by hand"
    return ""


def _is_ours(schedule: stripe.SubscriptionSchedule) -> bool:
    return schedule.metadata is not None and MOVE_KEY in schedule.metadata.to_dict()


def _is_empty(schedule: stripe.SubscriptionSchedule) -> bool:
    """As a run leaves it that was cut off: one phase, which is what runs, and nothing after it."""
    marked = schedule.metadata is not None and schedule.metadata.to_dict()
    return len(schedule.phases) == 1 and schedule.end_behavior == "release" and not marked


def _plans(schedule: stripe.SubscriptionSchedule, end: int, then: tuple[Mapping[str, Any], ...]) -> bool:
    following = _phase_from(schedule, end)
    return following is not None and _is_ours(schedule) and _sorted(_items_of(following)) == _sorted(then)


def _plan(
    client: stripe.StripeClient,
    schedule: stripe.SubscriptionSchedule,
    now: list[Mapping[str, Any]],
    then: list[Mapping[str, Any]],
    end: int,
) -> None:
    current = schedule.current_phase
    start = schedule.phases[0].start_date if current is None else current.start_date
    params: Any = {
        "end_behavior": "release",
        "metadata": {MOVE_KEY: "yes"},
        "proration_behavior": "none",
        "phases": [
            {"items": now, "start_date": start, "end_date": end, "proration_behavior": "none"},
            {"items": then, "start_date": end, "duration": _MONTH, "proration_behavior": "none"},
        ],
    }
    client.v1.subscription_schedules.update(schedule.id, params)


def _period_end(items: list[Any]) -> int:
    end: int = min(item.current_period_end for item in items)
    return end


def _phase_from(schedule: stripe.SubscriptionSchedule, start: int) -> Any | None:
    return next((phase for phase in schedule.phases if phase.start_date == start), None)


def _items_of(phase: Any) -> list[Mapping[str, Any]]:
    return [
        {"price": _id(item.price)} | ({} if item.quantity is None else {"quantity": item.quantity})
        for item in phase["items"]
    ]


def _as_phase_item(item: Any) -> Mapping[str, Any]:
    """A subscription's item as a phase names it: metered ones have no quantity."""
    metered = item.price.recurring is not None and item.price.recurring.usage_type == "metered"
    return {"price": item.price.id} | ({} if metered else {"quantity": item.quantity})


def _sorted(items: Any) -> list[tuple[str, int]]:
    return sorted((item["price"], item.get("quantity") or 0) for item in items)


def _id(value: Any) -> str:
    found: str = value if isinstance(value, str) else value.id
    return found
