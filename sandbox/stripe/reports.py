"""What happens to meter events some time after they were accepted: they are summed, or reported."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Row
from typing import Any, Final

from sandbox.stripe.announcements import announce_thin
from sandbox.stripe.store import Store
from sandbox.stripe.usage import moment
from sandbox.stripe.wire import v2_time

SAMPLES: Final = 5
"""A report shows at most this many errors of each code; its counts are complete."""


def next_due(store: Store) -> int | None:
    """When the next events are summed or reported: microseconds since the epoch; None: nothing waits."""
    row = store.execute("SELECT MIN(visible_at) AS due FROM meter_events WHERE told = 0").fetchone()
    due: int | None = row["due"]
    return due


def carry_out(store: Store, due: int) -> None:
    """Report the refused events that are checked at ``due``; the others are summed by then."""
    refused = store.rows(
        "SELECT * FROM meter_events WHERE told = 0 AND visible_at = ? AND refused IS NOT NULL ORDER BY seq",
        due,
    )
    by_meter: dict[str | None, list[Row]] = {}
    for row in refused:
        by_meter.setdefault(row["meter"], []).append(row)
    for meter, rows in by_meter.items():
        _report(store, moment(due), meter, rows)
    store.execute("UPDATE meter_events SET told = 1 WHERE visible_at = ?", due)


def _report(store: Store, now: datetime, meter: str | None, rows: Sequence[Row]) -> None:
    by_code: dict[str, list[Row]] = {}
    for row in rows:
        by_code.setdefault(row["refused"], []).append(row)
    data: dict[str, Any] = {
        "developer_message_summary": f"There are {len(rows)} invalid events",
        "reason": {
            "error_count": len(rows),
            "error_types": [_error_type(code, found) for code, found in by_code.items()],
        },
        "validation_start": v2_time(moment(min(row["received_at"] for row in rows))),
        "validation_end": v2_time(now),
    }
    if meter is None:
        announce_thin(store, now, "v1.billing.meter.no_meter_found", None, data)
        return
    related = (meter, "billing.meter", f"/v1/billing/meters/{meter}")
    announce_thin(store, now, "v1.billing.meter.error_report_triggered", related, data)


def _error_type(code: str, rows: Sequence[Row]) -> dict[str, Any]:
    samples = [
        {
            "error_message": f"{code}: event {row['identifier']}",
            "request": {"identifier": row["request_key"]},
        }
        for row in rows[:SAMPLES]
    ]
    return {"code": code, "error_count": len(rows), "sample_errors": samples}
