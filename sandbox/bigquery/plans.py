"""DuckDB's query plans: the table scans of a statement, and whether their filters could prune partitions.

What DuckDB filters at the scan of a table, or directly above it, is what BigQuery could prune by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

_COMPARISONS: Final = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between, exp.Is)
_OPTIONAL: Final = "optional:"
"""What DuckDB has derived from another filter to skip row groups; the other one is in the plan too."""


def scans(
    nodes: Sequence[Mapping[str, Any]], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The table scans of a plan (``EXPLAIN (FORMAT json)``), each with its filters: all of them hold."""
    for node in nodes:
        name, extra = node["name"].strip(), node.get("extra_info") or {}
        if name == "SEQ_SCAN":
            yield str(extra.get("Table", "")), above + _texts(extra.get("Filters"))
        inside = above + _texts(extra.get("Expression")) if name == "FILTER" else above
        yield from scans(node.get("children") or (), inside if name in ("FILTER", "PROJECTION") else ())


def _texts(value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(str(text) for text in texts if text)


def prunes(filter_: str, column: str) -> bool:
    """Whether a filter of a plan bounds ``column`` by itself: together with others, under AND only."""
    if filter_.startswith(_OPTIONAL):
        return False
    try:
        return _bounds(sqlglot.parse_one(filter_, read="duckdb"), column.lower())
    except SqlglotError:
        return False


def _bounds(node: exp.Expr, column: str) -> bool:
    if isinstance(node, exp.Paren):
        return _bounds(node.this, column)
    if isinstance(node, exp.And):
        return _bounds(node.left, column) or _bounds(node.right, column)
    if isinstance(node, exp.Or):
        return _bounds(node.left, column) and _bounds(node.right, column)
    named = {found.name.lower() for found in node.find_all(exp.Column)}
    return named == {column} and (
        isinstance(node, _COMPARISONS) or (isinstance(node, exp.Not) and isinstance(node.this, exp.Is))
    )
