"""The app database in Google Cloud: Firestore in native mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore

from tallygate.appdb.interface import (
    DELETE_AT,
    EXPIRING,
    Condition,
    DatabaseContendedError,
    DatabaseUnavailableError,
    Document,
    ReadAfterWriteError,
    Transaction,
    order_of,
)
from tallygate.clock import parse_rfc3339, rfc3339

T = TypeVar("T")

_TIMEOUT_SECONDS: Final = 5.0
"""The client's own retries go on for one to five minutes; a request of a tenant can't wait for that."""
_RETRY: Final = Retry(
    predicate=if_exception_type(exceptions.ServiceUnavailable),
    initial=0.1,
    maximum=1.0,
    timeout=_TIMEOUT_SECONDS,
)
_MOST_ATTEMPTS: Final = 10
"""Of a transaction that others interfere with."""
_CALLS: Final = frozenset({"batch_get_documents", "begin_transaction", "commit", "rollback", "run_query"})
_UNAVAILABLE: Final = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.RetryError,
)


class FirestoreDatabase:
    """Documents in one named Firestore database; honours ``FIRESTORE_EMULATOR_HOST``."""

    def __init__(self, *, project_id: str, database: str) -> None:
        self._client = firestore.Client(project=project_id, database=database)
        self._client._firestore_api_internal = _Bounded(self._client._firestore_api)

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None."""
        return _answered(lambda: _content(collection, self._reference(collection, document_id).get()))

    def create(self, collection: str, document_id: str, document: Mapping[str, Any]) -> bool:
        """Write a new document; False, and nothing written, if the id is taken."""
        reference = self._reference(collection, document_id)
        try:
            _answered(lambda: reference.create(_stored(collection, document)))
        except exceptions.AlreadyExists:
            return False
        return True

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Write the whole document, replacing what was there."""
        reference = self._reference(collection, document_id)
        _answered(lambda: reference.set(_stored(collection, document)))

    def delete(self, collection: str, document_id: str) -> None:
        """Remove the document, if it is there."""
        reference = self._reference(collection, document_id)
        _answered(lambda: reference.delete())

    def increment(self, collection: str, document_id: str, by: Mapping[str, int]) -> None:
        """Add to integer fields, atomically; a missing document or field counts as 0."""
        reference = self._reference(collection, document_id)
        changes = {field: firestore.Increment(amount) for field, amount in by.items()}
        _answered(lambda: reference.set(changes, merge=True))

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
        query: Any = self._client.collection(collection)
        for condition in conditions:
            query = query.where(
                filter=firestore.FieldFilter(condition.field, condition.operator, condition.value)
            )
        if order is not None:
            query = query.order_by(order)
        if limit is not None:
            query = query.limit(limit)
        rows = _answered(lambda: list(query.stream()))
        return [(snapshot.id, _read(collection, snapshot.to_dict())) for snapshot in rows]

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body`` in a transaction, again when another one interfered; its result."""

        @firestore.transactional  # type: ignore[untyped-decorator]
        def run(transaction: Any) -> T:
            return body(_FirestoreTransaction(self._client, transaction))

        result: T = _answered(lambda: run(self._client.transaction(max_attempts=_MOST_ATTEMPTS)))
        return result

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _reference(self, collection: str, document_id: str) -> Any:
        return self._client.collection(collection).document(document_id)


class _Bounded:
    """Firestore's API, each of whose calls ends in time.

    Transactions take no timeouts of the caller, so they are given here, once for all calls.
    """

    def __init__(self, api: Any) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)
        if name not in _CALLS:
            return method
        return partial(method, retry=_RETRY, timeout=_TIMEOUT_SECONDS)


class _FirestoreTransaction:
    def __init__(self, client: Any, transaction: Any) -> None:
        self._client = client
        self._transaction = transaction
        self._wrote = False

    def get(self, collection: str, document_id: str) -> Document | None:
        if self._wrote:
            raise ReadAfterWriteError("a transaction reads all it needs before its first write")
        reference = self._client.collection(collection).document(document_id)
        return _content(collection, reference.get(transaction=self._transaction))

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        self._wrote = True
        reference = self._client.collection(collection).document(document_id)
        self._transaction.set(reference, _stored(collection, document))

    def delete(self, collection: str, document_id: str) -> None:
        self._wrote = True
        self._transaction.delete(self._client.collection(collection).document(document_id))


def _content(collection: str, snapshot: Any) -> Document | None:
    return _read(collection, snapshot.to_dict()) if snapshot.exists else None


def _stored(collection: str, document: Mapping[str, Any]) -> Document:
    """As Firestore keeps it: its policies delete by a timestamp, and leave alone what is text."""
    kept = dict(document)
    if collection in EXPIRING and DELETE_AT in kept:
        kept[DELETE_AT] = parse_rfc3339(kept[DELETE_AT])
    return kept


def _read(collection: str, kept: Document) -> Document:
    """As it was written."""
    if collection in EXPIRING and DELETE_AT in kept:
        kept[DELETE_AT] = rfc3339(kept[DELETE_AT])
    return kept


def _answered(call: Callable[[], T]) -> T:
    """The call's result, with Firestore's ways of being away turned into one.

    Raises:
        DatabaseContendedError: when a transaction lost every attempt.
        DatabaseUnavailableError: when Firestore can't be reached or is too busy.
    """
    try:
        return call()
    except exceptions.AlreadyExists:
        raise
    except exceptions.Aborted as error:
        raise DatabaseContendedError(str(error)) from error
    except _UNAVAILABLE as error:
        raise DatabaseUnavailableError(str(error)) from error
    except ValueError as error:
        # The client's words for a transaction that lost every attempt, and for one that could not be rolled
        # back because it had not even begun: what really happened stands behind them.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, exceptions.Aborted):
            raise DatabaseContendedError(str(cause)) from error
        if isinstance(cause, _UNAVAILABLE):
            raise DatabaseUnavailableError(str(cause)) from error
        raise
