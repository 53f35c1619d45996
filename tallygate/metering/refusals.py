"""Sealed rows that Stripe accepted and refused later: kept by whoever hears of it, noted by the reporter.

Stripe tells of them by an event. Who takes the event may not write the ledger's deliveries, so it leaves a
document in the app database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from tallygate.appdb import Condition, Database
from tallygate.metering.send import LedgerWriteError
from tallygate.metering.warehouse import DeliveryRow, Value, Warehouse

_PREFIX: Final = "refused-"
_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class RefusedDelta:
    """A sealed row that Stripe refused after it had accepted it."""

    identifier: str
    attempt: int
    code: str


def keep_refusals(database: Database, report_id: str, refused: Sequence[RefusedDelta]) -> None:
    """Leave the refusals of one report to the reporter; the same report twice changes nothing."""
    rows = [asdict(one) for one in refused]
    database.put("watermarks", f"{_PREFIX}{report_id}", {"refusals": True, "report": report_id, "rows": rows})


def note_refusals(database: Database, warehouse: Warehouse, now: datetime) -> int:
    """Append a row ``rejected`` for each refusal that was left; how many. The report's id names the job.

    Raises:
        LedgerWriteError: when BigQuery took the job and failed.
        GoogleAPIError, JobRunningError: when the outcome is not known; the next run asks by the same job id.
    """
    noted = 0
    for document_id, document in database.query(
        "watermarks", [Condition("refusals", "==", True)], limit=_AT_ONCE
    ):
        rows = [_row(entry) for entry in document["rows"]]
        parameters: dict[str, Value] = {"rows": rows, "now": now, "run_id": document["report"]}
        outcome = warehouse.write(f"{_PREFIX}{document['report']}", "deliver", parameters)
        if outcome.error is not None:
            raise LedgerWriteError(f"{outcome.job_id}: {outcome.error}")
        database.delete("watermarks", document_id)
        noted += len(rows)
    return noted


def _row(entry: dict[str, Any]) -> DeliveryRow:
    return DeliveryRow(entry["identifier"], entry["attempt"], "rejected", entry["code"])
