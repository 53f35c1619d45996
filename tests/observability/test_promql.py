"""The evaluator of alerts' queries, on small examples whose answers follow from PromQL's documentation."""

from __future__ import annotations

import pytest

from tests.observability.promql import NotUnderstoodError, Series, evaluate, parse, selectors

A = Series("a", {"x": "1"}, [(0, 5), (50, 2), (100, 3)])
B = Series("a", {"x": "2"}, [(90, 4)])
EMPTY: frozenset[tuple[str, str]] = frozenset()


def of(x: str) -> frozenset[tuple[str, str]]:
    return frozenset({("x", x)})


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("increase(a[60s])", {of("1"): 5, of("2"): 4}),
        ("increase(a[10s])", {of("1"): 3}),  # the window is open at its beginning
        ("increase(a[9s])", {of("1"): 3}),
        ("sum(increase(a[60s]))", {EMPTY: 9}),
        ("sum by (x) (increase(a[60s]))", {of("1"): 5, of("2"): 4}),
        ("count(increase(a[60s]))", {EMPTY: 2}),
        ('increase(a{x!="1"}[60s])', {of("2"): 4}),
        ('increase(a{x=~"1|3"}[60s])', {of("1"): 5}),
        ('increase(a{x=~"."}[60s]) > 4', {of("1"): 5}),
        ("sum(increase(b[60s]))", {}),
        ("sum(increase(b[60s])) or vector(0)", {EMPTY: 0}),
        ("sum(increase(b[60s])) / sum(increase(a[60s])) > 0", {}),
        ("sum(increase(a[60s])) / (sum(increase(a[60s])) + 9) >= 0.5", {EMPTY: 0.5}),
        ("increase(a[60s]) and increase(a[10s])", {of("1"): 5}),
        ("increase(a[60s]) unless increase(a[10s])", {of("2"): 4}),
        ('absent_over_time(b{x="1", y=~"2"}[60s])', {of("1"): 1}),
        ("absent_over_time(a[60s])", {}),
        ("sum(increase(b[60s])) < 1", {}),  # nothing is not less than anything
        ("increase(a[60s]) < 0.9 * sum by (x) (increase(a[1000s]))", {of("1"): 5}),
    ],
)
def test_a_query_yields_what_the_language_says(
    query: str, answer: dict[frozenset[tuple[str, str]], float]
) -> None:
    assert evaluate(query, [A, B], 100) == answer


@pytest.mark.parametrize(
    "query",
    ["rate(a[60s])", "a", "increase(a[60s] offset 1h)", "sum without (x) (increase(a[60s]))", "5",
     "increase(a[60s]) and on() vector(1)", "topk(1, increase(a[60s]))"],
)  # fmt: skip
def test_what_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(NotUnderstoodError):
        evaluate(query, [A], 100)


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="paren"):
        parse("sum(increase(a[60s])")


def test_selectors_are_found_wherever_they_stand() -> None:
    found = selectors('topk(1, sum(increase(a{x="1"}[60s]))) / (b or -c)')

    assert found == [("a", {"x": ("Equal", "1")}, 60.0), ("b", {}, None), ("c", {}, None)]
