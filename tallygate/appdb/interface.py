"""What every app database does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

Document = dict[str, Any]
"""JSON values only; times are RFC 3339 texts, so that they sort and both stores hold the same."""

T = TypeVar("T")

COLLECTIONS: Final = (
    "tenants", "customers", "api_keys", "spend", "inbox", "segments", "leases", "watermarks",
)  # fmt: skip


class DatabaseUnavailableError(Exception):
    """The database did not answer in time, or answered that it can't serve now. Trying again may help."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter of a query. A document without the field never matches."""

    field: str
    operator: Literal["==", "<", "<=", ">", ">="]
    value: str | int | bool


class Transaction(Protocol):
    """Reads and writes that happen together or not at all. All reads come before the first write."""

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None."""
        ...

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Write the whole document, replacing what was there."""
        ...

    def delete(self, collection: str, document_id: str) -> None:
        """Remove the document, if it is there."""
        ...


class Database(Protocol):
    """A store of JSON documents in named collections. Safe to share between threads.

    Every method raises :class:`DatabaseUnavailableError` when the store can't be reached.
    """

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None."""
        ...

    def create(self, collection: str, document_id: str, document: Mapping[str, Any]) -> bool:
        """Write a new document; False, and nothing written, if the id is taken."""
        ...

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Write the whole document, replacing what was there."""
        ...

    def delete(self, collection: str, document_id: str) -> None:
        """Remove the document, if it is there."""
        ...

    def increment(self, collection: str, document_id: str, by: Mapping[str, int]) -> None:
        """Add to integer fields, atomically; a missing document or field counts as 0."""
        ...

    def query(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> list[tuple[str, Document]]:
        """Ids and documents that meet all conditions, ordered by the field, else by id.

        Ranges (anything but ``==``) may name one field only, which must then be ``order_by`` if that is
        given: what Firestore serves without a composite index beside equality conditions.
        """
        ...

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body`` in a transaction, again when another one interfered; its result.

        ``body`` may run several times and must have no other effects. What it raises rolls back.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
