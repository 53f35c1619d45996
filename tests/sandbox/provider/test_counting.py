"""The double's counting rule and its directives, by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.provider.counting import count, count_prompt, words
from sandbox.provider.directives import MOST, Directives, parse
from sandbox.provider.tools import tool_call


@given(st.integers(0, 500))
def test_an_answer_of_n_words_has_n_tokens(tokens: int) -> None:
    assert count("".join(words(tokens))) == tokens


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "12345678"}]}, 3 + 2),
        ({"messages": [{"role": "user", "content": "123456789"}]}, 3 + 3),
        ({"messages": [{"role": "user", "content": "ééé"}]}, 3 + 2),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "1234"}]}] * 2}, 8),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 3 + 85),
        ({"messages": [{"role": "user", "content": None}], "system": "12345"}, 3 + 2),
        ({"input": "12345"}, 2),
        ({"input": ["1234", "12345"]}, 1 + 2),
        ({"prompt": [7, 8, 9]}, 3),
        ({"input": [{"role": "user", "content": "1234"}], "instructions": "1234"}, 3 + 1 + 1),
        ({"input": ""}, 1),
        ({}, 1),
    ],
)
def test_a_prompt_is_counted_by_the_rule(body: dict[str, Any], tokens: int) -> None:
    assert count_prompt(body) == tokens


def test_a_cache_marker_is_no_part_of_the_prompt() -> None:
    tool = {"name": "a", "input_schema": {}}
    marked = {**tool, "cache_control": {"type": "ephemeral"}}

    assert count_prompt({"tools": [tool]}) == count_prompt({"tools": [marked]})


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("hello", Directives()),
        ("[[]] [[ ]] [[CANARY]] [[out=]] [[out=-3]] [[out=x]]", Directives()),
        ("a [[out=120 cached=30]] b [[cache_write=10]]", Directives(out=120, cached=30, cache_write=10)),
        ("[[reasoning=10 delay_ms=50]]", Directives(reasoning=10, delay_ms=50)),
        ("[[fail=429x2]]", Directives(fail_status=429, fail_attempts=2)),
        ("[[fail=500 retry_after=3]]", Directives(fail_status=500, fail_attempts=1, retry_after=3)),
        ("[[fail=200x2]] [[fail=5x5]]", Directives()),
        ("[[cut=40%]]", Directives(cut_percent=40)),
        ("[[cut=400]]", Directives(cut_percent=100)),
        ("[[no_usage garbage timeout]]", Directives(no_usage=True, garbage=True, timeout=True)),
        ("[[out=3 error_canary=a b=c]] d", Directives(out=3, error_canary="a b=c")),
        ("[[out=999999999]]", Directives(out=MOST)),
    ],
)
def test_directives_are_read_from_the_prompt(prompt: str, expected: Directives) -> None:
    assert parse(prompt) == expected


@given(st.text())
def test_no_prompt_breaks_the_directives(prompt: str) -> None:
    parse(prompt)
    parse(f"[[{prompt}]]")


@pytest.mark.parametrize(
    "schema",
    [None, {}, {"properties": 5}, {"properties": {"a": 5}}, {"properties": {"a": {"type": ["null"]}}}],
)
def test_a_tool_with_an_odd_schema_is_called_all_the_same(schema: Any) -> None:
    assert tool_call("a", schema).arguments("b")
