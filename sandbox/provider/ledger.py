"""What the double would charge: one row per request id, attempt and token class, written through to disk."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CLASSES: Final = ("input", "cached_input", "cache_write", "output")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS attempts (
  request_id TEXT NOT NULL, attempt INTEGER NOT NULL, model TEXT NOT NULL,
  input INTEGER NOT NULL, cached_input INTEGER NOT NULL, cache_write INTEGER NOT NULL,
  output INTEGER NOT NULL, reported INTEGER NOT NULL, completed INTEGER NOT NULL,
  PRIMARY KEY (request_id, attempt)
) WITHOUT ROWID
"""


@dataclass(slots=True)
class Charge:
    """One provider call, disjoint token classes."""

    request_id: str
    attempt: int
    model: str
    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    """Of ``output``; not charged by itself."""

    @property
    def prompt(self) -> int:
        """All tokens that went in."""
        return self.input + self.cached_input + self.cache_write


class Ledger:
    """The ledger's file. Used from one thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")  # survives the process, not the machine
        self._connection.execute(_SCHEMA)

    def open(self, request_id: str, model: str) -> Charge:
        """A new attempt of a request; it has cost nothing yet."""
        row = self._connection.execute(
            "SELECT COALESCE(MAX(attempt), 0) + 1 FROM attempts WHERE request_id = ?", (request_id,)
        ).fetchone()
        charge = Charge(request_id, row[0], model)
        self.write(charge, reported=False, completed=False)
        return charge

    def write(self, charge: Charge, *, reported: bool, completed: bool) -> None:
        """Charge what an attempt has used so far."""
        self._connection.execute(
            "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                charge.request_id, charge.attempt, charge.model, charge.input, charge.cached_input,
                charge.cache_write, charge.output, reported, completed,
            ),
        )  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """The ledger as ``/_sandbox/ledger`` shows it; an attempt that cost nothing has one row of 0."""
        rows = []
        for row in self._connection.execute("SELECT * FROM attempts ORDER BY request_id, attempt"):
            request_id, attempt, model, *tokens, reported, completed = row
            common = {"request_id": request_id, "attempt": attempt, "model": model}
            ends = {"reported": bool(reported), "completed": bool(completed)}
            charged = [(name, n) for name, n in zip(CLASSES, tokens, strict=True) if n] or [("input", 0)]
            rows += [{**common, "class": name, "tokens": n, **ends} for name, n in charged]
        return rows
