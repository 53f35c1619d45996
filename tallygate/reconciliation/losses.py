"""Finds usage that is known to have happened and never reached the ledger, by witnesses on other paths.

Each finding is told once: a run looks at what was written since the run before it, but for the last
:data:`SETTLED_AFTER`, in which a request may still be in flight and a line on its way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tallygate.appdb import Database
from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.logs import emit
from tallygate.metering.warehouse import Value, Warehouse

SETTLED_AFTER: Final = timedelta(minutes=30)
"""A request takes 15 minutes at most and is drained for one; a line is usually there in seconds."""
FIRST_LOOK: Final = timedelta(days=1)
LONGEST_LOOK: Final = timedelta(days=2)
"""After a long pause of the job: the daily numbers are in the views."""
_MARK: Final = "losses"
_TOLD: Final = 50
"""Lines of one kind and run at most; the summary counts all."""

DETECTORS: Final = {
    "losses_unrecorded": ("unrecorded_usage", "admit_line"),
    "losses_requests": ("unrecorded_usage", "request_log"),
    "losses_gaps": ("sequence_gap", "sequence"),
    "losses_export_errors": ("export_errors", "export_errors"),
}
"""Statement → the event that tells of a finding, and the witness."""
DAILY_DETECTORS: Final = {"losses_too_old": ("unrecorded_usage", "too_old")}
"""As above; they read much, and once a day."""
LOOKED_BACK: Final = timedelta(days=35)
"""Usage lines of older hours are in no scheduled run's window."""
KEPT: Final = timedelta(days=400)
"""Raw lines are kept for so long."""
_DAILY_MARK: Final = "losses-daily"
_COUNTED: Final = {"unrecorded_usage": "requests", "sequence_gap": "missing", "export_errors": "lines"}


@dataclass(frozen=True, slots=True)
class Losses:
    """What was found: the sum of each kind."""

    unrecorded_usage: int = 0
    """Requests."""
    sequence_gap: int = 0
    """Lines."""
    export_errors: int = 0
    """Lines."""


def find_losses(
    warehouse: Warehouse, database: Database, now: datetime, *, job: str, run_id: str, daily: bool = False
) -> Losses:
    """Look at what is new since the last look, tell it, and remember how far it was looked at.

    ``daily``: by the detectors of once a day too.

    Raises:
        GoogleAPIError, JobRunningError: when the warehouse can't be read; the next run looks again.
        DatabaseUnavailableError: when the mark can't be read or written.
    """
    facts = {"job": job, "run_id": run_id}
    found: Counter[str] = Counter()
    for mark, detectors in ((_MARK, DETECTORS), (_DAILY_MARK, DAILY_DETECTORS if daily else {})):
        found.update(_look(warehouse, database, now, mark, detectors, facts))
    return Losses(**found)


def _look(
    warehouse: Warehouse,
    database: Database,
    now: datetime,
    mark_id: str,
    detectors: Mapping[str, tuple[str, str]],
    facts: Mapping[str, str],
) -> Counter[str]:
    found: Counter[str] = Counter()
    end = now - SETTLED_AFTER
    mark = database.get("watermarks", mark_id) if detectors else None
    start = max(end - FIRST_LOOK if mark is None else parse_rfc3339(mark["until"]), now - LONGEST_LOOK)
    if start >= end or not detectors:
        return found
    for statement, (event, witness) in detectors.items():
        bounds: dict[str, Value] = {
            "window_start": start,
            "window_end": end,
            "looked_back": now - LOOKED_BACK,
            "oldest": now - KEPT,
        }
        rows = warehouse.read(statement, bounds)
        found[event] += sum(row[_COUNTED[event]] for row in rows)
        _tell(event, rows, {**facts, "witness": witness})
    database.put("watermarks", mark_id, {"until": rfc3339(end)})
    return found


def _tell(event: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, str]) -> None:
    for row in rows[:_TOLD]:
        shown = {
            name: rfc3339(value) if isinstance(value, datetime) else value
            for name, value in row.items()
            if value not in (None, "")
        }
        emit(event, "ERROR", **facts, **shown)
