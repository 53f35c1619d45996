"""What the router must not forget: how far each file is read, and which entries wait for delivery.

An entry is written here in the transaction that moves its file's offset on, and goes only after BigQuery has
taken it: a router that is killed anywhere in between loses nothing, and delivers at worst twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (
    name TEXT PRIMARY KEY, generation INTEGER NOT NULL, offset INTEGER NOT NULL, skipping INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY, target TEXT NOT NULL, due INTEGER NOT NULL, row_id TEXT NOT NULL,
    sink TEXT NOT NULL, entry TEXT NOT NULL, misfit TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS waiting_by_due ON waiting (target, due, id);
"""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file is read."""

    name: str
    generation: int = 0
    """How often the file has been made anew under its name."""
    offset: int = 0
    skipping: bool = False
    """The rest of an overlong line comes next."""

    def moved(self, to: int, *, skipping: bool = False) -> Position:
        """Further in the same file."""
        return replace(self, offset=to, skipping=skipping)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row to deliver."""

    target: str
    """The table."""
    due: datetime
    row_id: str
    """What BigQuery deduplicates by, as far as it does: one line's row keeps it over redeliveries."""
    sink: str
    entry: str
    """The LogEntry as JSON."""
    misfit: str | None = None
    """Why the entry did not fit its own table; it goes to the export-errors table then."""
    id: int = 0

    def log_entry(self) -> dict[str, Any]:
        """The entry."""
        found: dict[str, Any] = json.loads(self.entry)
        return found


class Journal:
    """The SQLite file under ``--state``. One caller at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # The file must outlive the process, not the machine: no disk is waited for.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def positions(self) -> dict[str, Position]:
        """How far each known file is read."""
        found = self._connection.execute("SELECT name, generation, offset, skipping FROM files")
        return {name: Position(name, number, at, bool(skips)) for name, number, at, skips in found}

    def take(self, position: Position, rows: Iterable[Waiting]) -> None:
        """Keep the rows of what has been read up to a position."""
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO waiting (target, due, row_id, sink, entry, misfit) VALUES (?, ?, ?, ?, ?, ?)",
                [(r.target, _micros(r.due), r.row_id, r.sink, r.entry, r.misfit) for r in rows],
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                (position.name, position.generation, position.offset, position.skipping),
            )

    def targets(self, now: datetime) -> list[str]:
        """The tables that rows are due for."""
        found = self._connection.execute(
            "SELECT DISTINCT target FROM waiting WHERE due <= ? ORDER BY target", (_micros(now),)
        )
        return [target for (target,) in found]

    def due(self, target: str, now: datetime, count: int) -> list[Waiting]:
        """The first rows that are due for a table, in the order in which they are."""
        found = self._connection.execute(
            "SELECT target, due, row_id, sink, entry, misfit, id FROM waiting"
            " WHERE target = ? AND due <= ? ORDER BY due, id LIMIT ?",
            (target, _micros(now), count),
        )
        return [Waiting(row[0], _moment(row[1]), *row[2:]) for row in found]

    def next_due(self) -> datetime | None:
        """When the first of the waiting rows is due."""
        (first,) = self._connection.execute("SELECT MIN(due) FROM waiting").fetchone()
        return None if first is None else _moment(first)

    def settle(self, delivered: Iterable[int], misfits: Mapping[int, str], errors_table: str) -> None:
        """Drop what is delivered; send what did not fit, with its reason, to the export-errors table."""
        with self._transaction():
            self._connection.executemany("DELETE FROM waiting WHERE id = ?", [(one,) for one in delivered])
            self._connection.executemany(
                "UPDATE waiting SET target = ?, misfit = ? WHERE id = ?",
                [(errors_table, detail, one) for one, detail in misfits.items()],
            )

    def postpone(self, rows: Iterable[int], until: datetime) -> None:
        """Try these again later: BigQuery did not take them now."""
        with self._transaction():
            self._connection.executemany(
                "UPDATE waiting SET due = ? WHERE id = ?", [(_micros(until), one) for one in rows]
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
