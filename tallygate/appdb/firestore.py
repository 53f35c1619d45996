"""The app database in Google Cloud: Firestore in native mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from google.api_core import exceptions
from google.cloud import firestore

from tallygate.appdb.interface import Condition, DatabaseUnavailableError, Document, Transaction

T = TypeVar("T")

_TIMEOUT_SECONDS: Final = 5.0
_UNAVAILABLE: Final = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.RetryError,
    exceptions.Aborted,
)


class FirestoreDatabase:
    """Documents in one named Firestore database; honours ``FIRESTORE_EMULATOR_HOST``."""

    def __init__(self, *, project_id: str, database: str) -> None:
        self._client = firestore.Client(project=project_id, database=database)

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None."""
        return _answered(
            lambda: _content(self._reference(collection, document_id).get(timeout=_TIMEOUT_SECONDS))
        )

    def create(self, collection: str, document_id: str, document: Mapping[str, Any]) -> bool:
        """Write a new document; False, and nothing written, if the id is taken."""
        reference = self._reference(collection, document_id)
        try:
            _answered(lambda: reference.create(dict(document), timeout=_TIMEOUT_SECONDS))
        except exceptions.AlreadyExists:
            return False
        return True

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Write the whole document, replacing what was there."""
        reference = self._reference(collection, document_id)
        _answered(lambda: reference.set(dict(document), timeout=_TIMEOUT_SECONDS))

    def delete(self, collection: str, document_id: str) -> None:
        """Remove the document, if it is there."""
        reference = self._reference(collection, document_id)
        _answered(lambda: reference.delete(timeout=_TIMEOUT_SECONDS))

    def increment(self, collection: str, document_id: str, by: Mapping[str, int]) -> None:
        """Add to integer fields, atomically; a missing document or field counts as 0."""
        reference = self._reference(collection, document_id)
        changes = {field: firestore.Increment(amount) for field, amount in by.items()}
        _answered(lambda: reference.set(changes, merge=True, timeout=_TIMEOUT_SECONDS))

    def query(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> list[tuple[str, Document]]:
        """Ids and documents that meet all conditions, ordered by the field, else by id."""
        query: Any = self._client.collection(collection)
        for condition in conditions:
            query = query.where(
                filter=firestore.FieldFilter(condition.field, condition.operator, condition.value)
            )
        if order_by is not None:
            query = query.order_by(order_by)
        if limit is not None:
            query = query.limit(limit)
        rows = _answered(lambda: list(query.stream(timeout=_TIMEOUT_SECONDS)))
        found = [(snapshot.id, snapshot.to_dict()) for snapshot in rows]
        return found if order_by is not None else sorted(found, key=lambda row: str(row[0]))

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body`` in a transaction, again when another one interfered; its result."""

        @firestore.transactional  # type: ignore[untyped-decorator]
        def run(transaction: Any) -> T:
            return body(_FirestoreTransaction(self._client, transaction))

        result: T = _answered(lambda: run(self._client.transaction(max_attempts=10)))
        return result

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _reference(self, collection: str, document_id: str) -> Any:
        return self._client.collection(collection).document(document_id)


class _FirestoreTransaction:
    def __init__(self, client: Any, transaction: Any) -> None:
        self._client = client
        self._transaction = transaction

    def get(self, collection: str, document_id: str) -> Document | None:
        reference = self._client.collection(collection).document(document_id)
        return _content(reference.get(transaction=self._transaction, timeout=_TIMEOUT_SECONDS))

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        self._transaction.set(self._client.collection(collection).document(document_id), dict(document))

    def delete(self, collection: str, document_id: str) -> None:
        self._transaction.delete(self._client.collection(collection).document(document_id))


def _content(snapshot: Any) -> Document | None:
    content: Document | None = snapshot.to_dict() if snapshot.exists else None
    return content


def _answered(call: Callable[[], T]) -> T:
    """The call's result, with Firestore's ways of being away turned into one.

    Raises:
        DatabaseUnavailableError: when Firestore can't be reached or is too busy.
    """
    try:
        return call()
    except exceptions.AlreadyExists:
        raise
    except _UNAVAILABLE as error:
        raise DatabaseUnavailableError(str(error)) from error
    except ValueError as error:  # how the client reports a transaction that lost every attempt
        if "Failed to commit transaction" in str(error):
            raise DatabaseUnavailableError(str(error)) from error
        raise
