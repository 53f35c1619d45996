"""The app database on one machine: SQLite, one table of JSON documents, shared by several processes.

Before every operation the armed faults of :mod:`tallygate.appdb.faults` apply; outside tests and sandboxes
there are none.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from tallygate.appdb import faults
from tallygate.appdb.interface import (
    Condition,
    DatabaseUnavailableError,
    Document,
    ReadAfterWriteError,
    Transaction,
    order_of,
)

T = TypeVar("T")

_BUSY_TIMEOUT_SECONDS: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
  collection TEXT NOT NULL,
  id TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (collection, id)
) WITHOUT ROWID
"""


class SQLiteDatabase:
    """Documents in a SQLite file. One connection per thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._faults = faults.faults_path(path)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connections_lock = threading.Lock()
        with self._guard("") as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SCHEMA)

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None."""
        with self._guard(collection) as connection:
            return _get(connection, collection, document_id)

    def create(self, collection: str, document_id: str, document: Mapping[str, Any]) -> bool:
        """Write a new document; False, and nothing written, if the id is taken."""
        with self._guard(collection) as connection:
            cursor = connection.execute(
                "INSERT INTO documents (collection, id, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (collection, document_id, json.dumps(document)),
            )
            return cursor.rowcount == 1

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Write the whole document, replacing what was there."""
        with self._guard(collection) as connection:
            _put(connection, collection, document_id, document)

    def delete(self, collection: str, document_id: str) -> None:
        """Remove the document, if it is there."""
        with self._guard(collection) as connection:
            _delete(connection, collection, document_id)

    def increment(self, collection: str, document_id: str, by: Mapping[str, int]) -> None:
        """Add to integer fields, atomically; a missing document or field counts as 0."""

        def add(transaction: Transaction) -> None:
            document = transaction.get(collection, document_id) or {}
            for field, amount in by.items():
                document[field] = document.get(field, 0) + amount
            transaction.put(collection, document_id, document)

        self.transact(add)

    def query(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> list[tuple[str, Document]]:
        """Ids and documents that meet all conditions, ordered by the field, else by a range's, else by id."""
        order = order_of(conditions, order_by)
        sql = "SELECT id, body FROM documents WHERE collection = ?"
        parameters: list[Any] = [collection]
        for condition in conditions:
            operator = {"==": "="}.get(condition.operator, condition.operator)
            kinds = _kinds(condition.value)
            sql += f" AND json_type(body, ?) IN ({kinds}) AND json_extract(body, ?) {operator} ?"
            parameters += [_path(condition.field), _path(condition.field), condition.value]
        if order is None:
            sql += " ORDER BY id"
        else:
            sql += " AND json_type(body, ?) IS NOT NULL ORDER BY json_extract(body, ?), id"
            parameters += [_path(order), _path(order)]
        if limit is not None:
            sql += " LIMIT ?"
            parameters.append(limit)
        with self._guard(collection) as connection:
            return [(row[0], json.loads(row[1])) for row in connection.execute(sql, parameters)]

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body`` in a transaction that excludes other writers; its result."""
        with self._guard("") as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = body(_SQLiteTransaction(connection))
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            return result

    def close(self) -> None:
        """Close every thread's connection."""
        with self._connections_lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    @contextmanager
    def _guard(self, collection: str) -> Iterator[sqlite3.Connection]:
        self._inject(collection)
        try:
            yield self._connection()
        except sqlite3.OperationalError as error:
            raise DatabaseUnavailableError(str(error)) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = connection
            with self._connections_lock:
                self._connections.append(connection)
        return connection

    def _inject(self, collection: str) -> None:
        for fault in faults.take(self._faults, collection):
            if fault["kind"] == "outage":
                raise DatabaseUnavailableError("the app database is down (injected)")
            time.sleep(fault.get("seconds", faults.DEFAULT_LATENCY_SECONDS))


class _SQLiteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._wrote = False

    def get(self, collection: str, document_id: str) -> Document | None:
        if self._wrote:
            raise ReadAfterWriteError("a transaction reads all it needs before its first write")
        return _get(self._connection, collection, document_id)

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        self._wrote = True
        _put(self._connection, collection, document_id, document)

    def delete(self, collection: str, document_id: str) -> None:
        self._wrote = True
        _delete(self._connection, collection, document_id)


def _get(connection: sqlite3.Connection, collection: str, document_id: str) -> Document | None:
    row = connection.execute(
        "SELECT body FROM documents WHERE collection = ? AND id = ?", (collection, document_id)
    ).fetchone()
    if row is None:
        return None
    document: Document = json.loads(row[0])
    return document


def _put(
    connection: sqlite3.Connection, collection: str, document_id: str, document: Mapping[str, Any]
) -> None:
    connection.execute(
        "INSERT INTO documents (collection, id, body) VALUES (?, ?, ?)"
        " ON CONFLICT (collection, id) DO UPDATE SET body = excluded.body",
        (collection, document_id, json.dumps(document)),
    )


def _delete(connection: sqlite3.Connection, collection: str, document_id: str) -> None:
    connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", (collection, document_id))


def _kinds(value: str | int | bool) -> str:
    """SQLite's names of the JSON types that a value is compared with: other kinds never match."""
    if isinstance(value, bool):
        return "'true', 'false'"
    return "'integer', 'real'" if isinstance(value, int) else "'text'"


def _path(field: str) -> str:
    return "$." + json.dumps(field)
