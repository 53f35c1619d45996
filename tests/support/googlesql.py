"""One .sql file in three engines: Google's analyzer, Google's reference evaluator, DuckDB as the façade runs it.

A *case* gives small tables and parameters for one .sql file.
``tests/sql/cases.py`` exports ``CASES: tuple[Case, ...]``; ``tests/sql/test_engines.py`` runs each in all
engines and compares the answers.

    Case(
        name="a repeated line counts once",
        sql="usage_clean.sql",                       # file name, unique over both SQL folders
        parameters={"now": ("TIMESTAMP", "2026-01-01T01:00:00Z"),
                    "rows": ("ARRAY<STRUCT<identifier STRING, attempt INT64>>", [{"identifier": "u1:…", "attempt": 1}])},
        tables={"usage_raw.run_googleapis_com_stdout": [{...}, {...}], "ledger.billing_segments": [{...}]},
        expected=[{"request_id": "r1", "input_tokens": 3}],
    )

Values in rows and parameters: STRING ``str``, INT64 ``int``, FLOAT64 ``float`` or ``int``, BOOL ``bool``,
NUMERIC ``str`` or ``Decimal``, TIMESTAMP an RFC 3339 ``str`` or an aware ``datetime``, DATE ``date``,
STRUCT ``dict`` (a missing field is NULL), ARRAY ``list``, NULL ``None``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Small tables and parameters for one .sql file, and the answer if it is known."""

    name: str
    """A sentence; unique per file."""
    sql: str
    """The file's name, for example ``usage_clean.sql``: a view or a statement."""
    parameters: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    """Name without @ → (GoogleSQL type, value). A view has none."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """``dataset.table`` (datasets ``usage_raw`` and ``ledger``) → rows; tables not named are empty.

    Views are never given rows: they are computed from the tables, by each engine for itself.
    """
    expected: Sequence[Mapping[str, Any]] | None = None
    """A view or SELECT: its rows. A DML statement: the rows of its target table afterwards.

    Order does not matter. Only the columns that the expected rows name are compared (all rows name the same
    ones). None: the engines are only compared with each other, on all columns.
    """
