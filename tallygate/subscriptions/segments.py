"""Billing segments: what changes in them when a tenant's standing changes, and how they are stored.

Rows are append-only. The app database holds every row under ``<segment_id>.<ticket>``; ``mirrored`` says
whether the warehouse has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tallygate.appdb import Condition, Database
from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.records import BillingSegment, SegmentItem
from tallygate.subscriptions.mapping import Span, Standing

_TICK: Final = timedelta(microseconds=1)


def revise(
    tenant_id: str,
    customer: str,
    known: Iterable[BillingSegment],
    standing: Standing,
    *,
    ticket: int,
    now: datetime,
) -> list[BillingSegment]:
    """The rows to append so that the tenant's segments say what the standing says; none if they do."""
    rows = list(known)
    held = newest(rows)
    current = _open(held)
    # two instances' clocks may differ: what is written later must also look later
    writer = _Writer(
        tenant_id, customer, ticket, known_at=max([now, *(row.known_at + _TICK for row in rows)])
    )
    span = standing.span
    if span is None:
        return [] if current is None else writer.cut(held, _end(current, standing, now))
    if current is None:
        return [writer.new(span, _first_from(span, held, now))]
    if _same(current, span, customer):
        return writer.move(current, span)
    if current.subscription_id == span.subscription_id and span.period_start < current.period_start:
        return []  # an answer from before the period began: periods never go back
    return _follow(held, current, standing, span, writer, now)


def newest(rows: Iterable[BillingSegment]) -> list[BillingSegment]:
    """The row of each segment that holds, in the order of their beginnings; empty spans left out."""
    held: dict[str, BillingSegment] = {}
    for row in rows:
        if row.segment_id not in held or row.known_at > held[row.segment_id].known_at:
            held[row.segment_id] = row
    ordered = sorted(held.values(), key=lambda row: (row.valid_from, row.known_at, row.segment_id))
    return [row for row in ordered if row.valid_to is None or row.valid_from < row.valid_to]


def _open(segments: Sequence[BillingSegment]) -> BillingSegment | None:
    """The last segment, unless it has ended for good: an end in the future can still move."""
    if not segments:
        return None
    last = segments[-1]
    return last if last.valid_to is None or last.valid_to > last.known_at else None


def _same(segment: BillingSegment, span: Span, customer: str) -> bool:
    return (
        segment.stripe_customer == customer
        and segment.subscription_id == span.subscription_id
        and segment.plan == span.plan.name
        and segment.charge_basis == span.plan.charge_basis
        and segment.items == span.items
        and segment.period_start == span.period_start
    )


def _end(segment: BillingSegment, standing: Standing, now: datetime) -> datetime:
    """A segment ended when its subscription did; where Stripe does not say, now."""
    return standing.ended.get(segment.subscription_id or "", _second(now))


def _follow(
    held: Sequence[BillingSegment],
    current: BillingSegment,
    standing: Standing,
    span: Span,
    writer: _Writer,
    now: datetime,
) -> list[BillingSegment]:
    """A new segment, and the end of what came before; whole periods that nobody saw are filled in."""
    renewed = span.period_start >= current.period_end
    start = span.period_start if renewed else _change(current, span, now)
    if current.subscription_id != span.subscription_id:
        gone = standing.ended.get(current.subscription_id or "", start)
        return [*writer.cut(held, min(start, gone)), writer.new(span, start)]
    if not renewed or span.period_start == current.period_end:
        return [*writer.cut(held, start), writer.new(span, start)]
    unseen = replace(span, period_start=current.period_end, period_end=span.period_start, ends_at=start)
    return [
        *writer.cut(held, current.period_end),
        writer.new(unseen, current.period_end, number=1),
        writer.new(span, start),
    ]


def _change(segment: BillingSegment, span: Span, now: datetime) -> datetime:
    """When billing changed in the middle of a period: when the newest item was made, else now."""
    known_items = {item.subscription_item for item in segment.items}
    is_new = segment.subscription_id != span.subscription_id
    has_new = is_new or any(item.subscription_item not in known_items for item in span.items)
    if has_new and segment.valid_from < span.changed_at <= now:
        return span.changed_at
    return max(_second(now), segment.valid_from)


def _first_from(span: Span, earlier: Sequence[BillingSegment], now: datetime) -> datetime:
    """Where a segment with nothing open before it begins: with its period, but not before what has ended."""
    ends = [row.valid_to for row in earlier if row.valid_to is not None]
    if not ends:
        return span.period_start
    resumed = any(row.subscription_id == span.subscription_id for row in earlier)
    return max(max(ends), _second(now) if resumed else span.period_start)


def _second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class _Writer:
    tenant_id: str
    customer: str
    ticket: int
    known_at: datetime

    def cut(self, held: Iterable[BillingSegment], end: datetime) -> list[BillingSegment]:
        """Nothing that is held goes on after ``end``; what began later never was."""
        return [
            replace(row, valid_to=max(end, row.valid_from), known_at=self.known_at)
            for row in held
            if row.valid_to is None or row.valid_to > end
        ]

    def move(self, segment: BillingSegment, span: Span) -> list[BillingSegment]:
        """The same segment with another end, if it has one."""
        if segment.valid_to == span.ends_at and segment.period_end == span.period_end:
            return []
        return [replace(segment, valid_to=span.ends_at, period_end=span.period_end, known_at=self.known_at)]

    def new(self, span: Span, start: datetime, *, number: int = 0) -> BillingSegment:
        """A segment of the span from ``start`` on, with an id that a repeated commit makes again."""
        seed = f"{self.tenant_id}/{self.ticket}/{number}"
        return BillingSegment(
            segment_id=f"seg_{hashlib.sha256(seed.encode()).hexdigest()[:20]}",
            tenant_id=self.tenant_id,
            stripe_customer=self.customer,
            subscription_id=span.subscription_id,
            plan=span.plan.name,
            charge_basis=span.plan.charge_basis,
            items=span.items,
            period_start=span.period_start,
            period_end=span.period_end,
            valid_from=start,
            valid_to=span.ends_at,
            known_at=self.known_at,
        )


def swapped_prices(rows: Iterable[BillingSegment]) -> list[str]:
    """Other prices than its present one by which the running period bills a meter, with their subscription.

    A metered price changes at a period's end only; between, somebody changed it beside ``plans apply``.
    Periods are told apart by their ends: an item whose price was swapped begins one of its own.
    """
    held = newest(rows)
    current = _open(held)
    if current is None:
        return []
    now = {item.meter: item.price for item in current.items}
    return sorted(
        {
            f"{current.subscription_id} {item.meter} {item.price} {now[item.meter]}"
            for segment in held
            if segment.subscription_id == current.subscription_id and segment.period_end == current.period_end
            for item in segment.items
            if now.get(item.meter, item.price) != item.price
        }
    )


def segments_of(database: Database, tenant_id: str) -> list[BillingSegment]:
    """All rows of a tenant's segments, in no order."""
    found = database.query("segments", [Condition("tenant_id", "==", tenant_id)])
    return [_segment(document) for _, document in found]


def segment_row(segment: BillingSegment) -> dict[str, Any]:
    """A segment as JSON, as the table ``billing_segments`` takes it."""
    content = asdict(segment) | {"items": [asdict(item) for item in segment.items]}
    return {name: rfc3339(v) if isinstance(v, datetime) else v for name, v in content.items()}


def stored_segment(segment: BillingSegment) -> dict[str, Any]:
    """A segment as the app database keeps it at first."""
    return segment_row(segment) | {"mirrored": False}


def _segment(document: Mapping[str, Any]) -> BillingSegment:
    def moment(name: str) -> datetime:
        return parse_rfc3339(document[name]).astimezone(UTC)

    return BillingSegment(
        segment_id=document["segment_id"],
        tenant_id=document["tenant_id"],
        stripe_customer=document["stripe_customer"],
        subscription_id=document["subscription_id"],
        plan=document["plan"],
        charge_basis=document["charge_basis"],
        items=tuple(SegmentItem(**item) for item in document["items"]),
        period_start=moment("period_start"),
        period_end=moment("period_end"),
        valid_from=moment("valid_from"),
        valid_to=None if document["valid_to"] is None else moment("valid_to"),
        known_at=moment("known_at"),
    )
