"""Small tables for each SQL file of the warehouse, and the answers that follow from the rules of billing."""

from __future__ import annotations

from typing import Any, Final

from tallygate.metering.archive import ArchivedLine
from tests.support.googlesql import Case

Row = dict[str, Any]

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
REQUESTS_LOG: Final = "usage_raw.run_googleapis_com_requests"
EXPORT_ERRORS: Final = "usage_raw.export_errors"
SEGMENTS: Final = "ledger.billing_segments"
DELTAS: Final = "ledger.meter_deltas"
DELIVERIES: Final = "ledger.meter_deliveries"
REJECTED: Final = "ledger.rejected_lines"
RATINGS: Final = "ledger.usage_ratings"
RESTORED: Final = "ledger.restored_lines"
EPOCHS: Final = "ledger.ledger_epochs"
RECONCILIATIONS: Final = "ledger.reconciliations"

HOUR: Final = "2026-03-10T14:00:00Z"
"""The hour in which the cases' usage happens, unless they say otherwise."""
NOW: Final = "2026-03-10T14:30:00Z"
PERIOD_START: Final = "2026-03-01T00:00:00Z"
PERIOD_END: Final = "2026-04-01T00:00:00Z"
INPUT: Final = "llm_input_tokens"
OUTPUT: Final = "llm_output_tokens"
COST: Final = "llm_cost_nano_usd"


def line(request_id: str | None, *, at: str = "2026-03-10T14:10:00Z", **changes: Any) -> Row:
    """A usage line of tenant acme: 100 input tokens, 20 output tokens, 5,000 nano-USD."""
    payload: Row = {
        "event": "llm_usage",
        "schema_version": 1,
        "request_id": request_id,
        "tenant_id": "acme",
        "key_id": "key1",
        "model": "small",
        "served_model": "small",
        "input_tokens": 100,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 20,
        "total_tokens": 120,
        "cost_nano_usd": "5000",
        "billable": True,
        "unpriced": False,
        "estimated": False,
        "status": "success",
        "http_status": 200,
        "attempts": 1,
        "stream_id": "s1",
        "seq": 2,
    }
    return entry(request_id, at=at, payload=payload | changes)


def admit(request_id: str, *, at: str = "2026-03-10T14:09:00Z") -> Row:
    """An admit line of tenant acme."""
    payload = {
        "event": "llm_admit",
        "schema_version": 1,
        "request_id": request_id,
        "tenant_id": "acme",
        "model": "small",
        "endpoint": "chat/completions",
        "stream_id": "s1",
        "seq": 1,
    }
    return entry(f"{request_id}-admit", at=at, payload=payload)


def entry(insert_id: str | None, *, at: str, payload: Row | None = None, text: str | None = None) -> Row:
    """A row of the sink's table."""
    return {
        "insertId": insert_id or "minted-1",
        "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
        "timestamp": at,
        "receiveTimestamp": at,
        "textPayload": text,
        "jsonPayload": payload,
    }


def tokens(count: float | None, *, request_id: str = "r1") -> Row:
    """A usage line with so many input tokens, its total right."""
    total = None if count is None else count + 20
    return line(request_id, input_tokens=count, total_tokens=total)


def segment(segment_id: str = "seg1", **changes: Any) -> Row:
    """A segment of tenant acme that charges by tokens, from the start of March on."""
    row: Row = {
        "segment_id": segment_id,
        "tenant_id": "acme",
        "stripe_customer": "cus_1",
        "subscription_id": "sub_1",
        "plan": "team",
        "charge_basis": "tokens",
        "items": [item(INPUT), item(OUTPUT)],
        "period_start": PERIOD_START,
        "period_end": PERIOD_END,
        "valid_from": PERIOD_START,
        "valid_to": None,
        "known_at": PERIOD_START,
    }
    return row | changes


def item(meter: str, subscription_item: str | None = None) -> Row:
    """A subscription item for a meter."""
    return {
        "meter": meter,
        "subscription_item": subscription_item or f"si_{meter}",
        "price": f"price_{meter}",
    }


def delta(seq: int = 1, **changes: Any) -> Row:
    """A sealed row of tenant acme's input tokens in the hour of the cases."""
    row: Row = {
        "ledger_epoch": "e1",
        "seal_number": 1,
        "tenant_id": "acme",
        "meter": INPUT,
        "segment_id": "seg1",
        "usage_hour": HOUR,
        "seq": seq,
        "value": 100,
        "disposition": "billable",
        "stripe_customer": "cus_1",
        "booked_at": HOUR,
        "late": False,
        "sealed_at": "2026-03-10T14:15:00Z",
    } | changes
    return {"identifier": f"u1:e1:{row['tenant_id']}:{row['meter']}:1773151200:{seq}"} | row


def invoice_compared(meter: str, kind: str = "invoice") -> Row:
    """A comparison of the invoice's line for ``delta()``'s customer and the whole of March."""
    return {
        "run_id": "run1",
        "checked_at": "2026-04-01T03:00:00Z",
        "kind": kind,
        "tenant_id": "acme",
        "stripe_customer": "cus_1",
        "meter": meter,
        "window_start": PERIOD_START,
        "window_end": PERIOD_END,
        "ledger_value": 1,
        "witness_value": 1,
        "difference": 0,
        "action": "none",
        "detail": None,
    }


def delivery(state: str, attempt: int = 1, *, at: str, reason: str | None = None, seq: int = 1) -> Row:
    """A note on the delivery of ``delta(seq)``."""
    identifier = delta(seq)["identifier"]
    return {
        "identifier": identifier,
        "usage_hour": HOUR,
        "attempt": attempt,
        "state": state,
        "reason": reason,
        "at": at,
        "run_id": "run1",
    }


def rating(request_id: str = "r1", **changes: Any) -> Row:
    """A price given later to a request of tenant acme."""
    row: Row = {
        "request_id": request_id,
        "tenant_id": "acme",
        "ended_at": "2026-03-10T14:10:00Z",
        "model": "small",
        "price_version": "v1",
        "cost_nano_usd": 700,
        "rated_at": NOW,
        "run_id": "run1",
    }
    return row | changes


def price(model: str = "small", **changes: Any) -> Row:
    """A price of the catalogue: 1.5 nano-USD an input token, 2 an output token."""
    row: Row = {
        "model": model,
        "provider_model": f"the-{model}",
        "price_version": "v1",
        "input_pico": 1500,
        "cached_input_pico": 0,
        "cache_write_pico": 0,
        "output_pico": 2000,
    }
    return row | changes


def restored(request_id: str = "r1", **changes: Any) -> Row:
    """A usage line of tenant acme that was taken from the archive."""
    raw = line(request_id)
    row: Row = {
        "insert_id": request_id,
        "line_timestamp": raw["timestamp"],
        "received_at": raw["receiveTimestamp"],
        **raw["jsonPayload"],
        "file": "f.json",
        "restored_at": NOW,
        "run_id": "run1",
    }
    return row | changes


UNPRICED: Final[Row] = {"unpriced": True, "price_version": None, "cost_nano_usd": "0"}
PRICES_TYPE: Final = (
    "ARRAY<STRUCT<model STRING, provider_model STRING, price_version STRING, input_pico INT64, "
    "cached_input_pico INT64, cache_write_pico INT64, output_pico INT64>>"
)


def rejected(name: str, row: Row, reason: str, detail: str | None = None) -> Case:
    """A line that can't be usage, and why."""
    return Case(
        name=f"a line with {name} is rejected",
        sql="usage_clean.sql",
        tables={STDOUT: [row], SEGMENTS: [segment()]},
        expected=[
            {"rejected_reason": reason, "rejected_detail": detail, "input_tokens": None, "source": "stdout"}
        ],
    )


WINDOW: Final = {
    "window_start": ("TIMESTAMP", "2026-03-10T11:00:00Z"),
    "window_end": ("TIMESTAMP", "2026-03-10T15:00:00Z"),
    "tenant_id": ("STRING", ""),
}
LINES_END: Final = {"lines_end": ("TIMESTAMP", "9999-12-31T00:00:00Z")}
DUE: Final = {
    "now": ("TIMESTAMP", NOW),
    "closes_after_seconds": ("INT64", 3000),
    "oldest_bookable": ("TIMESTAMP", "2026-02-04T14:30:00Z"),
    "after_close": ("STRING", ""),
    "retry_refused": ("BOOL", False),
}
STRANGERS: Final = {"strangers_before": ("TIMESTAMP", "2026-03-10T13:30:00Z")}
LINES_TYPE: Final = (
    "ARRAY<STRUCT<" + ", ".join(f"{name} {kind}" for name, kind in ArchivedLine.columns().items()) + ">>"
)
_ARCHIVED: Final = ArchivedLine.columns().keys()
RATE: Final[dict[str, tuple[str, Any]]] = {
    **WINDOW,
    "prices": (PRICES_TYPE, [price()]),
    "ratings": ("INT64", 1),
    "now": ("TIMESTAMP", NOW),
    "run_id": ("STRING", "run1"),
}
HEAD_SINCE: Final = {"head_since": ("TIMESTAMP", "2026-01-24T14:30:00Z")}
UNSENT: Final = {"unsent_since": ("TIMESTAMP", "2026-03-07T14:00:00Z")}


def sealing(name: str, tables: dict[str, list[Row]], expected: list[Row], **changes: tuple[str, Any]) -> Case:
    """The ledger's rows after seal 1 was tried."""
    parameters: dict[str, tuple[str, Any]] = {
        **WINDOW,
        **DUE,
        "ledger_epoch": ("STRING", "e1"),
        "seal_number": ("INT64", 1),
        **HEAD_SINCE,
    }
    return Case(name=name, sql="seal.sql", parameters=parameters | changes, tables=tables, expected=expected)


def sealed(meter: str, value: int, disposition: str, reason: str | None = None, **changes: Any) -> Row:
    """What is compared of a sealed row."""
    row = {"meter": meter, "value": value, "disposition": disposition, "reason": reason, "booked_at": HOUR}
    return row | {"late": False} | changes


CORRECTION: Final = f"c1:e1:2:acme:{INPUT}:1773151200"
"""The correction id of seal 2 in the hour of the cases."""


def moved(seq: int, value: int, segment_id: str, *, customer: str, **changes: Any) -> Row:
    """What is compared of a billable row that a correction may have made."""
    row = {"seq": seq, "value": value, "segment_id": segment_id, "stripe_customer": customer}
    row |= {"disposition": "billable", "booked_at": HOUR, "seal_number": 1, "correction_id": None}
    return row | changes


REFUSED_AT: Final = "2026-03-10T14:22:00Z"
NEW_BOOKING: Final = "2026-03-10T14:20:00Z"
"""Where the tenant's new segment starts, within the hour."""
ONLY_INPUT: Final[Row] = {"output_tokens": 0, "total_tokens": 100, "cost_nano_usd": "0"}
LATE_WINDOW: Final = {
    "window_start": ("TIMESTAMP", "2026-03-01T00:00:00Z"),
    "window_end": ("TIMESTAMP", "2026-04-03T00:00:00Z"),
    "now": ("TIMESTAMP", "2026-04-02T08:20:00Z"),
    "oldest_bookable": ("TIMESTAMP", "2026-02-27T08:20:00Z"),
}

ENDED: Final = "2026-03-10T14:20:00Z"
"""When the subscription of some cases ended, within its period."""
CLOSED_WINDOW: Final = {"now": ("TIMESTAMP", "2026-03-11T15:30:00Z"), "seal_number": ("INT64", 2)}
"""After the last invoice of such a subscription."""

USAGE_CLEAN: Final = (
    Case(
        name="a line that is delivered three times counts once",
        sql="usage_clean.sql",
        tables={STDOUT: [line("r1"), line("r1"), line("r1"), line("r2")], SEGMENTS: [segment()]},
        expected=[
            {"request_id": "r1", "input_tokens": 100, "cost_nano_usd": 5000, "rejected_reason": None},
            {"request_id": "r2", "input_tokens": 100, "cost_nano_usd": 5000, "rejected_reason": None},
        ],
    ),
    Case(
        name="a line from the archive counts once, beside the raw table's or without it",
        sql="usage_clean.sql",
        tables={
            STDOUT: [line("r1")],
            RESTORED: [restored("r1"), restored("r2"), restored("r2"), restored("r3", input_tokens=None)],
            SEGMENTS: [segment()],
        },
        expected=[
            {"request_id": "r1", "input_tokens": 100, "cost_nano_usd": 5000, "rejected_reason": None},
            {"request_id": "r2", "input_tokens": 100, "cost_nano_usd": 5000, "rejected_reason": None},
            {
                "request_id": "r3",
                "input_tokens": None,
                "cost_nano_usd": None,
                "rejected_reason": "missing_count",
            },
        ],
    ),
    Case(
        name="the admit line and the usage event of a request are two lines",
        sql="usage_clean.sql",
        tables={STDOUT: [admit("r1"), line("r1", at="2026-03-10T14:09:00Z")], SEGMENTS: [segment()]},
        expected=[
            {"event": "llm_admit", "request_id": "r1", "rejected_reason": None},
            {"event": "llm_usage", "request_id": "r1", "rejected_reason": None},
        ],
    ),
    Case(
        name="a bad line is not in the way of a good one",
        sql="usage_clean.sql",
        tables={STDOUT: [tokens(-5), line("r2"), tokens(1e30)], SEGMENTS: [segment()]},
        expected=[
            {"request_id": "r1", "input_tokens": None, "rejected_reason": "negative_count"},
            {"request_id": "r2", "input_tokens": 100, "rejected_reason": None},
        ],
    ),
    Case(
        name="a line whose field has another type is found in the sink's table of errors",
        sql="usage_clean.sql",
        tables={
            EXPORT_ERRORS: [
                {
                    "insertId": "r1",
                    "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
                    "timestamp": HOUR,
                    "receiveTimestamp": HOUR,
                    "schemaErrorDetail": "input_tokens is no number",
                    "logEntry": '{"event":"llm_usage", "request_id": "r1", "tenant_id":"acme"}',
                },
                {
                    "insertId": "other",
                    "logName": "projects/p/logs/run.googleapis.com%2Frequests",
                    "timestamp": HOUR,
                    "receiveTimestamp": HOUR,
                    "logEntry": "{}",
                },
            ]
        },
        expected=[
            {
                "source": "export_errors",
                "event": "llm_usage",
                "request_id": "r1",
                "tenant_id": "acme",
                "rejected_reason": "type_mismatch",
            }
        ],
    ),
    rejected("a missing count", tokens(None), "missing_count", "input_tokens"),
    rejected("a missing cost", line("r1", cost_nano_usd=None), "missing_count", "cost_nano_usd"),
    rejected("a negative count", tokens(-1), "negative_count", "input_tokens"),
    rejected("a negative cost", line("r1", cost_nano_usd="-5"), "negative_count", "cost_nano_usd"),
    rejected("a huge count", tokens(2e9), "huge_count", "input_tokens"),
    rejected("a count beyond all integers", tokens(1e300), "huge_count", "input_tokens"),
    rejected("a huge cost", line("r1", cost_nano_usd="9" * 40), "huge_count", "cost_nano_usd"),
    rejected("a fractional count", tokens(1.5), "fractional_count", "input_tokens"),
    rejected("a fractional cost", line("r1", cost_nano_usd="1.5"), "fractional_count", "cost_nano_usd"),
    rejected(
        "a cost that is no number", line("r1", cost_nano_usd="1e3"), "unreadable_count", "cost_nano_usd"
    ),
    rejected("classes that do not make the total", line("r1", total_tokens=121), "total_mismatch"),
    rejected("a tenant that nobody knows", line("r1", tenant_id="stranger"), "unknown_tenant"),
    rejected("no tenant", line("r1", tenant_id=None), "missing_tenant"),
    rejected("no request id", line(None), "missing_request_id"),
    rejected("a schema version of the future", line("r1", schema_version=2), "future_schema_version"),
    rejected("no schema version", line("r1", schema_version=None), "missing_schema_version"),
    rejected("a schema version that never was", line("r1", schema_version=0.5), "unknown_schema_version"),
    rejected("an unknown event", line("r1", event="llm_guess"), "unknown_event"),
    rejected("no event", line("r1", event=None), "unknown_event"),
    rejected(
        "text that is no JSON",
        entry("t1", at=HOUR, text='{"event": '),
        "broken_json",
        "10 characters of text",
    ),
    rejected(
        "a timestamp more than a day ahead of its arrival",
        line("r1", at="2026-03-12T00:00:00Z") | {"receiveTimestamp": HOUR},
        "timestamp_in_future",
    ),
)

VIEWS: Final = (
    Case(
        name="only usable usage lines are events",
        sql="usage_events.sql",
        tables={
            STDOUT: [admit("r1"), line("r1"), line("r1"), tokens(-5) | {"insertId": "x"}],
            SEGMENTS: [segment()],
        },
        expected=[
            {
                "request_id": "r1",
                "usage_hour": HOUR,
                "ended_at": "2026-03-10T14:10:00Z",
                "output_tokens": 20,
                "total_tokens": 120,
            }
        ],
    ),
    Case(
        name="a request that had no price has that of its first rating",
        sql="usage_events.sql",
        tables={
            STDOUT: [
                line("r1", **UNPRICED),
                line("r2", **UNPRICED),
                line("r3", price_version="v0"),
                line("r4", at="2026-03-10T14:11:00Z", **UNPRICED),
            ],
            RATINGS: [
                rating("r1"),
                rating("r1", price_version="v2", cost_nano_usd=9, rated_at="2026-03-10T14:31:00Z"),
                rating("r3", cost_nano_usd=9),
                rating("r4"),
            ],
            SEGMENTS: [segment()],
        },
        expected=[
            {"request_id": "r1", "unpriced": False, "price_version": "v1", "cost_nano_usd": 700},
            {"request_id": "r2", "unpriced": True, "price_version": None, "cost_nano_usd": 0},
            {"request_id": "r3", "unpriced": False, "price_version": "v0", "cost_nano_usd": 5000},
            {"request_id": "r4", "unpriced": True, "price_version": None, "cost_nano_usd": 0},
        ],
    ),
    Case(
        name="the newest row of a segment holds and the next segment ends it",
        sql="current_segments.sql",
        tables={
            SEGMENTS: [
                segment("a", plan="old"),
                segment("a", plan="new", known_at="2026-03-02T00:00:00Z"),
                segment("b", valid_from="2026-03-20T00:00:00Z"),
                segment("gone", valid_to=PERIOD_START),
            ]
        },
        expected=[
            {"segment_id": "a", "plan": "new", "starts_at": PERIOD_START, "ends_at": "2026-03-20T00:00:00Z"},
            {
                "segment_id": "b",
                "plan": "team",
                "starts_at": "2026-03-20T00:00:00Z",
                "ends_at": "9999-12-31T00:00:00Z",
            },
        ],
    ),
    Case(
        name="a segment closes with its period, or with its subscription where that ended before",
        sql="current_segments.sql",
        tables={
            SEGMENTS: [
                segment("moved", valid_to="2026-03-05T00:00:00Z"),
                segment("ended", valid_from="2026-03-05T00:00:00Z", valid_to=ENDED),
                segment("runs", tenant_id="bolt"),
            ]
        },
        expected=[
            {"segment_id": "ended", "closes_at": ENDED},
            {"segment_id": "moved", "closes_at": ENDED},
            {"segment_id": "runs", "closes_at": PERIOD_END},
        ],
    ),
    Case(
        name="an hour is split at the boundary of a segment",
        sql="usage_hours.sql",
        tables={
            STDOUT: [
                line("r1", at="2026-03-10T14:10:00Z", **ONLY_INPUT),
                line("r2", at="2026-03-10T14:29:59.999999Z", **ONLY_INPUT),
                line("r3", at="2026-03-10T14:30:00Z", **ONLY_INPUT),
            ],
            SEGMENTS: [segment("a"), segment("b", valid_from="2026-03-10T14:30:00Z")],
        },
        expected=[
            {"segment_id": "a", "usage_hour": HOUR, "meter": INPUT, "value": 200, "requests": 2},
            {"segment_id": "b", "usage_hour": HOUR, "meter": INPUT, "value": 100, "requests": 1},
        ],
    ),
    Case(
        name="all five meters are summed and usage that is not billable stands apart",
        sql="usage_hours.sql",
        tables={
            STDOUT: [
                line("r1", cached_input_tokens=30, cache_write_tokens=7, total_tokens=157),
                line("r2", **ONLY_INPUT, billable=False),
            ],
            SEGMENTS: [segment()],
        },
        expected=[
            {"meter": INPUT, "charge": "billable", "value": 100},
            {"meter": "llm_cached_input_tokens", "charge": "billable", "value": 30},
            {"meter": "llm_cache_write_tokens", "charge": "billable", "value": 7},
            {"meter": OUTPUT, "charge": "billable", "value": 20},
            {"meter": COST, "charge": "billable", "value": 5000},
            {"meter": INPUT, "charge": "not_billable", "value": 100},
        ],
    ),
    Case(
        name="usage before the first segment has none",
        sql="usage_hours.sql",
        tables={
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment(valid_from="2026-03-11T00:00:00Z")],
        },
        expected=[{"segment_id": None, "value": 100}],
    ),
    Case(
        name="a missing price matters only where the charge is by cost",
        sql="usage_hours.sql",
        tables={
            STDOUT: [
                line("r1", **ONLY_INPUT, unpriced=True),
                line("r2", **ONLY_INPUT, unpriced=True, tenant_id="bolt"),
            ],
            SEGMENTS: [segment(), segment("b", tenant_id="bolt", charge_basis="cost")],
        },
        expected=[
            {"tenant_id": "acme", "charge": "billable", "value": 100},
            {"tenant_id": "bolt", "charge": "unpriced", "value": 100},
        ],
    ),
    Case(
        name="what is sealed already is not unsealed and too much sealed is negative",
        sql="unsealed_usage.sql",
        tables={
            STDOUT: [line("r1")],
            SEGMENTS: [segment()],
            DELTAS: [delta(1, value=60), delta(2, value=40), delta(1, meter=OUTPUT, value=25)],
        },
        expected=[
            {"meter": OUTPUT, "used": 20, "sealed": 25, "unsealed": -5},
            {"meter": COST, "used": 5000, "sealed": 0, "unsealed": 5000},
        ],
    ),
    Case(
        name="waived rows cover only usage that is not billable",
        sql="unsealed_usage.sql",
        tables={
            STDOUT: [line("r1", **ONLY_INPUT), line("r2", **ONLY_INPUT, billable=False)],
            SEGMENTS: [segment()],
            DELTAS: [delta(1, disposition="waived", reason="not_billable")],
        },
        expected=[{"charge": "billable", "used": 100, "sealed": 0}],
    ),
    Case(
        name="an admitted request without a usable event is unrecorded",
        sql="unrecorded_usage.sql",
        tables={
            STDOUT: [admit("r1"), line("r1"), admit("r2"), admit("r3"), line("r3", total_tokens=1)],
            SEGMENTS: [segment()],
        },
        expected=[
            {"request_id": "r2", "tenant_id": "acme", "reason": "no_usage_event"},
            {"request_id": "r3", "tenant_id": "acme", "reason": "total_mismatch"},
        ],
    ),
    Case(
        name="an invoice line leads to its requests",
        sql="invoice_evidence.sql",
        tables={
            STDOUT: [line("r1"), line("r2", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [delta(1, value=150), delta(2, value=50)],
        },
        expected=[
            {
                "request_id": "r1",
                "subscription_item": f"si_{INPUT}",
                "stripe_customer": "cus_1",
                "value": 100,
                "bucket_sealed": 200,
                "bucket_deltas": 2,
            },
            {
                "request_id": "r2",
                "subscription_item": f"si_{INPUT}",
                "stripe_customer": "cus_1",
                "value": 100,
                "bucket_sealed": 200,
                "bucket_deltas": 2,
            },
            {
                "request_id": "r1",
                "subscription_item": f"si_{OUTPUT}",
                "stripe_customer": "cus_1",
                "value": 20,
                "bucket_sealed": None,
                "bucket_deltas": None,
            },
        ],
    ),
    Case(
        name="the newest note says where a delivery stands",
        sql="delivery_states.sql",
        tables={
            DELTAS: [delta(seq) for seq in range(1, 8)] + [delta(8, disposition="included")],
            DELIVERIES: [
                delivery("sending", at="2026-03-10T14:16:00Z", seq=2),
                delivery("sending", at="2026-03-10T14:16:00Z", seq=3),
                delivery("sent", at="2026-03-10T14:16:01Z", seq=3),
                delivery("sending", at="2026-03-10T14:16:00Z", seq=4),
                delivery("sending", at="2026-03-10T14:16:01Z", reason="rate_limited", seq=4),
                delivery("sending", at="2026-03-10T14:16:00Z", seq=5),
                delivery("sending", at="2026-03-10T14:16:01Z", reason="unknown_outcome", seq=5),
                delivery("sending", at="2026-03-10T14:16:00Z", seq=6),
                delivery("sending", at="2026-03-10T14:16:01Z", reason="rate_limited", seq=6),
                delivery("sending", attempt=2, at="2026-03-10T14:20:00Z", seq=6),
                delivery("rejected", at="2026-03-10T14:16:00Z", reason="collision", seq=7),
            ],
        },
        expected=[
            {"seq": 1, "delivery": "unsent", "attempt": 0, "maybe_sent": False, "unknown_since": None},
            {
                "seq": 2,
                "delivery": "sending",
                "attempt": 1,
                "maybe_sent": True,
                "unknown_since": "2026-03-10T14:16:00Z",
            },
            {"seq": 3, "delivery": "sent", "attempt": 1, "maybe_sent": False, "unknown_since": None},
            {"seq": 4, "delivery": "sending", "attempt": 1, "maybe_sent": False, "unknown_since": None},
            {
                "seq": 5,
                "delivery": "sending",
                "attempt": 1,
                "maybe_sent": True,
                "unknown_since": "2026-03-10T14:16:00Z",
            },
            {
                "seq": 6,
                "delivery": "sending",
                "attempt": 2,
                "maybe_sent": True,
                "unknown_since": "2026-03-10T14:20:00Z",
            },
            {"seq": 7, "delivery": "rejected", "attempt": 1, "maybe_sent": False, "unknown_since": None},
            {"seq": 8, "delivery": "none", "attempt": 0, "maybe_sent": False, "unknown_since": None},
        ],
    ),
)

SEALS: Final = (
    sealing(
        "what Stripe refused for want of the customer is billed to the tenant's new one",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [
                segment("seg1", valid_to="2026-03-10T14:20:00Z"),
                segment("seg2", stripe_customer="cus_2", valid_from="2026-03-10T14:20:00Z"),
            ],
            DELTAS: [delta(1)],
            DELIVERIES: [delivery("rejected", at=REFUSED_AT, reason="meter_event_customer_not_found")],
        },
        [
            moved(1, 100, "seg1", customer="cus_1"),
            moved(2, -100, "seg1", customer="cus_1", disposition="parked", seal_number=2)
            | {"booked_at": NEW_BOOKING, "correction_id": CORRECTION},
            moved(3, 100, "seg1", customer="cus_2", seal_number=2)
            | {"booked_at": NEW_BOOKING, "correction_id": CORRECTION},
        ],
        seal_number=("INT64", 2),
    ),
    sealing(
        "what Stripe refused for want of the customer is tried again when a segment was learned since",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment(), segment(known_at="2026-03-10T14:25:00Z")],
            DELTAS: [delta(1)],
            DELIVERIES: [delivery("parked", at=REFUSED_AT, reason="customer_not_found")],
        },
        [
            moved(1, 100, "seg1", customer="cus_1"),
            moved(2, -100, "seg1", customer="cus_1", disposition="parked", seal_number=2)
            | {"correction_id": CORRECTION},
            moved(3, 100, "seg1", customer="cus_1", seal_number=2) | {"correction_id": CORRECTION},
        ],
        seal_number=("INT64", 2),
    ),
    sealing(
        "what Stripe refused for want of the customer waits while nothing was learned since",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [delta(1)],
            DELIVERIES: [delivery("parked", at=REFUSED_AT, reason="customer_not_found")],
        },
        [moved(1, 100, "seg1", customer="cus_1")],
        seal_number=("INT64", 2),
    ),
    sealing(
        "what Stripe refused for want of the customer is tried again when a person says so",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [delta(1)],
            DELIVERIES: [delivery("parked", at=REFUSED_AT, reason="customer_not_found")],
        },
        [
            moved(1, 100, "seg1", customer="cus_1"),
            moved(2, -100, "seg1", customer="cus_1", disposition="parked", seal_number=2)
            | {"correction_id": CORRECTION},
            moved(3, 100, "seg1", customer="cus_1", seal_number=2) | {"correction_id": CORRECTION},
        ],
        seal_number=("INT64", 2),
        retry_refused=("BOOL", True),
    ),
    sealing(
        "what is given a price later moves from parked to where it belongs",
        {
            STDOUT: [line("r1", **UNPRICED)],
            SEGMENTS: [segment(charge_basis="cost", items=[item(COST)])],
            RATINGS: [rating("r1")],
            DELTAS: [
                delta(1, disposition="parked", reason="unpriced"),
                delta(1, meter=OUTPUT, value=20, disposition="parked", reason="unpriced"),
            ],
        },
        [
            sealed(INPUT, 100, "parked", "unpriced", seal_number=1),
            sealed(INPUT, -100, "parked", "unpriced", seal_number=2),
            sealed(INPUT, 100, "included", "charge_basis", seal_number=2),
            sealed(OUTPUT, 20, "parked", "unpriced", seal_number=1),
            sealed(OUTPUT, -20, "parked", "unpriced", seal_number=2),
            sealed(OUTPUT, 20, "included", "charge_basis", seal_number=2),
            sealed(COST, 700, "billable", None, seal_number=2),
        ],
        seal_number=("INT64", 2),
    ),
    sealing(
        "tokens are billed and the cost is included where the charge is by tokens",
        {STDOUT: [line("r1")], SEGMENTS: [segment()]},
        [
            sealed(INPUT, 100, "billable"),
            sealed(OUTPUT, 20, "billable"),
            sealed(COST, 5000, "included", "charge_basis"),
        ],
    ),
    sealing(
        "the cost is billed and tokens are included where the charge is by cost",
        {STDOUT: [line("r1")], SEGMENTS: [segment(charge_basis="cost", items=[item(COST)])]},
        [
            sealed(INPUT, 100, "included", "charge_basis"),
            sealed(OUTPUT, 20, "included", "charge_basis"),
            sealed(COST, 5000, "billable"),
        ],
    ),
    sealing(
        "everything is included where nothing is charged by use",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment(charge_basis="none", items=[])]},
        [sealed(INPUT, 100, "included", "charge_basis")],
    ),
    sealing(
        "the identifier is made of the row alone and the sequence goes on",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [delta(1, value=30, seal_number=4), delta(2, value=30, seal_number=5)],
        },
        [
            {"identifier": f"u1:e1:acme:{INPUT}:1773151200:1", "seal_number": 4, "seq": 1, "value": 30},
            {"identifier": f"u1:e1:acme:{INPUT}:1773151200:2", "seal_number": 5, "seq": 2, "value": 30},
            {"identifier": f"u1:e1:acme:{INPUT}:1773151200:3", "seal_number": 6, "seq": 3, "value": 40},
        ],
        seal_number=("INT64", 6),
    ),
    sealing(
        "the fence refuses a number that is taken",
        {
            STDOUT: [line("r1", **ONLY_INPUT), line("r2", **ONLY_INPUT, at="2026-03-10T13:10:00Z")],
            SEGMENTS: [segment()],
            DELTAS: [delta(1)],
        },
        [{"seal_number": 1, "usage_hour": HOUR}],
        seal_number=("INT64", 1),
    ),
    sealing(
        "the fence refuses a number that leaves a gap",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment()], DELTAS: [delta(1, value=1)]},
        [{"seal_number": 1, "value": 1}],
        seal_number=("INT64", 3),
    ),
    sealing(
        "an hour of a meter with more sealed than used is left alone and the other meters are not",
        {
            STDOUT: [line("r1"), line("r2", **ONLY_INPUT, at="2026-03-10T14:40:00Z")],
            SEGMENTS: [segment("seg1"), segment("seg2", valid_from="2026-03-10T14:30:00Z")],
            DELTAS: [delta(1, value=201)],
        },
        [
            sealed(INPUT, 201, "billable"),
            sealed(OUTPUT, 20, "billable"),
            sealed(COST, 5000, "included", "charge_basis"),
        ],
        seal_number=("INT64", 2),
    ),
    sealing(
        "a boundary that is learned late moves usage by rows that sum to zero beside the new usage",
        {
            STDOUT: [
                line("r1", **ONLY_INPUT),
                line("r2", **ONLY_INPUT, at="2026-03-10T14:40:00Z"),
                line(
                    "r3",
                    at="2026-03-10T14:50:00Z",
                    input_tokens=7,
                    output_tokens=0,
                    total_tokens=7,
                    cost_nano_usd="0",
                ),
            ],
            SEGMENTS: [
                segment("seg1"),
                segment("seg2", valid_from="2026-03-10T14:30:00Z", stripe_customer="cus_2"),
            ],
            DELTAS: [delta(1, value=200)],
        },
        [
            moved(1, 200, "seg1", customer="cus_1"),
            moved(2, 7, "seg2", customer="cus_2", booked_at=NOW, seal_number=2),
            moved(3, -100, "seg1", customer="cus_1", seal_number=2, correction_id=CORRECTION),
            moved(4, 100, "seg2", customer="cus_2", booked_at=NOW, seal_number=2, correction_id=CORRECTION),
        ],
        seal_number=("INT64", 2),
    ),
    sealing(
        "a boundary that is learned after the invoice was closed waits on both sides for a person",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [
                segment("seg1", valid_to="2026-03-10T14:05:00Z"),
                segment("seg2", valid_from="2026-03-10T14:05:00Z"),
            ],
            DELTAS: [delta(1)],
        },
        [
            sealed(INPUT, 100, "billable", segment_id="seg1"),
            sealed(
                INPUT,
                -100,
                "parked",
                "boundary_after_close",
                segment_id="seg1",
                late=True,
                booked_at="2026-04-02T08:00:00Z",
            ),
            sealed(
                INPUT,
                100,
                "parked",
                "boundary_after_close",
                segment_id="seg2",
                late=True,
                booked_at="2026-04-02T08:00:00Z",
            ),
        ],
        **(LATE_WINDOW | {"seal_number": ("INT64", 2)}),
    ),
    sealing(
        "what waits for a person is not moved again",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [
                segment("seg1", valid_to="2026-03-10T14:05:00Z"),
                segment("seg2", valid_from="2026-03-10T14:05:00Z"),
            ],
            DELTAS: [
                delta(1),
                delta(2, value=-100, disposition="parked", reason="boundary_after_close", correction_id="c"),
                delta(
                    3,
                    segment_id="seg2",
                    disposition="parked",
                    reason="boundary_after_close",
                    correction_id="c",
                ),
            ],
        },
        [{"seq": 1}, {"seq": 2}, {"seq": 3}],
        **(LATE_WINDOW | {"seal_number": ("INT64", 2)}),
    ),
    sealing(
        "usage parked for want of a segment is billed when its segment is known",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [
                delta(1, segment_id=None, disposition="parked", reason="no_segment", stripe_customer=None)
            ],
        },
        [
            sealed(INPUT, 100, "parked", "no_segment", segment_id=None, correction_id=None),
            sealed(INPUT, -100, "parked", "no_segment", segment_id=None, correction_id=CORRECTION),
            sealed(INPUT, 100, "billable", segment_id="seg1", correction_id=CORRECTION),
        ],
        seal_number=("INT64", 2),
    ),
    sealing(
        "usage parked for want of an item is billed when there is one",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [delta(1, disposition="parked", reason="no_item")],
        },
        [
            sealed(INPUT, 100, "parked", "no_item"),
            sealed(INPUT, -100, "parked", "no_item"),
            sealed(INPUT, 100, "billable"),
        ],
        seal_number=("INT64", 2),
    ),
    sealing(
        "usage that was sent too late is billed in the open period",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [
                segment("seg1", valid_to=PERIOD_END),
                segment(
                    "seg2", valid_from=PERIOD_END, period_start=PERIOD_END, period_end="2026-05-01T00:00:00Z"
                ),
            ],
            DELTAS: [delta(1)],
            DELIVERIES: [delivery("parked", at=NOW, reason="period_closed")],
        },
        [
            sealed(INPUT, 100, "billable"),
            sealed(INPUT, -100, "parked", "period_closed", late=True, booked_at="2026-04-02T08:00:00Z"),
            sealed(INPUT, 100, "billable", late=True, booked_at="2026-04-02T08:00:00Z"),
        ],
        **(LATE_WINDOW | {"seal_number": ("INT64", 2)}),
    ),
    sealing(
        "usage that must stay parked is left alone",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment(items=[item(OUTPUT)])],
            DELTAS: [delta(1, disposition="parked", reason="no_item")],
        },
        [{"seq": 1, "value": 100}],
        seal_number=("INT64", 2),
    ),
    sealing(
        "what a correction has moved is not moved again",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [
                delta(1, segment_id=None, disposition="parked", reason="no_segment", stripe_customer=None),
                delta(
                    2,
                    value=-100,
                    segment_id=None,
                    disposition="parked",
                    reason="no_segment",
                    stripe_customer=None,
                    correction_id="c",
                ),
                delta(3, correction_id="c"),
            ],
        },
        [{"seq": 1}, {"seq": 2}, {"seq": 3}],
        seal_number=("INT64", 2),
    ),
    sealing(
        "usage that is not billable is waived",
        {STDOUT: [line("r1", **ONLY_INPUT, billable=False)], SEGMENTS: [segment()]},
        [sealed(INPUT, 100, "waived", "not_billable")],
    ),
    sealing(
        "usage without a segment is parked",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment(valid_from="2026-03-11T00:00:00Z")]},
        [sealed(INPUT, 100, "parked", "no_segment")],
    ),
    sealing(
        "usage without a customer is parked",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment(stripe_customer=None)]},
        [sealed(INPUT, 100, "parked", "no_customer")],
    ),
    sealing(
        "usage without an item for its meter is parked",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment(items=[item(OUTPUT)])]},
        [sealed(INPUT, 100, "parked", "no_item")],
    ),
    sealing(
        "usage with two items for its meter is parked",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment(items=[item(INPUT), item(INPUT, "si_other")])],
        },
        [sealed(INPUT, 100, "parked", "two_items")],
    ),
    sealing(
        "usage of a customer that two tenants share is parked",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment(), segment("b", tenant_id="bolt", items=[item(INPUT, "si_other")])],
        },
        [sealed(INPUT, 100, "parked", "two_items")],
    ),
    sealing(
        "usage without a price is parked where the charge is by cost",
        {
            STDOUT: [line("r1", **ONLY_INPUT, unpriced=True)],
            SEGMENTS: [segment(charge_basis="cost", items=[item(COST)])],
        },
        [sealed(INPUT, 100, "parked", "unpriced")],
    ),
    sealing(
        "usage is booked inside its segment's part of the hour",
        {
            STDOUT: [
                line("r1", **ONLY_INPUT, at="2026-03-10T14:10:00Z"),
                line("r2", **ONLY_INPUT, at="2026-03-10T14:20:00Z"),
            ],
            SEGMENTS: [
                segment("a"),
                segment("b", valid_from="2026-03-10T14:15:00Z", stripe_customer="cus_2"),
            ],
        },
        [
            sealed(INPUT, 100, "billable", stripe_customer="cus_1", seq=1),
            sealed(INPUT, 100, "billable", stripe_customer="cus_2", seq=2, booked_at="2026-03-10T14:15:00Z"),
        ],
    ),
    sealing(
        "usage of a period that is closed is booked late in the open one",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [
                segment("a", valid_to=PERIOD_END),
                segment(
                    "b", valid_from=PERIOD_END, period_start=PERIOD_END, period_end="2026-05-01T00:00:00Z"
                ),
            ],
        },
        [sealed(INPUT, 100, "billable", late=True, booked_at="2026-04-02T08:00:00Z", segment_id="a")],
        **LATE_WINDOW,
    ),
    sealing(
        "late usage is parked where no segment is open",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment("a", valid_to=PERIOD_END)]},
        [sealed(INPUT, 100, "parked", "period_closed", late=True)],
        **LATE_WINDOW,
    ),
    sealing(
        "a subscription that ended in its period takes usage no longer than its last invoice",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment("a", valid_to=ENDED)]},
        [sealed(INPUT, 100, "parked", "period_closed", late=True)],
        now=("TIMESTAMP", "2026-03-10T15:10:00Z"),
    ),
    sealing(
        "usage is in time while the last invoice of an ended subscription is open",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment("a", valid_to=ENDED)]},
        [sealed(INPUT, 100, "billable")],
        now=("TIMESTAMP", "2026-03-10T15:09:59Z"),
    ),
    sealing(
        "a change of plan does not close the invoice of the period",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment("a", valid_to=ENDED), segment("b", valid_from=ENDED)],
        },
        [sealed(INPUT, 100, "billable", segment_id="a")],
        now=("TIMESTAMP", "2026-03-11T15:10:00Z"),
    ),
    sealing(
        "what is decided for a one-off invoice is taken out of what is parked",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment(valid_to=ENDED)],
            DELTAS: [delta(1, disposition="parked", reason="period_closed")],
        },
        [
            sealed(INPUT, 100, "parked", "period_closed", correction_id=None, stripe_customer="cus_1"),
            sealed(
                INPUT,
                -100,
                "parked",
                "period_closed",
                late=True,
                correction_id=CORRECTION,
                stripe_customer="cus_1",
            ),
            sealed(INPUT, 100, "one_off", late=True, correction_id=CORRECTION, stripe_customer="cus_1"),
        ],
        **CLOSED_WINDOW,
        after_close=("STRING", "one_off:"),
    ),
    sealing(
        "what is decided to be waived is a row of its own",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [segment(valid_to=ENDED)],
            DELTAS: [delta(1, disposition="parked", reason="period_closed")],
        },
        [
            sealed(INPUT, 100, "parked", "period_closed", late=False),
            sealed(INPUT, -100, "parked", "period_closed", late=True),
            sealed(INPUT, 100, "waived", "below_minimum", late=True),
        ],
        **CLOSED_WINDOW,
        after_close=("STRING", "waived:below_minimum"),
    ),
    sealing(
        "what is decided stays so, and what comes later waits for a decision of its own",
        {
            STDOUT: [line("r1", **ONLY_INPUT), line("r2", **ONLY_INPUT)],
            SEGMENTS: [segment(valid_to=ENDED)],
            DELTAS: [delta(1, disposition="one_off", reason=None)],
        },
        [
            sealed(INPUT, 100, "one_off", late=False),
            sealed(INPUT, 100, "parked", "period_closed", late=True),
        ],
        **CLOSED_WINDOW,
    ),
    sealing(
        "a decision does not reach what an open period takes",
        {STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment()]},
        [sealed(INPUT, 100, "billable")],
        after_close=("STRING", "waived:below_minimum"),
    ),
    sealing(
        "usage on a one-off invoice that a boundary moves waits on both sides for a person",
        {
            STDOUT: [line("r1", **ONLY_INPUT)],
            SEGMENTS: [
                segment("seg1", valid_to="2026-03-10T14:05:00Z"),
                segment("seg2", valid_from="2026-03-10T14:05:00Z", valid_to=ENDED),
            ],
            DELTAS: [delta(1, disposition="one_off")],
        },
        [
            sealed(INPUT, 100, "one_off", segment_id="seg1"),
            sealed(INPUT, -100, "parked", "boundary_after_close", segment_id="seg1", late=True),
            sealed(
                INPUT,
                100,
                "parked",
                "boundary_after_close",
                segment_id="seg2",
                late=True,
                booked_at="2026-03-10T14:05:00Z",
            ),
        ],
        **CLOSED_WINDOW,
    ),
    sealing(
        "usage of a period that has ended but is not closed is booked where it happened",
        {
            STDOUT: [line("r1", **ONLY_INPUT, at="2026-03-31T23:50:00Z")],
            SEGMENTS: [segment("a", valid_to=PERIOD_END)],
        },
        [sealed(INPUT, 100, "billable", booked_at="2026-03-31T23:00:00Z")],
        **(LATE_WINDOW | {"now": ("TIMESTAMP", "2026-04-01T00:49:59Z")}),
    ),
    sealing(
        "only the tenant that is asked for is sealed",
        {
            STDOUT: [line("r1", **ONLY_INPUT), line("r2", **ONLY_INPUT, tenant_id="bolt")],
            SEGMENTS: [segment(), segment("b", tenant_id="bolt", stripe_customer="cus_2")],
        },
        [{"tenant_id": "bolt", "value": 100}],
        tenant_id=("STRING", "bolt"),
    ),
    sealing(
        "usage outside the window waits",
        {STDOUT: [line("r1", **ONLY_INPUT, at="2026-03-10T10:59:59Z")], SEGMENTS: [segment()]},
        [],
    ),
)

STATEMENTS: Final = (
    Case(
        name="a new ledger gets its name",
        sql="genesis.sql",
        parameters={"ledger_epoch": ("STRING", "e1"), "now": ("TIMESTAMP", NOW)},
        expected=[{"ledger_epoch": "e1", "created_at": NOW}],
    ),
    Case(
        name="a ledger keeps its name",
        sql="genesis.sql",
        parameters={"ledger_epoch": ("STRING", "e2"), "now": ("TIMESTAMP", NOW)},
        tables={EPOCHS: [{"ledger_epoch": "e1", "created_at": HOUR}]},
        expected=[{"ledger_epoch": "e1", "created_at": HOUR}],
    ),
    Case(
        name="an empty warehouse needs nothing",
        sql="survey.sql",
        parameters={**WINDOW, **DUE, **LINES_END, **UNSENT, **HEAD_SINCE, **STRANGERS},
        expected=[
            {
                "ledger_epoch": None,
                "ledger_epochs": 0,
                "head": 0,
                "unsealed_buckets": 0,
                "stopped_buckets": 0,
                "new_rejects": 0,
                "rejected_lines": 0,
                "unsent": 0,
            }
        ],
    ),
    Case(
        name="what there is to do is counted",
        sql="survey.sql",
        parameters={**WINDOW, **DUE, **LINES_END, **UNSENT, **HEAD_SINCE, **STRANGERS},
        tables={
            STDOUT: [line("r1"), line("r2", total_tokens=1), line("r2", total_tokens=1)],
            SEGMENTS: [segment()],
            DELTAS: [
                delta(1, value=101, seal_number=7),
                delta(1, meter=OUTPUT, value=5, seal_number=7),
                delta(1, meter=OUTPUT, value=5, usage_hour="2026-03-01T00:00:00Z", segment_id="seg1"),
            ],
            EPOCHS: [{"ledger_epoch": "e1", "created_at": HOUR}],
        },
        expected=[
            {
                "ledger_epoch": "e1",
                "ledger_epochs": 1,
                "head": 7,
                "unsealed_buckets": 2,
                "stopped_buckets": 1,
                "new_rejects": 1,
                "rejected_lines": 0,
                "unsent": 2,
            }
        ],
    ),
    Case(
        name="stopped buckets are told with both sums",
        sql="stopped.sql",
        parameters={**WINDOW, **DUE},
        tables={STDOUT: [line("r1")], SEGMENTS: [segment()], DELTAS: [delta(1, value=101)]},
        expected=[{"meter": INPUT, "used": 100, "sealed": 101, "usage_hour": HOUR}],
    ),
    Case(
        name="a price is given once to what its model served, else by the provider's name, else as asked",
        sql="rate.sql",
        parameters=RATE,
        tables={
            STDOUT: [
                line("r1", **UNPRICED),
                line("r2", served_model=None, provider_model="the-small", model="x", **UNPRICED),
                line("r3", served_model=None, provider_model=None, **UNPRICED),
                line("r4", served_model="other", provider_model="the-small", **UNPRICED),
                line("r5", served_model=None, provider_model="x", **UNPRICED),
                line("r6"),
                line("r7", at="2026-03-10T10:59:00Z", **UNPRICED),
                line("r8", **UNPRICED | {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1}),
                line("r9", **UNPRICED),
            ],
            SEGMENTS: [segment()],
            RATINGS: [rating("r9")],
        },
        expected=[
            {"request_id": "r1", "model": "small", "price_version": "v1", "cost_nano_usd": 190},
            {"request_id": "r2", "model": "small", "price_version": "v1", "cost_nano_usd": 190},
            {"request_id": "r3", "model": "small", "price_version": "v1", "cost_nano_usd": 190},
            {"request_id": "r8", "model": "small", "price_version": "v1", "cost_nano_usd": 2},
            {"request_id": "r9", "model": "small", "price_version": "v1", "cost_nano_usd": 700},
        ],
    ),
    Case(
        name="no price is given where another run gave some in between",
        sql="rate.sql",
        parameters=RATE,
        tables={STDOUT: [line("r1", **UNPRICED)], SEGMENTS: [segment()]},
        expected=[],
    ),
    Case(
        name="of two models that fit, one price is taken",
        sql="rate.sql",
        parameters=RATE
        | {"prices": (PRICES_TYPE, [price("b", provider_model="p"), price("a", provider_model="p")])},
        tables={
            STDOUT: [line("r1", served_model=None, provider_model="p", **UNPRICED)],
            SEGMENTS: [segment()],
            RATINGS: [rating("r9")],
        },
        expected=[{"request_id": "r1", "model": "a"}, {"request_id": "r9", "model": "small"}],
    ),
    Case(
        name="what prices would charge is summed by tenant and model",
        sql="unpriced.sql",
        parameters=RATE,
        tables={STDOUT: [line("r1", **UNPRICED), line("r2", **UNPRICED), line("r3")], SEGMENTS: [segment()]},
        expected=[
            {
                "tenant_id": "acme",
                "model": "small",
                "requests": 2,
                "total_tokens": 240,
                "cost_nano_usd": 380,
            }
        ],
    ),
    Case(
        name="lines from the archive are appended as they are",
        sql="restore.sql",
        parameters={
            "lines": (
                LINES_TYPE,
                [{name: value for name, value in restored("r1").items() if name in _ARCHIVED}],
            ),
            "now": ("TIMESTAMP", NOW),
            "run_id": ("STRING", "run1"),
        },
        expected=[
            {
                "request_id": "r1",
                "line_timestamp": "2026-03-10T14:10:00Z",
                "input_tokens": 100.0,
                "cost_nano_usd": "5000",
                "billable": True,
                "file": "f.json",
                "restored_at": NOW,
                "run_id": "run1",
            }
        ],
    ),
    Case(
        name="the lines that the warehouse holds are listed, usable or not",
        sql="known_lines.sql",
        parameters=WINDOW,
        tables={
            STDOUT: [
                line("r1"),
                admit("r1"),
                line("r2", total_tokens=1),
                line("r3", at="2026-03-10T16:00:00Z"),
            ],
            RESTORED: [restored("r4")],
            SEGMENTS: [segment()],
        },
        expected=[
            {"event": "llm_usage", "request_id": "r1"},
            {"event": "llm_admit", "request_id": "r1"},
            {"event": "llm_usage", "request_id": "r2"},
            {"event": "llm_usage", "request_id": "r4"},
        ],
    ),
    Case(
        name="what is used and what is sealed of an hour stand side by side",
        sql="hour_totals.sql",
        parameters=WINDOW,
        tables={
            STDOUT: [line("r1", **ONLY_INPUT), line("r2", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [delta(1, value=60), delta(1, meter=OUTPUT, value=5, disposition="parked")],
        },
        expected=[
            {"tenant_id": "acme", "meter": INPUT, "usage_hour": HOUR, "used": 200, "sealed": 60},
            {"tenant_id": "acme", "meter": OUTPUT, "usage_hour": HOUR, "used": 0, "sealed": 5},
        ],
    ),
    Case(
        name="ratings are counted",
        sql="ratings.sql",
        tables={RATINGS: [rating("r1"), rating("r2")]},
        expected=[{"ratings": 2}],
    ),
    Case(
        name="a rejected line is noted once",
        sql="reject.sql",
        parameters={
            **WINDOW,
            **LINES_END,
            **STRANGERS,
            "now": ("TIMESTAMP", NOW),
            "rejected_lines": ("INT64", 0),
        },
        tables={
            STDOUT: [line("r1"), tokens(1.5, request_id="r2"), tokens(1.5, request_id="r2")],
            SEGMENTS: [segment()],
        },
        expected=[
            {
                "request_id": "r2",
                "tenant_id": "acme",
                "reason": "fractional_count",
                "detail": "input_tokens",
                "source": "stdout",
                "found_at": NOW,
            }
        ],
    ),
    Case(
        name="a line of an unknown tenant is noted when it has waited for the tenant's segment",
        sql="reject.sql",
        parameters={
            **WINDOW,
            **LINES_END,
            "now": ("TIMESTAMP", NOW),
            "strangers_before": ("TIMESTAMP", "2026-03-10T14:05:00Z"),
            "rejected_lines": ("INT64", 0),
        },
        tables={
            STDOUT: [
                line("r1", at="2026-03-10T14:04:59Z", tenant_id="stranger"),
                line("r2", at="2026-03-10T14:05:00Z", tenant_id="newcomer"),
                tokens(1.5, request_id="r3"),
            ],
            SEGMENTS: [segment()],
        },
        expected=[
            {"request_id": "r1", "reason": "unknown_tenant"},
            {"request_id": "r3", "reason": "fractional_count"},
        ],
    ),
    Case(
        name="a line is not noted where another run noted something in between",
        sql="reject.sql",
        parameters={
            **WINDOW,
            **LINES_END,
            **STRANGERS,
            "now": ("TIMESTAMP", NOW),
            "rejected_lines": ("INT64", 0),
        },
        tables={
            STDOUT: [tokens(1.5)],
            SEGMENTS: [segment()],
            REJECTED: [
                {
                    "line_id": "other",
                    "reason": "broken_json",
                    "line_timestamp": HOUR,
                    "found_at": HOUR,
                    "source": "stdout",
                }
            ],
        },
        expected=[{"line_id": "other"}],
    ),
    Case(
        name="what may be sent is listed with the end of its period and what the seal parked beside it",
        sql="pending.sql",
        parameters={
            **UNSENT,
            "tenant_id": ("STRING", ""),
            "seal_number": ("INT64", 2),
            "row_limit": ("INT64", 10),
        },
        tables={
            SEGMENTS: [segment()],
            DELTAS: [
                delta(1),
                delta(2),
                delta(3, disposition="parked", reason="no_item", seal_number=1),
                delta(4, disposition="parked", reason="no_item", seal_number=2),
                delta(5, disposition="included", seal_number=2),
                delta(6),
            ],
            DELIVERIES: [
                delivery("sending", at=HOUR, seq=1),
                delivery("sent", at=NOW, seq=1),
                delivery("sending", at=HOUR, seq=6),
            ],
        },
        expected=[
            {
                "identifier": delta(2)["identifier"],
                "maybe_sent": False,
                "attempt": 0,
                "closes_at": PERIOD_END,
            },
            {
                "identifier": delta(4)["identifier"],
                "maybe_sent": False,
                "attempt": 0,
                "closes_at": PERIOD_END,
            },
            {
                "identifier": delta(6)["identifier"],
                "maybe_sent": True,
                "attempt": 1,
                "closes_at": PERIOD_END,
            },
        ],
    ),
    Case(
        name="nothing but billable rows is sent where no delivery was ever noted",
        sql="pending.sql",
        parameters={
            **UNSENT,
            "tenant_id": ("STRING", ""),
            "seal_number": ("INT64", 0),
            "row_limit": ("INT64", 10),
        },
        tables={
            SEGMENTS: [segment()],
            DELTAS: [delta(1), delta(2, disposition="included", reason="charge_basis")],
        },
        expected=[{"identifier": delta(1)["identifier"], "disposition": "billable"}],
    ),
    Case(
        name="what came after the last invoice is listed with its price, where no period is open",
        sql="after_close.sql",
        parameters={
            "now": ("TIMESTAMP", "2026-03-11T15:30:00Z"),
            "rows_since": ("TIMESTAMP", PERIOD_START),
            "tenant_id": ("STRING", ""),
        },
        tables={
            SEGMENTS: [segment(valid_to=ENDED), segment("open", tenant_id="bolt", stripe_customer="cus_2")],
            DELTAS: [
                delta(1, disposition="parked", reason="period_closed"),
                delta(2, disposition="parked", reason="no_item"),
                delta(3, disposition="one_off"),
                delta(4, disposition="one_off"),
                delta(5, disposition="one_off"),
                delta(6),
                delta(7),
                delta(8, disposition="waived", reason="below_minimum"),
                delta(9, tenant_id="bolt", disposition="parked", reason="period_closed"),
            ],
            DELIVERIES: [
                delivery("sending", at=HOUR, seq=4),
                delivery("confirmed", at=HOUR, seq=5),
                delivery("sent", at=HOUR, seq=6),
                delivery("parked", at=NOW, reason="period_closed", seq=7),
            ],
        },
        expected=[
            {
                "identifier": delta(seq)["identifier"],
                "disposition": disposition,
                "delivery": state,
                "maybe_sent": state == "sending",
                "changed_at": changed_at,
                "price": f"price_{INPUT}",
            }
            for seq, disposition, state, changed_at in (
                (1, "parked", "none", "2026-03-10T14:15:00Z"),
                (3, "one_off", "unsent", "2026-03-10T14:15:00Z"),
                (4, "one_off", "sending", "2026-03-10T14:15:00Z"),
                (7, "billable", "parked", NOW),
            )
        ],
    ),
    Case(
        name="the row of a one-off item is listed with what else is sealed of its bucket",
        sql="explain_one_off.sql",
        parameters={
            "usage_hour": ("TIMESTAMP", HOUR),
            "identifier": ("STRING", delta(2)["identifier"]),
        },
        tables={
            DELTAS: [
                delta(1),
                delta(2, value=7, disposition="one_off"),
                delta(3, meter=OUTPUT),
                delta(4, segment_id="seg2"),
            ]
        },
        expected=[
            {"identifier": delta(1)["identifier"], "value": 100, "disposition": "billable"},
            {"identifier": delta(2)["identifier"], "value": 7, "disposition": "one_off"},
        ],
    ),
    Case(
        name="deliveries are appended with one time and one run",
        sql="deliver.sql",
        parameters={
            "now": ("TIMESTAMP", NOW),
            "run_id": ("STRING", "run2"),
            "rows": (
                "ARRAY<STRUCT<identifier STRING, attempt INT64, state STRING, reason STRING>>",
                [
                    {"identifier": "a", "attempt": 1, "state": "sending", "reason": None},
                    {
                        "identifier": "u1:e1:acme:m:1773151200:2",
                        "attempt": 2,
                        "state": "sent",
                        "reason": "duplicate",
                    },
                ],
            ),
        },
        expected=[
            {
                "identifier": "a",
                "usage_hour": "1970-01-01T00:00:00Z",
                "attempt": 1,
                "state": "sending",
                "reason": None,
                "at": NOW,
                "run_id": "run2",
            },
            {
                "identifier": "u1:e1:acme:m:1773151200:2",
                "usage_hour": HOUR,
                "attempt": 2,
                "state": "sent",
                "reason": "duplicate",
                "at": NOW,
                "run_id": "run2",
            },
        ],
    ),
    Case(
        name="what another run started to send is known",
        sql="sent_before.sql",
        parameters={
            "identifiers": ("ARRAY<STRING>", [delta(1)["identifier"], delta(2)["identifier"]]),
            "run_id": ("STRING", "run2"),
            "first_hour": ("TIMESTAMP", HOUR),
            "last_hour": ("TIMESTAMP", HOUR),
        },
        tables={DELIVERIES: [delivery("sending", at=HOUR, seq=1), delivery("parked", at=HOUR, seq=2)]},
        expected=[{"identifier": delta(1)["identifier"]}],
    ),
    Case(
        name="a period is what is booked in it, sent or not, and what no seal holds",
        sql="period_standing.sql",
        parameters={
            "tenant_id": ("STRING", "acme"),
            "stripe_customer": ("STRING", "cus_1"),
            "meters": ("ARRAY<STRING>", [INPUT, OUTPUT]),
            "span_start": ("TIMESTAMP", PERIOD_START),
            "span_end": ("TIMESTAMP", PERIOD_END),
            "window_start": ("TIMESTAMP", PERIOD_START),
            "window_end": ("TIMESTAMP", PERIOD_END),
            **DUE,
        },
        tables={
            STDOUT: [line("r1", **ONLY_INPUT), line("r2", at="2026-04-01T00:10:00Z", **ONLY_INPUT)],
            SEGMENTS: [segment()],
            DELTAS: [
                delta(1, value=40),
                delta(2, value=7),
                delta(3, value=9),
                delta(4, value=1000, stripe_customer="cus_2"),
                delta(5, value=2000, booked_at=PERIOD_END, usage_hour=PERIOD_END),
                delta(6, value=5, disposition="parked"),
            ],
            DELIVERIES: [
                delivery("sent", at=HOUR, seq=1),
                delivery("confirmed", at=HOUR, seq=2),
                delivery("sent", at=HOUR, seq=4),
                delivery("sent", at=HOUR, seq=5),
            ],
        },
        expected=[
            {"meter": INPUT, "sent": 47, "unsent": 1, "unsealed": 0},
            {"meter": OUTPUT, "sent": 0, "unsent": 0, "unsealed": 0},
        ],
    ),
    Case(
        name="usage that no seal holds keeps a period open",
        sql="period_standing.sql",
        parameters={
            "tenant_id": ("STRING", "acme"),
            "stripe_customer": ("STRING", "cus_1"),
            "meters": ("ARRAY<STRING>", [INPUT]),
            "span_start": ("TIMESTAMP", PERIOD_START),
            "span_end": ("TIMESTAMP", PERIOD_END),
            "window_start": ("TIMESTAMP", PERIOD_START),
            "window_end": ("TIMESTAMP", PERIOD_END),
            **DUE,
        },
        tables={STDOUT: [line("r1", **ONLY_INPUT)], SEGMENTS: [segment()]},
        expected=[{"meter": INPUT, "sent": 0, "unsent": 0, "unsealed": 1}],
    ),
)

BOOKED: Final = {
    "window_start": ("TIMESTAMP", "2026-03-10T00:00:00Z"),
    "window_end": ("TIMESTAMP", "2026-03-11T00:00:00Z"),
    "rows_since": ("TIMESTAMP", "2026-02-02T00:00:00Z"),
}
HOURS: Final = {
    "hours": (
        "ARRAY<STRUCT<stripe_customer STRING, meter STRING, booked_hour TIMESTAMP>>",
        [{"stripe_customer": "cus_1", "meter": INPUT, "booked_hour": HOUR}],
    )
}
AS_OF: Final = {"as_of": ("TIMESTAMP", "2026-03-10T15:00:00Z")}
BOOKED_TABLES: Final = {
    DELTAS: [
        delta(1, value=60, booked_at="2026-03-10T14:15:00Z"),
        delta(2, value=40),
        delta(3, value=7),
        delta(4, value=9),
        delta(5, value=100, disposition="parked", reason="no_item"),
        delta(6, value=3, stripe_customer="cus_2"),
        delta(7, value=11),
    ],
    DELIVERIES: [
        delivery("sent", at="2026-03-10T14:20:00Z", seq=1),
        delivery("confirmed", at="2026-03-10T14:20:00Z", seq=2),
        delivery("sending", at="2026-03-10T14:20:00Z", seq=3),
        delivery("sending", at="2026-03-10T14:20:00Z", reason="rate_limited", seq=4),
        delivery("confirmed", at="2026-03-10T14:20:00Z", seq=6),
        delivery("sent", at="2026-03-10T15:00:00Z", seq=7),
    ],
}
LOOK: Final = {
    "window_start": ("TIMESTAMP", "2026-03-10T14:00:00Z"),
    "window_end": ("TIMESTAMP", "2026-03-10T15:00:00Z"),
}


def logged(trace: str, path: str = "/v1/chat/completions", status: int = 200, method: str = "POST") -> Row:
    """The platform's own log entry of a request."""
    request = {"requestMethod": method, "requestUrl": f"https://gateway.example{path}", "status": status}
    return {"timestamp": "2026-03-10T14:10:00Z", "trace": trace, "httpRequest": request}


RECONCILING: Final = (
    Case(
        name="an hour with something that is not confirmed is compared by all that was sent in it",
        sql="booked_hours.sql",
        parameters={**BOOKED, **AS_OF, "unknown_before": ("TIMESTAMP", "2026-03-10T12:00:00Z")},
        tables=BOOKED_TABLES,
        expected=[
            {
                "stripe_customer": "cus_1",
                "meter": INPUT,
                "booked_hour": HOUR,
                "tenant_id": "acme",
                "ledger_value": 111,
                "unconfirmed": 1,
                "unknown": 1,
            }
        ],
    ),
    Case(
        name="an hour whose only open row is unknown for long is compared",
        sql="booked_hours.sql",
        parameters={**BOOKED, **AS_OF, "unknown_before": ("TIMESTAMP", "2026-03-10T14:21:00Z")},
        tables={DELTAS: [delta(1)], DELIVERIES: [delivery("sending", at="2026-03-10T14:20:00Z")]},
        expected=[{"booked_hour": HOUR, "ledger_value": 0, "unconfirmed": 0, "unknown": 1}],
    ),
    Case(
        name="an hour whose only open row is unknown since a moment ago is not",
        sql="booked_hours.sql",
        parameters={**BOOKED, **AS_OF, "unknown_before": ("TIMESTAMP", "2026-03-10T14:20:00Z")},
        tables={DELTAS: [delta(1)], DELIVERIES: [delivery("sending", at="2026-03-10T14:20:00Z")]},
        expected=[],
    ),
    Case(
        name="the rows of an hour of booking are listed with where their delivery stands",
        sql="booked_rows.sql",
        parameters={**BOOKED, **HOURS},
        tables=BOOKED_TABLES,
        expected=[
            {"value": 60, "delivery": "sent", "delivery_reason": None, "attempt": 1},
            {"value": 40, "delivery": "confirmed", "delivery_reason": None, "attempt": 1},
            {"value": 7, "delivery": "sending", "delivery_reason": None, "attempt": 1},
            {"value": 9, "delivery": "sending", "delivery_reason": "rate_limited", "attempt": 1},
            {"value": 11, "delivery": "sent", "delivery_reason": None, "attempt": 1},
        ],
    ),
    Case(
        name="the period of a customer at a moment",
        sql="period_at.sql",
        parameters={"stripe_customer": ("STRING", "cus_1"), "moment": ("TIMESTAMP", HOUR)},
        tables={
            SEGMENTS: [
                segment("a", valid_to="2026-03-10T13:00:00Z", period_end="2026-03-10T13:00:00Z"),
                segment("b", valid_from="2026-03-10T13:00:00Z", period_start="2026-03-10T13:00:00Z"),
                segment("c", tenant_id="other", stripe_customer="cus_2"),
            ]
        },
        expected=[
            {"tenant_id": "acme", "period_start": "2026-03-10T13:00:00Z", "period_end": PERIOD_END},
        ],
    ),
    Case(
        name="what an invoice line's period holds is summed, and what is under way counted",
        sql="invoice_lines.sql",
        parameters={
            "window_start": ("TIMESTAMP", PERIOD_START),
            "window_end": ("TIMESTAMP", PERIOD_END),
            "lines": (
                "ARRAY<STRUCT<invoice STRING, line INT64, stripe_customer STRING, meter STRING, "
                "period_start TIMESTAMP, period_end TIMESTAMP, identifier STRING>>",
                [
                    {
                        "invoice": invoice,
                        "line": 2,
                        "stripe_customer": customer,
                        "meter": INPUT,
                        "period_start": PERIOD_START,
                        "period_end": PERIOD_END,
                        "identifier": identifier,
                    }
                    for invoice, customer, identifier in (
                        ("in_1", "cus_1", ""),
                        ("in_2", "cus_2", ""),
                        ("in_3", "cus_1", delta(8)["identifier"]),
                    )
                ],
            ),
        },
        tables={
            DELTAS: [
                delta(1, value=60),
                delta(2, value=40, usage_hour="2026-02-20T00:00:00Z"),
                delta(3, value=7),
                delta(4, value=9, booked_at=PERIOD_END),
                delta(5, value=11, meter=OUTPUT),
                delta(6, value=13, disposition="parked"),
                delta(7, value=17),
                delta(8, value=19, disposition="one_off"),
            ],
            DELIVERIES: [
                delivery("sent", at="2026-03-10T14:20:00Z", seq=1),
                delivery("sent", at="2026-03-10T14:20:00Z", seq=8),
                delivery("confirmed", at="2026-03-10T14:20:00Z", seq=2)
                | {"usage_hour": "2026-02-20T00:00:00Z"},
                delivery("sending", at="2026-03-10T14:20:00Z", seq=3),
                delivery("sent", at="2026-03-10T14:20:00Z", seq=4),
            ],
        },
        expected=[
            {"invoice": "in_1", "line": 2, "tenant_id": "acme", "ledger_value": 100, "under_way": 2},
            {"invoice": "in_2", "line": 2, "tenant_id": None, "ledger_value": 0, "under_way": 0},
            {"invoice": "in_3", "line": 2, "tenant_id": "acme", "ledger_value": 19, "under_way": 0},
        ],
    ),
    Case(
        name="a closed period with usage that was sent and no invoice's line is found",
        sql="uninvoiced.sql",
        parameters={
            "closed_since": ("TIMESTAMP", "2026-03-02T00:00:00Z"),
            "closed_before": ("TIMESTAMP", "2026-04-06T00:00:00Z"),
        },
        tables={
            SEGMENTS: [
                segment(),
                segment("open", period_start=PERIOD_END, period_end="2026-05-01T00:00:00Z")
                | {"valid_from": PERIOD_END},
            ],
            DELTAS: [
                delta(1, value=60),
                delta(2, value=40),
                delta(3, value=7),
                delta(4, value=9, booked_at=PERIOD_END),
                delta(5, value=11, meter=OUTPUT),
                delta(6, value=13, disposition="parked"),
                delta(7, value=17, stripe_customer="cus_2"),
            ],
            DELIVERIES: [
                *(delivery("sent", at="2026-03-10T14:20:00Z", seq=seq) for seq in (1, 2, 4, 7)),
                delivery("sent", at="2026-03-10T14:20:00Z", seq=5)
                | {"identifier": delta(5, meter=OUTPUT)["identifier"]},
                delivery("sending", at="2026-03-10T14:20:00Z", seq=3),
            ],
            RECONCILIATIONS: [invoice_compared(OUTPUT), invoice_compared(INPUT, kind="summary")],
        },
        expected=[
            {
                "tenant_id": "acme",
                "stripe_customer": "cus_1",
                "subscription_id": "sub_1",
                "meter": INPUT,
                "period_start": PERIOD_START,
                "closes_at": PERIOD_END,
                "ledger_value": 100,
            }
        ],
    ),
    Case(
        name="only what was sent before the comparison began is confirmed",
        sql="confirm.sql",
        parameters={**BOOKED, **HOURS, **AS_OF, "now": ("TIMESTAMP", NOW), "run_id": ("STRING", "run2")},
        tables={
            DELTAS: [delta(1), delta(2), delta(3)],
            DELIVERIES: [
                delivery("sent", at="2026-03-10T14:20:00Z", seq=1, attempt=2),
                delivery("sent", at="2026-03-10T15:00:00Z", seq=2),
                delivery("sending", at="2026-03-10T14:20:00Z", seq=3),
            ],
        },
        expected=[
            {"identifier": delta(1)["identifier"], "attempt": 2, "state": "sent", "run_id": "run1"},
            {"identifier": delta(2)["identifier"], "attempt": 1, "state": "sent", "run_id": "run1"},
            {"identifier": delta(3)["identifier"], "attempt": 1, "state": "sending", "run_id": "run1"},
            {"identifier": delta(1)["identifier"], "attempt": 2, "state": "confirmed", "run_id": "run2"},
        ],
    ),
    Case(
        name="a result is kept with its difference",
        sql="record_comparisons.sql",
        parameters={
            "now": ("TIMESTAMP", NOW),
            "run_id": ("STRING", "run2"),
            "rows": (
                "ARRAY<STRUCT<kind STRING, tenant_id STRING, stripe_customer STRING, meter STRING, "
                "window_start TIMESTAMP, window_end TIMESTAMP, ledger_value INT64, witness_value INT64, "
                "action STRING, detail STRING>>",
                [
                    {
                        "kind": "spend",
                        "tenant_id": "acme",
                        "stripe_customer": None,
                        "meter": COST,
                        "window_start": HOUR,
                        "window_end": NOW,
                        "ledger_value": 10,
                        "witness_value": 7,
                        "action": "tolerated",
                        "detail": None,
                    }
                ],
            ),
        },
        expected=[
            {"kind": "spend", "stripe_customer": None, "difference": -3, "checked_at": NOW, "run_id": "run2"}
        ],
    ),
    Case(
        name="the usage events of a tenant and hour are counted and priced",
        sql="tenant_hours.sql",
        parameters=LOOK,
        tables={
            STDOUT: [
                line("r1"),
                line("r1"),
                line("r2"),
                line("r3", tenant_id="bolt"),
                line("r4", at="2026-03-10T15:00:00Z"),
            ],
            SEGMENTS: [segment(), segment("b", tenant_id="bolt")],
        },
        expected=[
            {"tenant_id": "acme", "usage_hour": HOUR, "requests": 2, "cost_nano_usd": 10000},
            {"tenant_id": "bolt", "usage_hour": HOUR, "requests": 1, "cost_nano_usd": 5000},
        ],
    ),
    Case(
        name="admits without a usable event are told with tenant, process and reason",
        sql="losses_unrecorded.sql",
        parameters=LOOK,
        tables={
            STDOUT: [
                admit("r1"),
                line("r1", at="2026-03-10T15:20:00Z"),
                admit("r2"),
                admit("r3"),
                admit("r4"),
                line("r4", total_tokens=1),
                admit("r5", at="2026-03-10T15:00:00Z"),
            ],
            SEGMENTS: [segment()],
        },
        expected=[
            {
                "tenant_id": "acme",
                "stream_id": "s1",
                "reason": "no_usage_event",
                "requests": 2,
                "example": "r2",
                "first_at": "2026-03-10T14:09:00Z",
            },
            {
                "tenant_id": "acme",
                "stream_id": "s1",
                "reason": "total_mismatch",
                "requests": 1,
                "example": "r4",
                "first_at": "2026-03-10T14:09:00Z",
            },
        ],
    ),
    Case(
        name="missing numbers of a stream are told with their neighbours",
        sql="losses_gaps.sql",
        parameters=LOOK,
        tables={
            STDOUT: [
                line("r1", seq=4, at="2026-03-10T13:50:00Z"),
                line("r2", seq=7, at="2026-03-10T14:10:00Z"),
                line("r3", seq=8, at="2026-03-10T14:11:00Z", tenant_id="bolt"),
                line("r4", seq=10, at="2026-03-10T14:12:00Z"),
                line("r5", seq=9, at="2026-03-10T15:30:00Z"),
                line("r6", seq=1, stream_id="s2"),
                line("r7", seq=2, stream_id="s2", total_tokens=1),
                line("r8", seq=3, stream_id="s2"),
            ],
            SEGMENTS: [segment(), segment("b", tenant_id="bolt")],
        },
        expected=[
            {
                "stream_id": "s1",
                "seq_before": 4,
                "seq_after": 7,
                "missing": 2,
                "tenant_before": "acme",
                "tenant_after": "acme",
                "found_before": "2026-03-10T14:10:00Z",
            }
        ],
    ),
    Case(
        name="answered requests without a usage event are told by the tenant of their admit line",
        sql="losses_requests.sql",
        parameters=LOOK,
        tables={
            REQUESTS_LOG: [
                logged("t1"),
                logged("t2", "/messages"),
                logged("t3", "/v1/messages?beta=true"),
                logged("t4", "/v1/models", method="GET"),
                logged("t5", status=401),
                logged("t6", "/v1/messages/count_tokens"),
                logged("t7"),
            ],
            STDOUT: [
                line("r1") | {"trace": "t1"},
                admit("r3") | {"trace": "t3"},
            ],
            SEGMENTS: [segment()],
        },
        expected=[
            {"tenant_id": "", "endpoint": "chat/completions", "requests": 1, "example": "t7"},
            {"tenant_id": "", "endpoint": "messages", "requests": 1, "example": "t2"},
            {"tenant_id": "acme", "endpoint": "messages", "requests": 1, "example": "t3"},
        ],
    ),
    *(
        Case(
            name=f"lines that came too late are counted by tenant: {request_id}",
            sql="losses_too_old.sql",
            parameters={
                "window_start": ("TIMESTAMP", "2026-03-10T00:00:00Z"),
                "window_end": ("TIMESTAMP", "2026-03-10T14:00:00Z"),
                "oldest": ("TIMESTAMP", "2025-02-03T14:30:00Z"),
                "newest": ("TIMESTAMP", "2026-02-03T14:30:00Z"),
                "old_days": ("INT64", 65),
                "very_late": ("BOOL", very_late),
            },
            tables={
                STDOUT: [
                    line("r0", at="2026-01-03T14:00:00Z") | {"receiveTimestamp": "2026-03-10T12:00:00Z"},
                    line("r1", at="2026-01-29T14:00:00Z") | {"receiveTimestamp": "2026-03-10T12:00:00Z"},
                    line("r1", at="2026-01-29T14:00:00Z") | {"receiveTimestamp": "2026-03-10T12:00:01Z"},
                    line("r2", at="2026-01-29T14:00:00Z"),
                    line("r3", at="2026-02-04T14:00:00Z") | {"receiveTimestamp": "2026-03-10T12:00:00Z"},
                    line("r4", at="2026-03-10T12:00:00Z"),
                ],
            },
            expected=[
                {
                    "tenant_id": "acme",
                    "requests": 1,
                    "first_at": at,
                    "last_at": at,
                    "example": request_id,
                }
            ],
        )
        for very_late, request_id, at in (
            (False, "r1", "2026-01-29T14:00:00Z"),
            (True, "r0", "2026-01-03T14:00:00Z"),
        )
    ),
    Case(
        name="entries that a sink could not write are told by log, tenant and cause",
        sql="losses_export_errors.sql",
        parameters=LOOK,
        tables={
            EXPORT_ERRORS: [
                {
                    "insertId": name,
                    "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
                    "timestamp": HOUR,
                    "schemaErrorDetail": "input_tokens is no number",
                    "logEntry": '{"tenant_id":"acme"}',
                }
                for name in ("a", "b", "b")
            ]
        },
        expected=[
            {
                "log": "run.googleapis.com%2Fstdout",
                "tenant_id": "acme",
                "cause": "input_tokens is no number",
                "lines": 2,
            }
        ],
    ),
)

PERIOD: Final = {
    "period_start": ("TIMESTAMP", PERIOD_START),
    "period_end": ("TIMESTAMP", PERIOD_END),
}
BUCKETS: Final = {
    "buckets": (
        "ARRAY<STRUCT<usage_hour TIMESTAMP, segment_id STRING>>",
        [{"usage_hour": HOUR, "segment_id": "seg1"}],
    ),
    "window_start": ("TIMESTAMP", HOUR),
    "window_end": ("TIMESTAMP", "2026-03-10T15:00:00Z"),
    "tenant_id": ("STRING", "acme"),
    "meter": ("STRING", INPUT),
}
EXPLAINED: Final = {
    STDOUT: [
        line("r1"),
        line("r2", input_tokens=0, total_tokens=20),
        line("r3", billable=False),
        line("r4", tenant_id="bolt"),
        line("r5", at="2026-03-10T14:40:00Z"),
    ],
    SEGMENTS: [
        segment(),
        segment("seg2", valid_from="2026-03-10T14:30:00Z"),
        segment("b", tenant_id="bolt"),
    ],
}
EXPLAINING: Final = (
    Case(
        name="what a seal would add and what it would leave alone is shown",
        sql="due_rows.sql",
        parameters={**WINDOW, **DUE},
        tables={
            STDOUT: [line("r1")],
            SEGMENTS: [segment()],
            DELTAS: [delta(1, value=60), delta(1, meter=OUTPUT, value=21)],
        },
        expected=[
            {"meter": INPUT, "value": 40, "stopped": False, "disposition": "billable"},
            {"meter": OUTPUT, "value": 0, "stopped": True, "disposition": None},
            {"meter": COST, "value": 5000, "stopped": False, "disposition": "included"},
        ],
    ),
    Case(
        name="a tenant with a segment is known",
        sql="known_tenants.sql",
        parameters={"tenant_id": ("STRING", "acme")},
        tables={SEGMENTS: [segment(), segment("seg2"), segment("b", tenant_id="bolt")]},
        expected=[{"tenant_id": "acme"}],
    ),
    Case(
        name="the sealed rows of a line are those booked in its period, late ones too",
        sql="explain_deltas.sql",
        parameters={**PERIOD, "stripe_customer": ("STRING", "cus_1"), "meter": ("STRING", INPUT)},
        tables={
            DELTAS: [
                delta(1),
                delta(2, value=7, usage_hour="2026-02-20T00:00:00Z", late=True),
                delta(3, booked_at=PERIOD_END),
                delta(4, disposition="included"),
                delta(5, stripe_customer="cus_2"),
                delta(6, meter=OUTPUT),
            ],
            DELIVERIES: [delivery("sent", at=NOW, seq=1)],
        },
        expected=[
            {"value": 7, "late": True, "delivery": "unsent"},
            {"value": 100, "late": False, "delivery": "sent"},
        ],
    ),
    Case(
        name="the requests of a bucket are those that its sum is made of",
        sql="explain_requests.sql",
        parameters=BUCKETS,
        tables=EXPLAINED,
        expected=[{"request_id": "r1", "value": 100}],
    ),
    Case(
        name="the requests of a bucket are counted and summed",
        sql="explain_hours.sql",
        parameters=BUCKETS,
        tables=EXPLAINED,
        expected=[{"usage_hour": HOUR, "segment_id": "seg1", "requests": 1, "value": 100}],
    ),
)

CASES: Final[tuple[Case, ...]] = (*USAGE_CLEAN, *VIEWS, *SEALS, *STATEMENTS, *RECONCILING, *EXPLAINING)
