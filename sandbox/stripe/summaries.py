"""Meter event summaries: what the background aggregation has summed so far."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from stripe.params import billing as sdk

from sandbox.stripe.calls import Call, Operation, page
from sandbox.stripe.errors import bad_parameter
from sandbox.stripe.meters import METER
from sandbox.stripe.store import Document
from sandbox.stripe.usage import MINUTE, SECOND, WINDOWS, Usage, aggregate, by_window, micros, usage_of
from sandbox.stripe.wire import is_moment

STALE_BY: Final = timedelta(minutes=10)
"""How far back a stale read looks."""


def _list(call: Call) -> Document:
    meter = call.store.get(METER, call.id)
    params = call.params
    call.store.get("customer", params["customer"], param="customer")
    grouping = params.get("value_grouping_window")
    start, end = params["start_time"] * SECOND, params["end_time"] * SECOND
    _check_range(start, end, grouping)
    seen_by = micros(call.now - STALE_BY if call.stale else call.now)
    events = usage_of(call.store, meter["id"], params["customer"], start, end, seen_by=seen_by)
    if grouping is None:
        rows = [_summary(meter, params["customer"], start, end, events)] if events else []
        return page(call, rows)
    width = WINDOWS[grouping]
    windows = sorted(by_window(events, width).items(), reverse=True)
    return page(
        call,
        [_summary(meter, params["customer"], begin, begin + width, group) for begin, group in windows],
    )


def _check_range(start: int, end: int, grouping: str | None) -> None:
    if not (is_moment(start // SECOND) and is_moment(end // SECOND)):
        raise bad_parameter("Invalid timestamp: must be in seconds since 1970.", "start_time", None)
    width = WINDOWS[grouping] if grouping else MINUTE
    for name, value in (("start_time", start), ("end_time", end)):
        if value % width:
            boundary = f"{grouping} boundaries in UTC" if grouping else "minute boundaries"
            raise bad_parameter(f"`{name}` must be aligned with {boundary}.", name, None)
    if end <= start:
        raise bad_parameter("`end_time` must be after `start_time`.", "end_time", None)


def _summary(meter: Document, customer: str, start: int, end: int, events: list[Usage]) -> Document:
    content = f"{meter['id']}:{customer}:{start}:{end}"
    return {
        "id": f"mtrusg_{hashlib.sha256(content.encode()).hexdigest()[:24]}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(aggregate(meter, events)),
        "start_time": start // SECOND,
        "end_time": end // SECOND,
        "livemode": False,
        "meter": meter["id"],
    }


OPERATIONS: Final = (
    Operation("GET", "/v1/billing/meters/{id}/event_summaries", sdk.MeterEventSummaryListParams, _list),
)
