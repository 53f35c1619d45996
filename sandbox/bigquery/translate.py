"""GoogleSQL to DuckDB, for the part of GoogleSQL that gives the same answers in both.

sqlglot does the bulk. What it leaves different is put right here, or refused:

===========================================  ===============================================================
GoogleSQL                                    here
===========================================  ===============================================================
``NUMERIC``                                  ``DECIMAL(38,9)``; DuckDB's own default has 3 decimals
``1.5``, ``1e3``                             a DOUBLE, as FLOAT64; DuckDB would make it a DECIMAL
``3600 * 1000000``                           64-bit operands; DuckDB would overflow at 32 bits
``CAST(float AS INT64)``                     half away from zero; DuckDB rounds half to even
``[SAFE_]CAST(text AS INT64)`` and others    plain decimal digits only; forms that DuckDB reads otherwise fail
``CAST(… AS STRING)``                        not of FLOAT64, NUMERIC, TIMESTAMP (they are written differently)
``TIMESTAMP_DIFF``                           whole units; sqlglot counts boundaries crossed
``UNIX_SECONDS``                             rounds down; sqlglot rounds to the nearest
``FORMAT``                                   ``PRINTF``, with %s and %d only
``a[OFFSET(n)]``                             fails beyond the end; DuckDB gives NULL
``a / b``, ``SAFE_DIVIDE``                   not of NUMERIC, which DuckDB turns into a DOUBLE
``DIV``, ``MOD``                             operators in DuckDB: in parentheses, their operands too
``TIMESTAMP_TRUNC``, ``EXTRACT``             units that mean the same, in UTC
unnamed result columns                       ``f0_`` and so on
===========================================  ===============================================================

Everything else passes only if its syntax is on the list ``_ALLOWED``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from sandbox.bigquery.errors import BigQueryError, invalid_query
from sandbox.bigquery.types import Field, holds_bytes, json_structure

_ALLOWED: Final = frozenset(
    name
    for line in (
        # statements and clauses
        "Select Union Subquery Insert Update Delete Schema Values Tuple With CTE From Join Where Group",
        "Having Qualify Order Ordered Limit Offset Distinct Table TableAlias Alias Unnest Star Except",
        # names, values, types
        "Identifier Var Column Dot Literal RawString Null Boolean Parameter DataType ColumnDef Array Struct",
        "PropertyEQ Cast TryCast Interval Paren Bracket",
        # operators
        "And Or Not EQ NEQ GT GTE LT LTE Is NullSafeEQ NullSafeNEQ In Between Like Exists",
        "Add Sub Mul Div IntDiv Mod Neg",
        # functions of one row
        "If Case Coalesce Nullif Greatest Least Abs Sign Floor Ceil Round Trunc SafeDivide",
        "Concat DPipe Lower Upper Length Substring Trim Replace Split StartsWith EndsWith StrPosition Format",
        "RegexpLike RegexpExtract LowerHex SHA2Digest ArraySize",
        "TimestampTrunc TimestampAdd TimestampSub TimestampDiff UnixSeconds UnixMicros UnixToTime TimeToStr",
        "Extract Date GenerateTimestampArray",
        # aggregates and windows
        "Count CountIf Sum Min Max AnyValue LogicalOr LogicalAnd ArrayAgg IgnoreNulls",
        "Window WindowSpec RowNumber Rank DenseRank Lag Lead FirstValue LastValue",
    )
    for name in line.split()
)
"""Syntax, by sqlglot's names, that means the same after translation."""

_WHOLE_UNITS: Final = frozenset({"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"})
_TRUNC_UNITS: Final = _WHOLE_UNITS | {"MONTH", "QUARTER", "YEAR", "ISOWEEK"}
_EXTRACT_UNITS: Final = frozenset({"YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE"})
_STRFTIME: Final = re.compile(r"([^%]|%[YmdHMSFT%])*")
_PRINTF: Final = re.compile(r"([^%]|%[sd%])*")
_TEXT_TYPES: Final = "'DOUBLE', 'FLOAT', 'TIMESTAMP WITH TIME ZONE', 'TIMESTAMP', 'TIME'"
_OPERANDS: Final = (
    exp.Add, exp.Sub, exp.Mul, exp.IntDiv, exp.Mod, exp.Neg, exp.Alias, exp.Select, exp.PropertyEQ, exp.Array,
    exp.Coalesce, exp.If, exp.Case, exp.Greatest, exp.Least, exp.Paren, exp.Tuple,
)  # fmt: skip
"""Where a whole-number literal is a value (elsewhere it may be a position, a width or a count)."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that DuckDB runs."""

    kind: str
    """``SELECT``, ``INSERT``, ``UPDATE`` or ``DELETE``."""
    sql: str
    tables: frozenset[tuple[str, str]]
    """Tables and views that it names, as (dataset, table), its target included."""
    target: tuple[str, str] | None
    """The table that it changes."""
    parameters: tuple[str, ...]
    """Named parameters in use."""


@lru_cache(maxsize=512)
def translate(sql: str, project: str, parameters: tuple[Field, ...] = ()) -> Statement:
    """Translate one statement; ``parameters`` gives the declared types.

    Raises:
        BigQueryError: ``invalidQuery`` for what GoogleSQL would refuse, ``notImplemented`` for what the
            façade can't answer as BigQuery would.
    """
    tree = _parse(sql)
    kind = _kind(tree)
    _check_syntax(tree)
    tables = frozenset(_bind_tables(tree, project))
    used = _bind_parameters(tree, {field.name.lower(): field for field in parameters})
    target = _target(tree)
    if kind == "SELECT":
        _name_columns(tree)
    try:
        text = _corrected(tree).sql(
            dialect="duckdb", identify=True, comments=False, unsupported_level=ErrorLevel.RAISE
        )
    except SqlglotError as error:
        raise BigQueryError("notImplemented", f"Not supported here: {error}") from None
    return Statement(kind, text, tables, target, tuple(sorted(used)))


def _parse(sql: str) -> exp.Expr:
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    except SqlglotError as error:
        raise invalid_query(f"Syntax error: {_plain(str(error))}") from None
    if len(trees) != 1:
        raise _unsupported(f"{len(trees)} statements in one query")
    return trees[0]


def _plain(message: str) -> str:
    """The message without the terminal's colours, on one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).split())


def _unsupported(what: str) -> BigQueryError:
    return BigQueryError("notImplemented", f"Not supported by the BigQuery façade: {what}.", location="query")


def _kind(tree: exp.Expr) -> str:
    if isinstance(tree, exp.Select | exp.Union | exp.Subquery):
        return "SELECT"
    if isinstance(tree, exp.Insert):
        return "INSERT"
    if isinstance(tree, exp.Update | exp.Delete):
        kind = type(tree).__name__.upper()
        if tree.args.get("where") is None:
            raise invalid_query(f"{kind} must have a WHERE clause")
        if tree.args.get("from_") or tree.args.get("using"):
            raise _unsupported(f"{kind} with a second table")
        return kind
    raise _unsupported(f"statement {type(tree).__name__.upper()}")


def _check_syntax(tree: exp.Expr) -> None:
    for node in tree.walk():
        name = type(node).__name__
        if name not in _ALLOWED:
            shown = node.name if isinstance(node, exp.Anonymous) else node.sql(dialect="bigquery")[:80]
            raise _unsupported(f"{name} ({shown})")
        check = _CHECKS.get(type(node))
        if check is not None:
            check(node)


def _unit(node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return unit.name.upper() if unit is not None else ""


def _check_trunc(node: exp.Expr) -> None:
    zone = node.args.get("zone")
    if _unit(node) not in _TRUNC_UNITS or (zone is not None and zone.name.upper() != "UTC"):
        raise _unsupported(node.sql(dialect="bigquery"))


def _check_whole_unit(node: exp.Expr) -> None:
    if _unit(node) not in _WHOLE_UNITS:
        raise _unsupported(node.sql(dialect="bigquery"))


def _check_extract(node: exp.Expr) -> None:
    if node.name.upper() not in _EXTRACT_UNITS:
        raise _unsupported(node.sql(dialect="bigquery"))


def _check_format(node: exp.Expr) -> None:
    text = node.args["format"] if isinstance(node, exp.TimeToStr) else node.this
    known = _STRFTIME if isinstance(node, exp.TimeToStr) else _PRINTF
    if not isinstance(text, exp.Literal) or not known.fullmatch(text.name):
        raise _unsupported(f"format {text.sql(dialect='bigquery')}")


def _check_like(node: exp.Expr) -> None:
    if not isinstance(node.expression, exp.Literal) or "\\" in node.expression.name:
        raise _unsupported("LIKE with an escape or a pattern that is no literal")


def _check_bracket(node: exp.Expr) -> None:
    index = node.expressions
    if len(index) != 1 or not isinstance(index[0], exp.Literal) or index[0].is_string:
        raise _unsupported("an array index that is no whole number")
    if node.args.get("offset") not in (0, 1):
        raise invalid_query(
            "Array element access with array[position] is not supported; use OFFSET or ORDINAL"
        )


def _check_unix(node: exp.Expr) -> None:
    scale = node.args.get("scale")
    if scale is not None and scale.name != "0":
        raise _unsupported("TIMESTAMP_MILLIS and TIMESTAMP_MICROS")


def _check_unnest(node: exp.Expr) -> None:
    if node.args.get("offset"):
        raise _unsupported("UNNEST … WITH OFFSET")


def _check_table(node: exp.Expr) -> None:
    if any(node.args.get(name) for name in ("version", "when", "pivots", "sample", "partition", "hints")):
        raise _unsupported(f"clauses of table {node.name}")


_CHECKS: Final[dict[type[exp.Expr], Callable[[exp.Expr], None]]] = {
    exp.TimestampTrunc: _check_trunc,
    exp.TimestampAdd: _check_whole_unit,
    exp.TimestampSub: _check_whole_unit,
    exp.TimestampDiff: _check_whole_unit,
    exp.Extract: _check_extract,
    exp.TimeToStr: _check_format,
    exp.Format: _check_format,
    exp.Like: _check_like,
    exp.Bracket: _check_bracket,
    exp.UnixToTime: _check_unix,
    exp.Unnest: _check_unnest,
    exp.Table: _check_table,
}


def _bind_tables(tree: exp.Expr, project: str) -> Iterator[tuple[str, str]]:
    """The tables in use; project names are dropped, so that DuckDB does not take them for databases."""
    local = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if not table.db:
            if table.name.lower() not in local:
                raise invalid_query(
                    f'Table "{table.name}" must be qualified with a dataset (e.g. dataset.table).'
                )
            continue
        if table.catalog:
            if table.catalog != project:
                raise BigQueryError("notFound", f"Not found: Project {table.catalog}")
            table.set("catalog", None)
        yield table.db, table.name


def _target(tree: exp.Expr) -> tuple[str, str] | None:
    if not isinstance(tree, exp.Insert | exp.Update | exp.Delete):
        return None
    table = tree.find(exp.Table) if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(table, exp.Table):
        raise _unsupported("this target")
    return table.db, table.name


def _bind_parameters(tree: exp.Expr, declared: dict[str, Field]) -> set[str]:
    """Give each parameter its declared type."""
    used = set()
    for node in list(tree.find_all(exp.Parameter)):
        field = declared.get(node.name.lower())
        if field is None:
            raise invalid_query(f"Query parameter '{node.name}' not found")
        used.add(field.name)
        variable = exp.Parameter(this=exp.var(field.name))
        if field.repeated or field.type == "RECORD":
            if holds_bytes(field):
                raise _unsupported(f"parameter {field.name}: bytes inside an array or a struct")
            described = exp.Literal.string(json.dumps(json_structure(field)))
            node.replace(exp.Anonymous(this="FROM_JSON", expressions=[variable, described]))
        elif field.type == "BYTES":
            node.replace(_call("FROM_BASE64", variable))
        else:
            node.replace(exp.Cast(this=variable, to=_type(field.duck_type)))
    return used


def _name_columns(tree: exp.Expr) -> None:
    """Name the result's columns as BigQuery does, where the statement does not."""
    top: Any = tree
    while isinstance(top, exp.Union | exp.Subquery):
        top = top.this
    for number, one in enumerate(top.expressions):
        if isinstance(one, exp.Alias) or one.is_star:
            continue
        name = one.name if isinstance(one, exp.Column | exp.Dot) else f"f{number}_"
        one.replace(exp.alias_(one.copy(), name, quoted=True))


# --- corrections --------------------------------------------------------------------------------


def _type(text: str) -> exp.DataType:
    return exp.DataType.build(text, dialect="duckdb")


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _duck(text: str, **parts: exp.Expr) -> exp.Expr:
    """A DuckDB expression with its ``:name`` placeholders filled."""
    tree = sqlglot.parse_one(text, read="duckdb")
    for hole in [node for node in tree.find_all(exp.Placeholder) if node.name in parts]:
        hole.replace(_enclosed(parts[hole.name]))
    return tree


def _enclosed(node: exp.Expr) -> exp.Expr:
    """A copy that keeps its meaning as an operand of anything."""
    plain = isinstance(node, exp.Column | exp.Literal | exp.Func | exp.Paren | exp.Subquery | exp.Cast)
    return node.copy() if plain else exp.Paren(this=node.copy())


def _corrected(tree: exp.Expr) -> exp.Expr:
    """The tree with its nodes corrected, those inside before those around them."""
    for node in reversed(list(tree.walk(bfs=True))):
        correction = _CORRECTIONS.get(type(node))
        if correction is None:
            continue
        corrected = correction(node)
        if corrected is not node:
            node.replace(corrected)
    return tree


def _literal(node: exp.Expr) -> exp.Expr:
    if node.args.get("is_string"):
        return node
    text = node.name
    wide = not text.isdigit()
    if not wide and not isinstance(node.parent, _OPERANDS):
        return node
    return exp.Cast(this=exp.Literal.number(text), to=_type("DOUBLE" if wide else "BIGINT"))


def _data_type(node: exp.Expr) -> exp.Expr:
    assert isinstance(node, exp.DataType)
    if node.is_type("decimal"):
        return _type("DECIMAL(38,9)")
    return node


def _cast(node: exp.Expr) -> exp.Expr:
    assert isinstance(node, exp.Cast)
    safe, value, to = isinstance(node, exp.TryCast), node.this, node.to
    if isinstance(value, exp.Null | exp.Parameter):
        return node  # a parameter has been given its declared type
    if to.is_type("bigint", "int"):
        return _to_integer(value, safe=safe)
    if to.is_type("text", "varchar"):
        return _duck(
            f"CASE WHEN TYPEOF(:x) IN ({_TEXT_TYPES}) OR TYPEOF(:x) LIKE 'DECIMAL%' "
            "THEN ERROR('CAST of this type AS STRING is not supported by the BigQuery façade') "
            "ELSE CAST(:x AS VARCHAR) END",
            x=value,
        )
    if to.is_type("decimal"):
        if (
            isinstance(value, exp.Literal)
            and value.is_string
            and re.fullmatch(r"-?[0-9]+(\.[0-9]{1,9})?", value.name)
        ):
            return exp.Cast(this=value.copy(), to=_type("DECIMAL(38,9)"))
        return _to_number(
            value, "DECIMAL(38,9)", r"[+-]?[0-9]{1,29}(\.[0-9]{0,9})?", ("DOUBLE", "FLOAT"), safe
        )
    if to.is_type("double"):
        return _to_number(value, "DOUBLE", r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", (), safe)
    if to.is_type("timestamptz", "date", "boolean") and not safe:
        return node
    raise _unsupported(node.sql(dialect="bigquery"))


def _to_integer(value: exp.Expr, *, safe: bool) -> exp.Expr:
    bad = "NULL" if safe else "ERROR('Bad int64 value: ' || CAST(:x AS VARCHAR))"
    cast = "TRY_CAST" if safe else "CAST"
    return _duck(
        "CASE WHEN TYPEOF(:x) IN ('DOUBLE', 'FLOAT') "
        f"THEN {cast}(ROUND(TRY_CAST(:x AS DOUBLE)) AS BIGINT) "
        "WHEN TYPEOF(:x) = 'VARCHAR' THEN CASE "
        "WHEN REGEXP_FULL_MATCH(CAST(:x AS VARCHAR), '[+-]?[0-9]+') "
        f"THEN {cast}(CAST(:x AS VARCHAR) AS BIGINT) "
        r"WHEN REGEXP_MATCHES(CAST(:x AS VARCHAR), '^\s|\s$|^[+-]?0[xX]') "
        "THEN ERROR('this text AS INT64 is not supported by the BigQuery façade: ' || CAST(:x AS VARCHAR)) "
        f"WHEN :x IS NULL THEN NULL ELSE {bad} END "
        f"ELSE {cast}(:x AS BIGINT) END",
        x=value,
    )


def _to_number(value: exp.Expr, type_: str, pattern: str, refused: tuple[str, ...], safe: bool) -> exp.Expr:
    """Text that follows ``pattern``, and numbers whose type is not ``refused``."""
    cast = "TRY_CAST" if safe else "CAST"
    refusal = (
        f"ERROR('this CAST AS {type_} is not supported by the BigQuery façade: ' || CAST(:x AS VARCHAR))"
    )
    names = ", ".join(f"'{name}'" for name in (*refused, "none"))
    return _duck(
        f"CASE WHEN TYPEOF(:x) IN ({names}) THEN {refusal} "
        f"WHEN TYPEOF(:x) = 'VARCHAR' AND NOT REGEXP_FULL_MATCH(CAST(:x AS VARCHAR), '{pattern}') "
        f"THEN {refusal} "
        f"ELSE {cast}(:x AS {type_}) END",
        x=value,
    )


def _bracket(node: exp.Expr) -> exp.Expr:
    position = int(node.expressions[0].name) + (1 - int(node.args["offset"]))
    if position < 1:
        raise invalid_query("Array index is out of bounds")
    if node.args.get("safe"):
        return _duck(f":x[{position}]", x=node.this)
    refusal = "ERROR('Array index is out of bounds')"
    return _duck(f"CASE WHEN LEN(:x) < {position} THEN {refusal} ELSE (:x)[{position}] END", x=node.this)


def _divide(node: exp.Expr) -> exp.Expr:
    return _duck(
        "CASE WHEN TYPEOF(:a) LIKE 'DECIMAL%' OR TYPEOF(:b) LIKE 'DECIMAL%' "
        "THEN ERROR('division of NUMERIC is not supported by the BigQuery façade') "
        "WHEN :b = 0 THEN ERROR('division by zero') ELSE (:a) / (:b) END",
        a=node.this,
        b=node.expression,
    )


def _safe_divide(node: exp.Expr) -> exp.Expr:
    return _duck(
        "CASE WHEN TYPEOF(:a) LIKE 'DECIMAL%' OR TYPEOF(:b) LIKE 'DECIMAL%' "
        "THEN ERROR('division of NUMERIC is not supported by the BigQuery façade') "
        "WHEN :b <> 0 THEN :a / :b END",
        a=node.this,
        b=node.expression,
    )


def _operator(node: exp.Expr) -> exp.Expr:
    """A function of GoogleSQL that is an operator of DuckDB."""
    left, right = _enclosed(node.this), _enclosed(node.expression)
    return exp.Paren(this=type(node)(this=left, expression=right))


def _diff(node: exp.Expr) -> exp.Expr:
    unit = exp.Literal.string(_unit(node).lower())
    return _call("DATE_SUB", unit, node.expression.copy(), node.this.copy())


def _trunc(node: exp.Expr) -> exp.Expr:
    unit = {"ISOWEEK": "week"}.get(_unit(node), _unit(node).lower())
    return _call("DATE_TRUNC", exp.Literal.string(unit), node.this.copy())


def _unix_seconds(node: exp.Expr) -> exp.Expr:
    return _duck("CAST(FLOOR(EPOCH(:x)) AS BIGINT)", x=node.this)


def _format(node: exp.Expr) -> exp.Expr:
    return _call("PRINTF", node.this.copy(), *(one.copy() for one in node.expressions))


def _update(node: exp.Expr) -> exp.Expr:
    """DuckDB wants the columns that are set without the table's name."""
    for assignment in node.expressions:
        assignment.this.set("table", None)
    return node


_CORRECTIONS: Final[dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]]] = {
    exp.Literal: _literal,
    exp.DataType: _data_type,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Bracket: _bracket,
    exp.Div: _divide,
    exp.SafeDivide: _safe_divide,
    exp.IntDiv: _operator,
    exp.Mod: _operator,
    exp.TimestampDiff: _diff,
    exp.TimestampTrunc: _trunc,
    exp.UnixSeconds: _unix_seconds,
    exp.Format: _format,
    exp.Update: _update,
}
