"""An app database in memory, for simulations that would otherwise wait for a disk."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from tallygate.appdb import Condition, Document, Transaction

T = TypeVar("T")

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class MemoryDatabase:
    """Documents as JSON texts, so that nobody shares an object with the store; read ones serve queries."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, tuple[str, Document]]] = {}

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None."""
        kept = self._kept.get(collection, {}).get(document_id)
        return None if kept is None else _read(kept[0])

    def create(self, collection: str, document_id: str, document: Mapping[str, Any]) -> bool:
        """Write a new document; False, and nothing written, if the id is taken."""
        if document_id in self._kept.get(collection, {}):
            return False
        self.put(collection, document_id, document)
        return True

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Write the whole document, replacing what was there."""
        text = json.dumps(document)
        self._kept.setdefault(collection, {})[document_id] = (text, _read(text))

    def delete(self, collection: str, document_id: str) -> None:
        """Remove the document, if it is there."""
        self._kept.get(collection, {}).pop(document_id, None)

    def increment(self, collection: str, document_id: str, by: Mapping[str, int]) -> None:
        """Add to integer fields, atomically; a missing document or field counts as 0."""
        document = self.get(collection, document_id) or {}
        self.put(
            collection, document_id, document | {name: document.get(name, 0) + n for name, n in by.items()}
        )

    def query(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> list[tuple[str, Document]]:
        """Ids and documents that meet all conditions, ordered by the field, else by id."""
        found = [
            (document_id, text, read)
            for document_id, (text, read) in self._kept.get(collection, {}).items()
            if all(_meets(read.get(condition.field), condition) for condition in conditions)
            and (order_by is None or read.get(order_by) is not None)
        ]
        found.sort(key=lambda row: row[0] if order_by is None else (row[2][order_by], row[0]))
        return [(document_id, _read(text)) for document_id, text, _ in found[:limit]]

    def transact(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body``; what it raises rolls back."""
        saved = {name: dict(kept) for name, kept in self._kept.items()}
        try:
            return body(self)
        except BaseException:
            self._kept = saved
            raise

    def close(self) -> None:
        """Nothing to let go of."""


def _read(text: str) -> Document:
    document: Document = json.loads(text)
    return document


def _meets(value: Any, condition: Condition) -> bool:
    if value is None or isinstance(value, bool) != isinstance(condition.value, bool):
        return False
    return _OPERATORS[condition.operator](value, condition.value)
