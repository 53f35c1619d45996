"""What the double would charge: one row per request id, attempt and token class, written through to disk.

* ``attempt`` counts the calls of a request id in the order of their arrival, over all models; refused ones
  count too.
* An attempt that failed before any output costs nothing: one row of 0 tokens, ``completed`` false.
* An answer that is not streamed is charged whole when it is ready, whether or not the client is still there.
* A stream charges its prompt when it begins and its output as it is generated, ahead of sending: when it is
  cut, when the client goes and when the double is killed, the rows hold what had been generated, with
  ``completed`` false.
* ``reported``: the answer said what was used.
"""

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
_OPEN: Final = """
INSERT INTO attempts
SELECT ?1, COALESCE(MAX(attempt), 0) + 1, ?2, 0, 0, 0, 0, 0, 0 FROM attempts WHERE request_id = ?1
RETURNING attempt
"""
_WRITE: Final = """
UPDATE attempts SET input = ?, cached_input = ?, cache_write = ?, output = ?, reported = ?, completed = ?
WHERE request_id = ? AND attempt = ?
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

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def open(self, request_id: str, model: str) -> Charge:
        """A new attempt of a request; it has cost nothing yet."""
        (attempt,) = self._connection.execute(_OPEN, (request_id, model)).fetchone()
        return Charge(request_id, attempt, model)

    def write(self, charge: Charge, *, reported: bool, completed: bool) -> None:
        """Charge what an attempt has used so far."""
        tokens = (charge.input, charge.cached_input, charge.cache_write, charge.output)
        self._connection.execute(_WRITE, (*tokens, reported, completed, charge.request_id, charge.attempt))

    def rows(self, request_id: str | None = None) -> list[dict[str, Any]]:
        """The ledger, or that of one request, as ``/_sandbox/ledger`` shows it.

        A class without tokens has no row; an attempt that cost nothing has one row of 0.
        """
        query = "SELECT * FROM attempts WHERE ?1 IS NULL OR request_id = ?1 ORDER BY request_id, attempt"
        rows = []
        for row in self._connection.execute(query, (request_id,)):
            found, attempt, model, *tokens, reported, completed = row
            common = {"request_id": found, "attempt": attempt, "model": model}
            ends = {"reported": bool(reported), "completed": bool(completed)}
            charged = [(name, n) for name, n in zip(CLASSES, tokens, strict=True) if n] or [("input", 0)]
            rows += [{**common, "class": name, "tokens": n, **ends} for name, n in charged]
        return rows
