"""What tenants spent, as the gateway's instances count it in the app database.

One document per tenant, calendar month (UTC) and instance, written by that instance alone: by hour, the
requests that ended, and each meter. It is a budget's ground truth and, because it travels another path than
the usage lines, a second witness of them: what an hour's events sum to must not be less than what was spent
in it. An instance that is killed takes with it what it had not written: at most a second's worth, or $0.05.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tallygate.appdb import DELETE_AT, Condition, Database
from tallygate.clock import rfc3339
from tallygate.records import COST_METER, METER_COLUMNS, UsageEvent

REQUESTS: Final = "requests"
"""Beside the meters: requests that were admitted and have ended."""
KEPT: Final = timedelta(days=100)
"""After its month: budgets look at one month, the reconciler at two days, a person at the last quarter."""

Hours = dict[str, Counter[str]]
"""By hour (``2026-03-01T09``, UTC): :data:`REQUESTS`, and each meter in its unit."""


def month_of(moment: datetime) -> str:
    """The calendar month of a moment in UTC: ``2026-03``."""
    return moment.strftime("%Y-%m")


def month_after(month: str) -> str:
    """The next calendar month."""
    return month_of(_end(month))


def hour_of(moment: datetime) -> str:
    """The hour of a moment in UTC: ``2026-03-01T09``."""
    return moment.strftime("%Y-%m-%dT%H")


def amounts(event: UsageEvent) -> Counter[str]:
    """What one request adds to its hour."""
    metered = {meter: getattr(event, column) for meter, column in METER_COLUMNS.items()}
    return Counter({REQUESTS: 1} | {meter: value for meter, value in metered.items() if value})


def document_id(tenant_id: str, month: str, instance: str) -> str:
    """The document in ``spend`` of one tenant, month and instance."""
    return f"{tenant_id}:{month}:{instance}"


def document(tenant_id: str, month: str, instance: str, hours: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """The document's content: totals, so that writing it again changes nothing."""
    return {
        "spent_by": tenant_id,
        "month": month,
        "instance": instance,
        "hours": {hour: dict(spent) for hour, spent in hours.items()},
        DELETE_AT: rfc3339(_end(month) + KEPT),
    }


def spent_by_hour(database: Database, tenant_id: str, month: str) -> Hours:
    """What a tenant spent in a month, over all instances, as far as they have written it.

    A request that ends at a month's turn may stand in the next month's document, under its own hour: both
    are read.

    Raises:
        DatabaseUnavailableError: when the store can't be reached.
    """
    found = [*_documents(database, tenant_id, month), *_documents(database, tenant_id, month_after(month))]
    return {
        hour: spent for hour, spent in _summed(hours for _, hours in found).items() if hour.startswith(month)
    }


def spent_in_month(
    database: Database, tenant_id: str, month: str, *, instance: str, own: Mapping[str, Counter[str]]
) -> Counter[str]:
    """What a tenant spent in a month; for ``instance`` by what it knows itself, written or not."""
    found = [hours for writer, hours in _documents(database, tenant_id, month) if writer != instance]
    by_hour = _summed([*found, own])
    return sum((spent for hour, spent in by_hour.items() if hour.startswith(month)), Counter())


def cost(spent: Iterable[Counter[str]]) -> int:
    """The nano-USD of several hours."""
    return sum(each[COST_METER] for each in spent)


def _end(month: str) -> datetime:
    """The first moment after a month."""
    year, number = (int(part) for part in month.split("-"))
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _documents(database: Database, tenant_id: str, month: str) -> list[tuple[str, Hours]]:
    conditions = [Condition("spent_by", "==", tenant_id), Condition("month", "==", month)]
    return [
        (content["instance"], {hour: Counter(spent) for hour, spent in content["hours"].items()})
        for _, content in database.query("spend", conditions)
    ]


def _summed(documents: Iterable[Mapping[str, Counter[str]]]) -> Hours:
    total: Hours = {}
    for hours in documents:
        for hour, spent in hours.items():
            total.setdefault(hour, Counter()).update(spent)
    return total
