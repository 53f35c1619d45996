"""Meter events as they are kept, and the sums over them.

An event counts from the moment it is received; summaries show it some time later, because Stripe
aggregates in the background. Moments are whole microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sandbox.stripe.store import Document, Store

LAG: Final = timedelta(seconds=60)
"""An event shows in summaries from the first whole minute at least this long after it was received."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WINDOWS: Final = {"hour": HOUR, "day": DAY}


def micros(moment: datetime) -> int:
    """A moment as whole microseconds since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """The moment of a count of microseconds since the epoch."""
    return _EPOCH + microseconds * _MICROSECOND


@dataclass(frozen=True, slots=True)
class Usage:
    """One meter event that counts."""

    at: int
    received: int
    value: int


def visible_at(received: datetime) -> int:
    """When an event received now is summed and checked: a whole minute, so that many share one effect."""
    return -(-(micros(received + LAG)) // MINUTE) * MINUTE


def usage_of(
    store: Store, meter: str, customer: str, start: int, end: int, *, seen_by: int | None = None
) -> list[Usage]:
    """The events of a customer in ``start ≤ at < end``, in the order received.

    ``seen_by``: only those that the background aggregation has summed by then.
    """
    rows = store.rows(
        "SELECT at, received_at, value FROM meter_events WHERE meter = ? AND customer = ? AND at >= ? AND "
        "at < ? AND refused IS NULL AND canceled = 0 AND (? IS NULL OR visible_at <= ?) ORDER BY seq",
        meter, customer, start, end, seen_by, seen_by,
    )  # fmt: skip
    return [Usage(row["at"], row["received_at"], row["value"]) for row in rows]


def aggregate(meter: Document, events: Sequence[Usage]) -> int:
    """The meter's formula over events; a pre-aggregated meter counts the last received one per window."""
    window = WINDOWS.get(meter["event_time_window"] or "")
    if window is not None:
        events = list({event.at // window: event for event in events}.values())
    formula = meter["default_aggregation"]["formula"]
    if formula == "count":
        return len(events)
    if formula == "last":
        return max(events, key=lambda event: event.at).value if events else 0
    return sum(event.value for event in events)


def by_window(events: Iterable[Usage], width: int) -> dict[int, list[Usage]]:
    """Events by the start of their window."""
    windows: dict[int, list[Usage]] = {}
    for event in events:
        windows.setdefault(event.at // width * width, []).append(event)
    return windows


def billed_quantity(store: Store, meter: Document, customer: str, start: int, end: int) -> int:
    """What an invoice of ``start ≤ at < end`` (seconds) charges: everything received, never below zero."""
    events = usage_of(store, meter["id"], customer, start * SECOND, end * SECOND)
    return max(aggregate(meter, events), 0)


def ledger_events(store: Store) -> list[Any]:
    """Every event that counts, in the order received."""
    return list(
        store.rows(
            "SELECT identifier, customer, event_name, meter, at, value, received_at FROM meter_events "
            "WHERE refused IS NULL AND canceled = 0 ORDER BY seq"
        )
    )
