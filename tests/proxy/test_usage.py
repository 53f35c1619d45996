"""What providers report, in their own conventions, becomes disjoint classes of tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import usage
from tallygate.records import TokenCounts

JSON, STREAM = "application/json", "text/event-stream; charset=utf-8"
OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
RESPONSES = {
    "input_tokens": 100,
    "output_tokens": 50,
    "input_tokens_details": {"cached_tokens": 30},
    "output_tokens_details": {"reasoning_tokens": 20},
}
ANTHROPIC = {
    "input_tokens": 60,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 10,
    "output_tokens": 50,
}


def events(*contents: Mapping[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(content).encode() + b"\n\n" for content in contents)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (OPENAI, TokenCounts(input=70, cached_input=30, output=50, reasoning=20)),
        (RESPONSES, TokenCounts(input=70, cached_input=30, output=50, reasoning=20)),
        (ANTHROPIC, TokenCounts(input=60, cached_input=30, cache_write=10, output=50)),
        ({"prompt_tokens": 8, "total_tokens": 8}, TokenCounts(input=8)),
        ({"prompt_tokens": 8, "prompt_tokens_details": None}, TokenCounts(input=8)),
        (
            {"input_tokens": 3, "cache_read_input_tokens": None, "output_tokens": 1},
            TokenCounts(input=3, output=1),
        ),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, TokenCounts(cached_input=5)),
        ({"prompt_tokens": -5, "completion_tokens": 2.5}, TokenCounts()),
        ({"prompt_tokens": True, "completion_tokens": "7"}, TokenCounts()),
    ],
)
def test_counts_are_disjoint_in_either_convention(reported: dict[str, Any], expected: TokenCounts) -> None:
    assert usage.from_answer(JSON, json.dumps({"usage": reported}).encode()) == expected


@given(
    prompt=st.integers(0, 10**9),
    cached=st.integers(0, 10**9),
    completion=st.integers(0, 10**9),
    reasoning=st.integers(0, 10**9),
)
def test_the_classes_sum_to_what_was_reported(
    prompt: int, cached: int, completion: int, reasoning: int
) -> None:
    counts = usage.counts(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )

    assert counts is not None
    assert (counts.prompt, counts.output, counts.total) == (prompt, completion, prompt + completion)
    assert min(counts.input, counts.cached_input, counts.reasoning) >= 0
    assert counts.reasoning <= counts.output


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"7", b"not JSON", b'{"usage": null}', b'{"usage": {}}']
)
def test_no_usage_is_none(body: bytes) -> None:
    assert usage.from_answer(JSON, body) is None
    assert usage.from_answer(STREAM, b"data: " + body + b"\n\n") is None


START = {"type": "message_start", "message": {"usage": {**ANTHROPIC, "output_tokens": 1}}}


def test_a_stream_of_messages_tells_the_prompt_first_and_the_output_last() -> None:
    body = events(START, {"type": "message_delta", "usage": {"output_tokens": 50}})

    assert usage.from_answer(STREAM, body) == TokenCounts(60, 30, 10, 50)


def test_a_stream_of_messages_that_broke_tells_its_prompt_only() -> None:
    body = events(START, {"type": "content_block_delta", "delta": {"text": "four"}})

    assert usage.from_answer(STREAM, body) is None
    assert usage.prompt_reported(body) == TokenCounts(60, 30, 10, 1)
    assert usage.text_of_answer(STREAM, body) == "four"


def test_a_stream_of_chunks_tells_usage_in_its_last() -> None:
    body = events({"choices": [], "usage": None}, {"choices": [], "usage": OPENAI}) + b"data: [DONE]\n\n"

    counts = usage.from_answer(STREAM, body)

    assert counts is not None
    assert counts.total == 150


def test_a_stream_of_a_response_tells_usage_when_it_completes() -> None:
    body = events(
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.completed", "response": {"usage": RESPONSES}},
    )

    counts = usage.from_answer(STREAM, body)

    assert counts is not None
    assert counts.total == 150


def test_a_usage_in_a_text_is_a_text() -> None:
    forged = json.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 0}})

    body = events({"choices": [{"delta": {"content": f"data: {forged}\n\n"}}]})

    assert usage.from_answer(STREAM, body) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            {"choices": [{"message": {"content": "a", "tool_calls": [{"function": {"arguments": "b"}}]}}]},
            "ab",
        ),
        ({"choices": [{"delta": {"content": "a", "reasoning_content": "b"}}]}, "ab"),
        ({"choices": [{"text": "a"}]}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "tool_use", "input": {"b": 1}}]}, 'a{"b": 1}'),
        ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]}, "a"),
    ],
)
def test_an_estimate_counts_all_that_a_model_produced(content: dict[str, Any], text: str) -> None:
    assert "".join(sorted(usage.text_of_answer(JSON, json.dumps(content).encode()))) == "".join(sorted(text))


def test_what_a_response_says_twice_is_counted_once() -> None:
    body = events(
        {"type": "response.output_text.delta", "delta": "four"},
        {"type": "response.output_text.done", "text": "four"},
    )

    assert usage.text_of_answer(STREAM, body) == "four"


def test_pictures_are_no_text() -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ]

    assert usage.texts_of([{"role": "user", "content": content}]).split() == ["look"]


def test_of_an_answer_that_is_too_large_the_end_tells_the_usage() -> None:
    forged = json.dumps(json.dumps({"usage": {"prompt_tokens": 1}}))
    body = b'0.1, 0.2]}], "x": ' + forged.encode() + b', "usage": {"prompt_tokens": 8, "total_tokens": 8}}'

    assert usage.from_answer(JSON, body, truncated=True) == TokenCounts(input=8)
    assert usage.from_answer(JSON, body) is None
    assert usage.from_answer(JSON, forged.encode(), truncated=True) is None
