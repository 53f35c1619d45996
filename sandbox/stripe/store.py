"""Everything that outlives the process: one SQLite file, one transaction per request.

What a request changed is on disk before it is answered; a killed process loses nothing that it confirmed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sandbox.stripe.errors import missing_object

Document = dict[str, Any]
"""An object as the API shows it."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT,
  document TEXT NOT NULL, earlier TEXT
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, owner, seq);
CREATE INDEX IF NOT EXISTS subscriptions_by_end
  ON objects (json_extract(document, '$.items[0].current_period_end'))
  WHERE kind = 'subscription'
  AND json_extract(document, '$.status') IN ('active', 'trialing', 'past_due', 'unpaid');
CREATE INDEX IF NOT EXISTS invoices_by_finalization
  ON objects (json_extract(document, '$.automatically_finalizes_at'))
  WHERE kind = 'invoice' AND json_extract(document, '$.auto_advance') = 1;
CREATE TABLE IF NOT EXISTS meter_events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, identifier TEXT NOT NULL, event_name TEXT NOT NULL, meter TEXT,
  customer TEXT, value INTEGER, at INTEGER NOT NULL, received_at INTEGER NOT NULL,
  visible_at INTEGER NOT NULL, refused TEXT, request_key TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0,
  canceled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS meter_events_by_identifier ON meter_events (identifier, received_at);
CREATE INDEX IF NOT EXISTS meter_events_by_time ON meter_events (meter, customer, at);
CREATE INDEX IF NOT EXISTS meter_events_untold ON meter_events (told, visible_at);
CREATE TABLE IF NOT EXISTS answers (
  version TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, status INTEGER NOT NULL,
  body TEXT NOT NULL, request_id TEXT NOT NULL, answered_at INTEGER NOT NULL, PRIMARY KEY (version, key)
);
CREATE TABLE IF NOT EXISTS deliveries (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, type TEXT NOT NULL, object TEXT,
  endpoint TEXT NOT NULL, due_at INTEGER NOT NULL, state TEXT NOT NULL, tried INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS deliveries_by_time ON deliveries (state, due_at);
CREATE INDEX IF NOT EXISTS deliveries_by_object ON deliveries (object, type);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, expires_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS timers (
  kind TEXT NOT NULL, object TEXT NOT NULL, due_at INTEGER NOT NULL, PRIMARY KEY (kind, object)
);
CREATE INDEX IF NOT EXISTS timers_by_time ON timers (due_at);
"""
"""Moments are whole microseconds since the epoch."""


class Store:
    """The account's objects, meter events and remembered answers. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.changes = 0
        """Grows with every change of an object, rolled back ones included."""
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")  # survives the process, not the machine
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; not to be nested."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.changes += 1
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """One statement, in the transaction that is open."""
        return self._connection.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> Sequence[sqlite3.Row]:
        """All rows of a query."""
        return self.execute(sql, *values).fetchall()

    def count(self, sql: str, *values: Any) -> int:
        """The one number that a query answers."""
        number: int = self.execute(sql, *values).fetchone()[0]
        return number

    def add(self, kind: str, document: Document, *, owner: str | None = None) -> Document:
        """Keep a new object; ``owner`` is what lists of this kind are asked by (a customer, a meter)."""
        self.changes += 1
        self.execute(
            "INSERT INTO objects (id, kind, owner, document) VALUES (?, ?, ?, ?)",
            document["id"],
            kind,
            owner,
            json.dumps(document),
        )
        return document

    def save(self, document: Document) -> Document:
        """Replace an object; what it was before stays readable as its earlier state."""
        self.changes += 1
        self.execute(
            "UPDATE objects SET earlier = document, document = ? WHERE id = ?",
            json.dumps(document),
            document["id"],
        )
        return document

    def remove(self, object_id: str) -> None:
        """Forget an object."""
        self.execute("DELETE FROM objects WHERE id = ?", object_id)

    def mark(self, name: str) -> int:
        """A number kept under a name; 0 before it is set."""
        row = self.execute("SELECT value FROM marks WHERE name = ?", name).fetchone()
        return 0 if row is None else int(row["value"])

    def set_mark(self, name: str, value: int) -> None:
        """Keep a number under a name."""
        self.execute("INSERT OR REPLACE INTO marks (name, value) VALUES (?, ?)", name, value)

    def find(self, kind: str, object_id: str, *, stale: bool = False) -> Document | None:
        """An object, or None; ``stale``: as it was before its last change."""
        column = "COALESCE(earlier, document)" if stale else "document"
        sql = f"SELECT {column} AS shown FROM objects WHERE id = ? AND kind = ?"  # noqa: S608 - no input in it
        row = self.execute(sql, object_id, kind).fetchone()
        return None if row is None else json.loads(row["shown"])

    def get(self, kind: str, object_id: str, *, param: str = "id", stale: bool = False) -> Document:
        """An object.

        Raises:
            StripeRefusalError: 404 when there is none.
        """
        found = self.find(kind, object_id, stale=stale)
        if found is None:
            raise missing_object(kind.replace("_", " "), object_id, param)
        return found

    def versions(self, object_id: str) -> tuple[Document, Document]:
        """An object as it is kept and as it was before its last change (the same, if there was none)."""
        row = self.execute(
            "SELECT document, COALESCE(earlier, document) AS earlier FROM objects WHERE id = ?", object_id
        ).fetchone()
        return json.loads(row["document"]), json.loads(row["earlier"])

    def every(
        self, kind: str, *, owner: str | None = None, newest_first: bool = False, stale: bool = False
    ) -> list[Document]:
        """All objects of a kind, of one owner if given, in the order of making."""
        column = "COALESCE(earlier, document)" if stale else "document"
        order = "DESC" if newest_first else "ASC"
        owned, values = ("", (kind,)) if owner is None else ("AND owner = ? ", (kind, owner))
        sql = f"SELECT {column} AS shown FROM objects WHERE kind = ? {owned}ORDER BY seq {order}"  # noqa: S608
        return [json.loads(row["shown"]) for row in self.rows(sql, *values)]

    def change(self, kind: str, object_id: str, edit: Callable[[Document], None]) -> Document:
        """Read, edit and save an object.

        Raises:
            StripeRefusalError: 404 when there is none.
        """
        document = self.get(kind, object_id)
        edit(document)
        return self.save(document)


def merge_metadata(document: Document, params: Mapping[str, Any]) -> None:
    """Stripe's rule for metadata: keys are merged, an empty value removes its key, ``""`` removes all."""
    given = params.get("metadata")
    if given is None:
        return
    if given == "":
        document["metadata"] = {}
        return
    merged = {**document.get("metadata", {}), **given}
    document["metadata"] = {name: value for name, value in merged.items() if value != ""}
