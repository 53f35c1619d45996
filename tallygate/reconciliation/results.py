"""The result of every comparison, kept in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tallygate.metering.warehouse import Value, Warehouse
from tallygate.reconciliation.repairs import Subject

_CHUNK: Final = 500


class LedgerWriteError(Exception):
    """The ledger could not be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row of ``reconciliations``; the run and the time are the statement's."""

    kind: str
    tenant_id: str
    stripe_customer: str | None
    meter: str
    window_start: datetime
    window_end: datetime
    """Exclusive."""
    ledger_value: int
    witness_value: int
    action: str
    detail: str | None = None

    @classmethod
    def of(cls, subject: Subject, action: str, detail: str | None = None) -> Comparison:
        """What came of comparing a subject's two sides."""
        return cls(
            kind=subject.kind,
            tenant_id=subject.tenant_id,
            stripe_customer=subject.stripe_customer,
            meter=subject.meter,
            window_start=subject.window_start,
            window_end=subject.window_end,
            ledger_value=subject.ledger_value,
            witness_value=subject.witness_value,
            action=action,
            detail=detail,
        )

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name."""
        return {
            "kind": "STRING",
            "tenant_id": "STRING",
            "stripe_customer": "STRING",
            "meter": "STRING",
            "window_start": "TIMESTAMP",
            "window_end": "TIMESTAMP",
            "ledger_value": "INT64",
            "witness_value": "INT64",
            "action": "STRING",
            "detail": "STRING",
        }


def append(
    warehouse: Warehouse, run_id: str, now: datetime, kind: str, results: Sequence[Comparison]
) -> None:
    """Append the results of one kind of comparison of a run; asking again appends nothing.

    Raises:
        LedgerWriteError: when BigQuery took a job and failed.
        GoogleAPIError, JobRunningError: when an outcome is not known.
    """
    for start in range(0, len(results), _CHUNK):
        rows = results[start : start + _CHUNK]
        parameters: dict[str, Value] = {"rows": rows, "now": now, "run_id": run_id}
        outcome = warehouse.write(f"compared-{run_id}-{kind}-{start}", "record_comparisons", parameters)
        if outcome.error is not None:
            raise LedgerWriteError(f"{outcome.job_id}: {outcome.error}")
