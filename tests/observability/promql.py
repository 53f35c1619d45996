"""Evaluates the part of PromQL that the alerts use, as Cloud Monitoring does, on synthetic series.

A log-based metric is a DELTA metric: each point is how much was added, and ``increase`` is their sum over
the window, without Prometheus' extrapolation. A series that got nothing either has no points or points of
zero: which of the two Cloud Monitoring writes is not promised, so tests try both.

Anything that is not understood raises :class:`NotUnderstoodError`: a query that is misread must not pass.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import promql_parser as parser

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else float("nan"),
}
_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_AGGREGATES: Final[dict[str, Callable[[list[float]], float]]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "count": lambda values: float(len(values)),
}


class NotUnderstoodError(Exception):
    """Part of a query lies outside of what is evaluated here."""


@dataclass(frozen=True, slots=True)
class Series:
    """What was added to one time series: (seconds, amount), any order."""

    metric: str
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


def parse(query: str) -> Any:
    """The syntax tree.

    Raises:
        ValueError: when it is no PromQL.
    """
    return parser.parse(query)


def evaluate(query: str, series: Sequence[Series], now: float) -> Vector:
    """What a query yields at a moment: an alert's condition holds when that is not empty."""
    found = _value(parse(query), series, now)
    if not isinstance(found, dict):
        raise NotUnderstoodError("an alert's query yields a vector, not a number")
    return found


def selectors(query: str) -> list[tuple[str, dict[str, tuple[str, str]], float | None]]:
    """Every selector: metric, matchers (label → operator and value), and seconds of its window."""
    found: list[tuple[str, dict[str, tuple[str, str]], float | None]] = []

    def visit(expression: Any) -> None:
        if isinstance(expression, parser.MatrixSelector):
            found.append(_selector(expression.vector_selector, expression.range.total_seconds()))
        elif isinstance(expression, parser.VectorSelector):
            found.append(_selector(expression, None))
        elif isinstance(expression, parser.Call):
            for argument in expression.args:
                visit(argument)
        elif isinstance(expression, parser.BinaryExpr):
            visit(expression.lhs)
            visit(expression.rhs)
        elif isinstance(expression, parser.AggregateExpr):
            if expression.param is not None:
                visit(expression.param)
            visit(expression.expr)
        elif isinstance(expression, parser.ParenExpr | parser.UnaryExpr | parser.SubqueryExpr):
            visit(expression.expr)

    visit(parse(query))
    return found


def _selector(vector: Any, window: float | None) -> tuple[str, dict[str, tuple[str, str]], float | None]:
    matchers = {m.name: (str(m.op).removeprefix("MatchOp."), m.value) for m in vector.matchers.matchers}
    return vector.name, matchers, window


def _value(expression: Any, series: Sequence[Series], now: float) -> Vector | float:
    if isinstance(expression, parser.NumberLiteral):
        return expression.val
    if isinstance(expression, parser.ParenExpr):
        return _value(expression.expr, series, now)
    if isinstance(expression, parser.Call):
        return _call(expression, series, now)
    if isinstance(expression, parser.AggregateExpr):
        return _aggregate(expression, _vector(expression.expr, series, now))
    if isinstance(expression, parser.BinaryExpr):
        return _binary(expression, series, now)
    raise NotUnderstoodError(type(expression).__name__)


def _vector(expression: Any, series: Sequence[Series], now: float) -> Vector:
    found = _value(expression, series, now)
    if not isinstance(found, dict):
        raise NotUnderstoodError("a number where a vector is needed")
    return found


def _call(call: Any, series: Sequence[Series], now: float) -> Vector:
    if call.func.name == "vector":
        (number,) = call.args
        return {frozenset(): number.val}
    (matrix,) = call.args
    if not isinstance(matrix, parser.MatrixSelector) or matrix.vector_selector.offset is not None:
        raise NotUnderstoodError(f"{call.func.name} of something else than a window")
    selected = _selected(matrix, series, now)
    if call.func.name == "increase":
        return {labels: sum(values) for labels, values in selected.items()}
    if call.func.name == "absent_over_time":
        return {} if selected else {frozenset(_equalities(matrix.vector_selector).items()): 1.0}
    raise NotUnderstoodError(call.func.name)


def _selected(matrix: Any, series: Sequence[Series], now: float) -> dict[Labels, list[float]]:
    """The points in the window, by series that have any."""
    vector, since = matrix.vector_selector, now - matrix.range.total_seconds()
    found: dict[Labels, list[float]] = {}
    for one in series:
        if one.metric != vector.name or not all(_matches(m, one.labels) for m in vector.matchers.matchers):
            continue
        values = [amount for at, amount in one.points if since < at <= now]
        if values:
            found.setdefault(frozenset(one.labels.items()), []).extend(values)
    return found


def _matches(matcher: Any, labels: Mapping[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    kind = str(matcher.op).removeprefix("MatchOp.")
    if kind in ("Equal", "NotEqual"):
        return (value == matcher.value) is (kind == "Equal")
    return (re.fullmatch(matcher.value, value) is not None) is (kind == "Re")


def _equalities(vector: Any) -> dict[str, str]:
    return {m.name: m.value for m in vector.matchers.matchers if m.op == parser.MatchOp.Equal}


def _aggregate(aggregate: Any, vector: Vector) -> Vector:
    modifier = aggregate.modifier
    if modifier is not None and modifier.type != parser.AggModifierType.By:
        raise NotUnderstoodError("without")
    by = set(modifier.labels) if modifier is not None else set()
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        groups.setdefault(frozenset(pair for pair in labels if pair[0] in by), []).append(value)
    combine = _AGGREGATES.get(str(aggregate.op))
    if combine is None:
        raise NotUnderstoodError(str(aggregate.op))
    return {labels: combine(values) for labels, values in groups.items()}


def _binary(binary: Any, series: Sequence[Series], now: float) -> Vector | float:
    if binary.modifier is not None and (binary.modifier.matching or binary.modifier.return_bool):
        raise NotUnderstoodError("on, ignoring or bool")
    sign = str(binary.op)
    left, right = _value(binary.lhs, series, now), _value(binary.rhs, series, now)
    if sign in ("and", "or", "unless"):
        return _sets(sign, left, right)
    if sign in _ARITHMETIC:
        return _arithmetic(_ARITHMETIC[sign], left, right)
    if sign in _COMPARISONS:
        return _comparison(_COMPARISONS[sign], left, right)
    raise NotUnderstoodError(sign)


def _sets(sign: str, left: Vector | float, right: Vector | float) -> Vector:
    if not isinstance(left, dict) or not isinstance(right, dict):
        raise NotUnderstoodError(f"{sign} of a number")
    if sign == "and":
        return {labels: value for labels, value in left.items() if labels in right}
    if sign == "unless":
        return {labels: value for labels, value in left.items() if labels not in right}
    return {**right, **left}


def _arithmetic(
    apply: Callable[[float, float], float], left: Vector | float, right: Vector | float
) -> Vector | float:
    if isinstance(left, dict) and isinstance(right, dict):
        return {labels: apply(value, right[labels]) for labels, value in left.items() if labels in right}
    if isinstance(left, dict):
        assert not isinstance(right, dict)
        return {labels: apply(value, right) for labels, value in left.items()}
    if isinstance(right, dict):
        return {labels: apply(left, value) for labels, value in right.items()}
    return apply(left, right)


def _comparison(holds: Callable[[float, float], bool], left: Vector | float, right: Vector | float) -> Vector:
    """What compares stays with its value."""
    if not isinstance(left, dict):
        raise NotUnderstoodError("a comparison that begins with a number")
    if isinstance(right, dict):
        return {labels: v for labels, v in left.items() if labels in right and holds(v, right[labels])}
    return {labels: value for labels, value in left.items() if holds(value, right)}
