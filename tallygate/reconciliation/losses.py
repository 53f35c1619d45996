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
_TOLD: Final = 50
"""Lines of one kind and run at most; the summary counts all."""

DETECTORS: Final = {
    "losses_unrecorded": ("unrecorded_usage", "admit_line"),
    "losses_requests": ("unrecorded_usage", "request_log"),
    "losses_gaps": ("sequence_gap", "sequence"),
    "losses_export_errors": ("export_errors", "export_errors"),
}
"""Statement → the event that tells of a finding, and the witness."""
TOO_OLD: Final = {"losses_too_old": ("unrecorded_usage", "too_old")}
"""As above: lines of hours that no scheduled run looks at. It reads every line of its days."""
LOOKED_BACK: Final = timedelta(days=35)
"""Usage lines of older hours are in no scheduled run's window."""
OLD: Final = timedelta(days=65)
"""Lines that were younger when they were received are looked for every day, older ones once a week."""
KEPT: Final = timedelta(days=400)
"""Raw lines are kept for so long."""
_COUNTED: Final = {"unrecorded_usage": "requests", "sequence_gap": "missing", "export_errors": "lines"}


@dataclass(frozen=True, slots=True)
class _Look:
    """Detectors that share a mark, up to which they have looked at what was received."""

    mark: str
    detectors: Mapping[str, tuple[str, str]]
    oldest: timedelta = timedelta(0)
    """For the detector of old lines: their age now, at most,"""
    newest: timedelta = timedelta(0)
    """and at least."""
    very_late: bool = False
    """It looks for lines that were older than ``OLD`` when they were received, and not for younger ones."""
    apart: timedelta = timedelta(0)
    """They look again only when so much was received since."""


_NEW: Final = _Look("losses", DETECTORS)
_LATE: Final = _Look("losses-daily", TOO_OLD, OLD + LONGEST_LOOK, LOOKED_BACK)
_VERY_LATE: Final = _Look("losses-weekly", TOO_OLD, KEPT, OLD, very_late=True, apart=timedelta(days=7))


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

    ``daily``: for lines that came too late too.

    Raises:
        GoogleAPIError, JobRunningError: when the warehouse can't be read; the next run looks again.
        DatabaseUnavailableError: when the mark can't be read or written.
    """
    facts = {"job": job, "run_id": run_id}
    found: Counter[str] = Counter()
    for look in (_NEW, _LATE, _VERY_LATE) if daily else (_NEW,):
        found.update(_look(warehouse, database, now, look, facts))
    return Losses(**found)


def _look(
    warehouse: Warehouse, database: Database, now: datetime, look: _Look, facts: Mapping[str, str]
) -> Counter[str]:
    found: Counter[str] = Counter()
    end = now - SETTLED_AFTER
    mark = database.get("watermarks", look.mark)
    start = end - FIRST_LOOK if mark is None else parse_rfc3339(mark["until"])
    start = max(start, now - LONGEST_LOOK - look.apart)
    if start >= end or (mark is not None and end - start < look.apart):
        return found
    for statement, (event, witness) in look.detectors.items():
        bounds: dict[str, Value] = {
            "window_start": start,
            "window_end": end,
            "oldest": now - look.oldest,
            "newest": now - look.newest,
            "old_days": OLD.days,
            "very_late": look.very_late,
        }
        rows = warehouse.read(statement, bounds)
        found[event] += sum(row[_COUNTED[event]] for row in rows)
        _tell(event, rows, {**facts, "witness": witness})
    database.put("watermarks", look.mark, {"until": rfc3339(end)})
    return found


def _tell(event: str, rows: Sequence[Mapping[str, Any]], facts: Mapping[str, str]) -> None:
    for row in rows[:_TOLD]:
        shown = {
            name: rfc3339(value) if isinstance(value, datetime) else value
            for name, value in row.items()
            if value not in (None, "")
        }
        emit(event, "ERROR", **facts, **shown)
