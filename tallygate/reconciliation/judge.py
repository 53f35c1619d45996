"""What a difference between the ledger and Stripe's summary of an hour means, and what may be done about it.

Pure: the same rows and the same sum give the same finding. One hour is of one customer and one meter, by the
time that was sent to Stripe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Final, Literal

from tallygate.metering.warehouse import DeliveryRow

Action = Literal["confirmed", "waiting", "found", "resent", "cancelled", "proposed", "settled"]

CANCELLABLE: Final = timedelta(hours=23)
"""Stripe cancels events that it received within 24 hours; the difference is for the call."""
_FORGOTTEN: Final = timedelta(hours=25)
"""Stripe has certainly forgotten an identifier that old."""
_MOST_UNKNOWN: Final = 16
"""So many rows of unknown outcome are looked at in all combinations, at most 65,536."""


@dataclass(frozen=True, slots=True)
class HourRow:
    """A billable row of the hour and where its delivery stands."""

    identifier: str
    value: int
    delivery: str
    delivery_reason: str | None
    attempt: int
    noted_at: datetime | None
    unknown_since: datetime | None

    def note(self, state: str, reason: str) -> DeliveryRow:
        """A further note on the newest attempt."""
        return DeliveryRow(self.identifier, max(self.attempt, 1), state, reason)


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a comparison."""

    action: Action
    notes: tuple[DeliveryRow, ...] = ()
    """To be appended to the history of deliveries."""
    cancel: str | None = None
    """Identifier of the event to cancel."""
    detail: str | None = None


def ledger_value(rows: Sequence[HourRow]) -> int:
    """What the ledger says was sent."""
    return sum(row.value for row in rows if row.delivery in ("sent", "confirmed"))


def judge(
    rows: Sequence[HourRow], stripe_value: int, *, seen_before: bool, now: datetime, held_since: datetime
) -> Finding:
    """Compare one hour.

    ``seen_before``: an earlier read, some time ago, gave the same two sums: summaries lag, so one read proves
    nothing but equality. ``held_since``: a row whose outcome is unknown since before is no longer sent again
    by the sender.
    """
    gap = stripe_value - ledger_value(rows)
    unknown = [row for row in rows if row.delivery == "sending" and row.unknown_since is not None]
    held = [row for row in unknown if row.unknown_since is not None and row.unknown_since < held_since]
    if gap == 0 and not unknown:
        return Finding("confirmed")
    moving = len(unknown) > len(held) or any(
        row.delivery in ("unsent", "sending") and row not in unknown for row in rows
    )
    if not seen_before or moving:
        return Finding("waiting")
    if held:
        return _held(held, gap, now)
    return _missing(rows, -gap) if gap < 0 else _excess(rows, gap, now)


def _held(held: Sequence[HourRow], gap: int, now: datetime) -> Finding:
    """Rows of unknown outcome: those whose values make the gap are there, the others are sent again.

    Without a gap what arrived of them sums to nothing, so that all may be sent again: the hour's sum is right
    afterwards even if some of them, with opposite signs, did arrive.
    """
    if gap == 0:
        rows = sorted(held, key=lambda row: row.identifier)
        notes = tuple(row.note("sending", "not_found") for row in rows)
        return Finding("resent", notes, detail=" ".join(row.identifier for row in rows))
    fitting = [
        chosen
        for size in range(1, len(held) + 1)
        for chosen in combinations(held[:_MOST_UNKNOWN], size)
        if sum(row.value for row in chosen) == gap
    ]
    if not fitting:
        return Finding("proposed", detail="no set of the rows of unknown outcome makes the difference")
    if len(fitting) > 1 and any(
        row.unknown_since is None or row.unknown_since > now - _FORGOTTEN for row in held
    ):
        return Finding("waiting", detail="which rows arrived can't be told before Stripe forgets them")
    found = fitting[0]
    return Finding(
        "found",
        tuple(row.note("sent", "found") for row in found),
        detail=" ".join(row.identifier for row in found),
    )


def _missing(rows: Sequence[HourRow], missing: int) -> Finding:
    """A row that Stripe accepted and does not count: sent again, if it is plain which."""
    candidates = [row for row in rows if row.delivery == "sent" and row.value == missing]
    if len(candidates) != 1:
        return Finding("proposed", detail="no single row makes the difference")
    (row,) = candidates
    return Finding("resent", (row.note("sending", "not_found"),), detail=row.identifier)


def _excess(rows: Sequence[HourRow], excess: int, now: datetime) -> Finding:
    """More counted than the ledger sent: a row given up that arrived after all, or an event to cancel."""
    given_up = [
        row
        for row in rows
        if row.delivery in ("rejected", "parked")
        and row.value == excess
        and row.delivery_reason != "collision"
    ]
    if len(given_up) == 1:
        (row,) = given_up
        return Finding("found", (row.note("sent", "found"),), detail=row.identifier)
    doubled = [
        row
        for row in rows
        if row.delivery == "sent"
        and row.value == excess
        and row.noted_at is not None
        and row.noted_at > now - CANCELLABLE
    ]
    if len(doubled) == 1:
        return Finding("cancelled", cancel=doubled[0].identifier, detail=doubled[0].identifier)
    return Finding("proposed", detail="no single row of the last day makes the difference")
