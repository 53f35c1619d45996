"""How far back, by hour of usage, rows lie that were booked lately.

Nearly all rows are booked within 35 days of their hour. Replays of older hours are rare; what looks for rows
by their hour, to send or to compare them, is told of one here, and need not read the whole ledger each time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from tallygate.appdb import Database
from tallygate.clock import parse_rfc3339, rfc3339

ORDINARY: Final = timedelta(days=35)
"""Hours that scheduled runs seal."""
REMEMBERED: Final = timedelta(days=45)
"""What is booked is sent and compared within 35 days."""
_MARK: Final = "old-usage"


def note_reach(database: Database, start: datetime, now: datetime) -> None:
    """Written before hours from ``start`` on are sealed; nothing for hours that are looked at anyway.

    Raises:
        DatabaseUnavailableError: when it can't be written: don't seal.
    """
    if start >= now - ORDINARY - timedelta(hours=1):
        return
    since = min(start, reach(database, start, now))
    database.put("watermarks", _MARK, {"since": rfc3339(since), "noted_at": rfc3339(now)})


def reach(database: Database, ordinary: datetime, now: datetime) -> datetime:
    """From when on to look: ``ordinary``, or the oldest hour of a replay of the last :data:`REMEMBERED`.

    Raises:
        DatabaseUnavailableError: when it can't be read.
    """
    mark = database.get("watermarks", _MARK)
    if mark is None or parse_rfc3339(mark["noted_at"]) < now - REMEMBERED:
        return ordinary
    return min(ordinary, parse_rfc3339(mark["since"]))
