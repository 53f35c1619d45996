"""What every app database does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

Document = dict[str, Any]
"""JSON values only, no list directly in a list; times are RFC 3339 texts, so that they sort and both stores
hold the same. Integers fit 64 bits."""

T = TypeVar("T")

COLLECTIONS: Final = (
    "tenants", "customers", "api_keys", "spend", "inbox", "segments", "leases", "watermarks",
    "repairs",
)  # fmt: skip

DELETE_AT: Final = "delete_at"
"""A field of documents of :data:`EXPIRING`, RFC 3339: some time after it the store may delete the document.
Firestore does, mostly within a day; SQLite keeps it. Nobody may rely on either."""
EXPIRING: Final = ("inbox", "spend")
"""Collections that Terraform gives a policy on :data:`DELETE_AT`."""


class DatabaseUnavailableError(Exception):
    """The database did not answer in time, or answered that it can't serve now. Trying again may help."""


class DatabaseContendedError(DatabaseUnavailableError):
    """Too many wrote the same document at a time: says nothing about the rest of the database."""


class ReadAfterWriteError(Exception):
    """A transaction read after it had written: the program is wrong, whatever store it runs on."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter of a query. A document without the field, or with another kind of value, never matches."""

    field: str
    operator: Literal["==", "<", "<=", ">", ">="]
    value: str | int | bool


class Transaction(Protocol):
    """Reads and writes that happen together or not at all.

    All reads come before the first write, else :class:`ReadAfterWriteError`: Firestore's rule.
    """

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
        """Ids and documents that meet all conditions, ordered by the field, else by a range's, else by id.

        An order leaves out documents without its field. Ranges (anything but ``==``) may name one field
        only, which must then be ``order_by`` if that is given.
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


def order_of(conditions: Sequence[Condition], order_by: str | None) -> str | None:
    """The field that a query is ordered by; None for the id."""
    return order_by or next((c.field for c in conditions if c.operator != "=="), None)
