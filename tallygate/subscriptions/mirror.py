"""Copies billing segments from the app database to the warehouse, where usage is attributed by them.

Streaming inserts with the row's own id: a repeat after a crash is dropped by BigQuery within a minute or so,
and where it is not, the second copy says the same as the first and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from tallygate.appdb import Condition, Database

_AT_ONCE: Final = 500


class MirrorError(Exception):
    """The warehouse refused rows."""


class SegmentTable(Protocol):
    """The table ``billing_segments``."""

    def append(self, rows: Sequence[Mapping[str, Any]], row_ids: Sequence[str]) -> None:
        """Append rows.

        Raises:
            MirrorError: when the warehouse refuses some.
            GoogleAPIError: when it can't be reached.
        """
        ...


def mirror(database: Database, table: SegmentTable) -> int:
    """Copy what is not copied yet; how many rows."""
    waiting = database.query("segments", [Condition("mirrored", "==", False)], limit=_AT_ONCE)
    if not waiting:
        return 0
    rows = [{name: value for name, value in row.items() if name != "mirrored"} for _, row in waiting]
    table.append(rows, [document_id for document_id, _ in waiting])
    for document_id, row in waiting:
        database.put("segments", document_id, {**row, "mirrored": True})
    return len(waiting)
