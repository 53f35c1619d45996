"""An app database that is opened when it is first used: a process can start, and answer, while it is down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from google.auth.exceptions import GoogleAuthError

from tallygate.appdb.interface import Condition, Database, DatabaseUnavailableError, Document, Transaction

T = TypeVar("T")


class OpenedLater:
    """A database behind a function that opens it; a failed opening is tried again at the next use."""

    def __init__(self, open_: Callable[[], Database]) -> None:
        self._open = open_
        self._opened: Database | None = None
        self._lock = threading.Lock()

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None."""
        return self._database().get(collection, document_id)

    def create(self, collection: str, document_id: str, document: Mapping[str, Any]) -> bool:
        """Write a new document; False, and nothing written, if the id is taken."""
        return self._database().create(collection, document_id, document)

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Write the whole document, replacing what was there."""
        self._database().put(collection, document_id, document)

    def delete(self, collection: str, document_id: str) -> None:
        """Remove the document, if it is there."""
        self._database().delete(collection, document_id)

    def increment(self, collection: str, document_id: str, by: Mapping[str, int]) -> None:
        """Add to integer fields, atomically; a missing document or field counts as 0."""
        self._database().increment(collection, document_id, by)

    def query(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> list[tuple[str, Document]]:
        """Ids and documents that meet all conditions, ordered by the field, else by a range's, else by id."""
        return self._database().query(collection, conditions, order_by=order_by, limit=limit)

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body`` in a transaction, again when another one interfered; its result."""
        return self._database().transact(body)

    def close(self) -> None:
        """Let go of connections, if there are any."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _database(self) -> Database:
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open()
                except GoogleAuthError as error:  # at a cold start the metadata server may not answer yet
                    raise DatabaseUnavailableError(f"no credentials: {error}") from error
            return self._opened
