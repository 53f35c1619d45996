"""Compares usage events with what the gateway's instances counted: a second witness, of lost lines.

What was counted can be less than the events say, by what a killed instance had not written; more it can be
only where a usage line is missing, or late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tallygate.appdb import Database
from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.logs import emit
from tallygate.metering.warehouse import Value, Warehouse
from tallygate.reconciliation.results import Comparison, append
from tallygate.records import COST_METER
from tallygate.spend import REQUESTS, Hours, hour_of, month_of, spent_by_hour

SETTLED_AFTER: Final = timedelta(minutes=30)
FIRST_LOOK: Final = timedelta(hours=3)
LONGEST_LOOK: Final = timedelta(days=2)
_HOUR: Final = timedelta(hours=1)
_MARK: Final = "spending"


@dataclass(frozen=True, slots=True)
class Spending:
    """What the comparison found."""

    hours: int = 0
    """Hours of a tenant compared."""
    missing: int = 0
    """Requests that were counted and have no usage event."""


def compare_spending(
    warehouse: Warehouse,
    database: Database,
    tenants: Callable[[], Iterator[str]],
    now: datetime,
    *,
    job: str,
    run_id: str,
) -> Spending:
    """Compare the whole hours since the last look that ended :data:`SETTLED_AFTER` ago.

    Raises:
        GoogleAPIError, JobRunningError, LedgerWriteError: when the warehouse can't be read or written.
        DatabaseUnavailableError: when the counters can't be read.
    """
    end = (now - SETTLED_AFTER).replace(minute=0, second=0, microsecond=0)
    mark = database.get("watermarks", _MARK)
    start = max(end - FIRST_LOOK if mark is None else parse_rfc3339(mark["until"]), end - LONGEST_LOOK)
    if start >= end:
        return Spending()
    bounds: dict[str, Value] = {"window_start": start, "window_end": end}
    events: dict[tuple[str, str], Counter[str]] = {}
    for row in warehouse.read("tenant_hours", bounds):
        counts = Counter({REQUESTS: row["requests"], COST_METER: row["cost_nano_usd"]})
        events[row["tenant_id"], hour_of(row["usage_hour"])] = counts
    results: list[Comparison] = []
    missing = 0
    for tenant_id in tenants():
        counted = _counted(database, tenant_id, start, end)
        for hour in _hours(start, end):
            seen = events.get((tenant_id, hour_of(hour)), Counter())
            spent = counted.get(hour_of(hour), Counter())
            if not seen and not spent:
                continue
            lost = spent[REQUESTS] - seen[REQUESTS]
            results += [
                _result(tenant_id, name, hour, seen[name], spent[name]) for name in (REQUESTS, COST_METER)
            ]
            if lost > 0 or spent[COST_METER] > seen[COST_METER]:
                missing += max(lost, 0)
                _tell(tenant_id, hour, seen, spent, job=job, run_id=run_id)
    append(warehouse, run_id, now, "spend", results)
    database.put("watermarks", _MARK, {"until": rfc3339(end)})
    return Spending(hours=len(results) // 2, missing=missing)


def _counted(database: Database, tenant_id: str, start: datetime, end: datetime) -> Hours:
    months = {month_of(start), month_of(end - _HOUR)}
    counted: Hours = {}
    for month in sorted(months):
        counted |= spent_by_hour(database, tenant_id, month)
    return counted


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += _HOUR


def _result(tenant_id: str, name: str, hour: datetime, seen: int, spent: int) -> Comparison:
    return Comparison(
        kind="spend",
        tenant_id=tenant_id,
        stripe_customer=None,
        meter=name,
        window_start=hour,
        window_end=hour + _HOUR,
        ledger_value=seen,
        witness_value=spent,
        action="none" if spent == seen else "tolerated" if spent < seen else "proposed",
        detail="usage lines are missing or late" if spent > seen else None,
    )


def _tell(
    tenant_id: str, hour: datetime, seen: Counter[str], spent: Counter[str], *, job: str, run_id: str
) -> None:
    emit(
        "reconciliation_difference",
        "ERROR",
        job=job,
        run_id=run_id,
        kind="spend",
        tenant_id=tenant_id,
        usage_hour=rfc3339(hour),
        requests=spent[REQUESTS] - seen[REQUESTS],
        cost_nano_usd=str(spent[COST_METER] - seen[COST_METER]),
    )
