"""Expressions mean in DuckDB what they mean in GoogleSQL, however they are nested."""

# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest
from google.api_core import exceptions
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.bigquery.facade import Facade, scalar

# Six of these at most are in an expression: it can't leave INT64.
COLUMNS: Final = {"a": 7, "b": -3, "c": 0, "d": 1000}


@dataclass(frozen=True)
class Expression:
    """GoogleSQL, and what it gives: None for an error."""

    sql: str
    value: int | None


def _div(left: int, right: int) -> int | None:
    if right == 0:
        return None
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _mod(left: int, right: int) -> int | None:
    quotient = _div(left, right)
    return None if quotient is None else left - right * quotient


_BINARY: Final[list[tuple[str, Callable[[int, int], int | None]]]] = [
    ("({} + {})", lambda left, right: left + right),
    ("({} - {})", lambda left, right: left - right),
    ("({} * {})", lambda left, right: left * right),
    ("DIV({}, {})", _div),
    ("MOD({}, {})", _mod),
    ("GREATEST({}, {})", max),
    ("LEAST({}, {})", min),
    ("IF({} < {}, 1, 2)", lambda left, right: 1 if left < right else 2),
]


def _joined(parts: tuple[tuple[str, Callable[[int, int], int | None]], Expression, Expression]) -> Expression:
    (template, apply), left, right = parts
    sql = (
        template.format(_bare(left.sql), _bare(right.sql))
        if "(" in template[1:]
        else template.format(left.sql, right.sql)
    )
    value = None if left.value is None or right.value is None else apply(left.value, right.value)
    return Expression(sql, value)


def _bare(sql: str) -> str:
    """As an argument, without the parentheses that an operand needs."""
    return sql[1:-1] if sql.startswith("(") else sql


_LEAVES: Final = st.sampled_from([Expression(name, value) for name, value in COLUMNS.items()]) | st.integers(
    0, 99
).map(lambda n: Expression(str(n), n))
EXPRESSIONS: Final = st.recursive(
    _LEAVES,
    lambda inner: (
        st.tuples(st.sampled_from(_BINARY), inner, inner).map(_joined)
        | inner.map(lambda e: Expression(f"-({_bare(e.sql)})", None if e.value is None else -e.value))
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(expression=EXPRESSIONS)
def test_any_whole_number_expression_keeps_its_value(facade: Facade, expression: Expression) -> None:
    columns = [scalar(name, "INT64", value) for name, value in COLUMNS.items()]
    sql = f"SELECT {_bare(expression.sql)} AS v FROM (SELECT @a AS a, @b AS b, @c AS c, @d AS d) AS t"
    if expression.value is None:
        with pytest.raises(exceptions.BadRequest):
            facade.query(sql, *columns)
    else:
        assert facade.query(sql, *columns) == [{"v": expression.value}]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("DIV(10, 4 - 2)", 5),
        ("2 * MOD(5, 3)", 4),
        ("100 - DIV(7, 2) * 2", 94),
        ("DIV(-7, 2)", -3),
        ("MOD(-7, 3)", -1),
        ("SAFE_DIVIDE(3 + 1, 4 - 2)", 2.0),
        ("SAFE_DIVIDE(1, 0)", None),
        ("7 / 2", 3.5),
        ("CAST(2.5 AS INT64)", 3),
        ("CAST(-2.5 AS INT64)", -3),
        ("SAFE_CAST('12x' AS INT64)", None),
        ("CAST(2 + 1 AS STRING)", "3"),
        ("[10, 20][OFFSET(1)]", 20),
        ("[10, 20][SAFE_OFFSET(2)]", None),
        ("TIMESTAMP_DIFF(TIMESTAMP '2026-01-01 01:59:59+00', TIMESTAMP '2026-01-01 00:00:00+00', HOUR)", 1),
        ("UNIX_SECONDS(TIMESTAMP '1969-12-31 23:59:59.5+00')", -1),
        ("FORMAT('%s-%d', 'a', 1 + 1)", "a-2"),
    ],
)  # fmt: skip
def test_an_expression_gives_what_bigquery_documents(facade: Facade, sql: str, value: object) -> None:
    assert facade.value(sql) == value


@pytest.mark.parametrize(
    "sql",
    [
        "NUMERIC '1' / NUMERIC '3'",
        "SAFE_DIVIDE(NUMERIC '1', NUMERIC '3')",
        "CAST(1.5 AS STRING)",
        "CAST(0.1 AS NUMERIC)",
        "TIMESTAMP_TRUNC(TIMESTAMP '2026-01-01 00:00:00+00', WEEK)",
    ],
)
def test_what_duckdb_would_answer_otherwise_is_refused(facade: Facade, sql: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=r"not supported|Not supported"):
        facade.value(sql)
