"""Chat completions and completions through the official client, counted as the ledger counts them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk

from tests.sandbox.provider.double import GPT, Double, named, new_id, user

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "first", "parameters": {"type": "object"}}},
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {
                "type": "object",
                "properties": {"count": {"type": "integer"}, "city": {"type": "string"}},
                "required": ["city", "count"],
            },
        },
    },
]
WITH_USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("[[out=20]] hello", {}),
    "cached and reasoning": ("[[out=20 cached=5 reasoning=7]] hello there", {}),
    "cache written": ("[[out=20 cached=5 cache_write=3]] hello there", {}),
    "more cached than the prompt has": ("[[out=2 cached=999 cache_write=999]]", {}),
    "several answers": ("[[out=9 reasoning=2]]", {"n": 3}),
    "max_tokens": ("[[out=500]]", {"max_tokens": 7}),
    "max_completion_tokens": ("[[out=500 reasoning=90]]", {"max_completion_tokens": 7}),
    "tools": ("[[out=20]]", {"tools": TOOLS}),
    "nothing to say": ("[[out=0]]", {}),
}


def by_class(usage: CompletionUsage | None) -> dict[str, int]:
    """The disjoint classes of an inclusive count."""
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    inside = usage.prompt_tokens_details
    assert inside is not None
    assert inside.cached_tokens is not None
    assert inside.cache_write_tokens is not None
    classes = {
        "input": usage.prompt_tokens - inside.cached_tokens - inside.cache_write_tokens,
        "cached_input": inside.cached_tokens,
        "cache_write": inside.cache_write_tokens,
        "output": usage.completion_tokens,
    }
    return {name: tokens for name, tokens in classes.items() if tokens}


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_reports_what_is_charged(name: str, double: Double) -> None:
    prompt, options = CASES[name]
    request_id = new_id()

    answer = double.openai.chat.completions.create(
        model=GPT, messages=user(prompt), extra_headers=named(request_id), **options
    )

    charged = double.charged(request_id)
    assert by_class(answer.usage) == charged
    assert min(charged.values()) > 0
    assert double.ended(request_id) == (True, True)
    assert [choice.index for choice in answer.choices] == list(range(options.get("n", 1)))


@pytest.mark.parametrize("name", CASES)
def test_a_stream_reports_what_is_charged_in_its_last_chunk(name: str, double: Double) -> None:
    prompt, options = CASES[name]
    request_id = new_id()

    chunks: list[ChatCompletionChunk] = list(
        double.openai.chat.completions.create(
            model=GPT, messages=user(prompt), extra_headers=named(request_id), **WITH_USAGE, **options
        )
    )

    assert by_class(chunks[-1].usage) == double.charged(request_id)
    assert chunks[-1].choices == []
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert {choice.index for chunk in chunks for choice in chunk.choices} == set(range(options.get("n", 1)))
    assert double.ended(request_id) == (True, True)


@pytest.mark.parametrize("options", [{}, {"n": 2}, {"tools": TOOLS}])
def test_a_stream_says_the_same_as_the_whole_answer(options: dict[str, Any], double: Double) -> None:
    asked: dict[str, Any] = {"model": GPT, "messages": user("[[out=30]] hello"), **options}

    whole = double.openai.chat.completions.create(**asked)
    with double.openai.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()

    for one, other in zip(whole.choices, streamed.choices, strict=True):
        assert (one.message.content, one.finish_reason) == (other.message.content, other.finish_reason)
        calls, other_calls = (choice.message.tool_calls or [] for choice in (one, other))
        assert [call.model_dump()["function"]["arguments"] for call in calls] == [
            call.model_dump()["function"]["arguments"] for call in other_calls
        ]


def test_reasoning_is_part_of_the_completion_and_not_of_the_text(double: Double) -> None:
    answer = double.openai.chat.completions.create(model=GPT, messages=user("[[out=20 reasoning=7]]"), n=2)

    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2 * 20
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2 * 7
    assert [len((choice.message.content or "").split()) for choice in answer.choices] == [13, 13]


def test_a_stream_comes_in_pieces_over_its_time_and_ends_with_done(double: Double) -> None:
    body = {"model": GPT, "messages": user("[[out=40 delay_ms=300]]"), "stream": True}

    with double.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        pieces = list(answer.iter_raw())

    assert len(pieces) >= 4
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")


def test_a_stream_that_was_not_asked_for_usage_reports_none(double: Double) -> None:
    request_id = new_id()

    chunks = list(
        double.openai.chat.completions.create(
            model=GPT, messages=user("[[out=9]]"), stream=True, extra_headers=named(request_id)
        )
    )

    assert all(chunk.usage is None for chunk in chunks)
    assert double.ended(request_id) == (False, True)
    assert double.charged(request_id)["output"] == 9


def test_the_tool_that_was_asked_for_is_called_with_arguments_of_its_schema(double: Double) -> None:
    answer = double.openai.chat.completions.create(
        model=GPT,
        messages=user("[[out=5]]"),
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "look_up"}},
    )

    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments) == {"city": " w00 w01 w02 w03 w04", "count": 1}
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", None)


def test_a_tools_result_is_answered_with_text(double: Double) -> None:
    conversation: list[Any] = user("[[out=5]]")
    asked = double.openai.chat.completions.create(model=GPT, messages=conversation, tools=TOOLS)
    call = (asked.choices[0].message.tool_calls or [])[0]
    conversation += [
        asked.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]

    answer = double.openai.chat.completions.create(model=GPT, messages=conversation, tools=TOOLS)

    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == " w00 w01 w02 w03 w04"


def test_tools_that_may_not_be_called_are_not(double: Double) -> None:
    answer = double.openai.chat.completions.create(
        model=GPT, messages=user("hello"), tools=TOOLS, tool_choice="none"
    )

    assert answer.choices[0].message.tool_calls is None


def test_logprobs_name_each_token_of_the_answer(double: Double) -> None:
    asked: dict[str, Any] = {"model": GPT, "messages": user("[[out=12]]"), "logprobs": True}

    whole = double.openai.chat.completions.create(**asked)
    chunks = list(double.openai.chat.completions.create(**asked, stream=True))

    expected = [f" w{number:02}" for number in range(12)]
    probabilities = whole.choices[0].logprobs
    assert probabilities is not None
    assert [token.token for token in probabilities.content or []] == expected
    streamed = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    assert [token.token for part in streamed for token in part.content or []] == expected


def test_an_answer_that_reached_its_limit_says_so(double: Double) -> None:
    limits: list[Any] = [{"max_tokens": 3}, {"max_completion_tokens": 3}]
    for options in limits:
        answer = double.openai.chat.completions.create(model=GPT, messages=user("[[out=4]]"), **options)
        assert answer.choices[0].finish_reason == "length"
    answer = double.openai.chat.completions.create(model=GPT, messages=user("[[out=3]]"), max_tokens=3)
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("prompt", "answers"),
    [("[[out=9]] a", 1), (["[[out=9]] a", "b"], 2), ([11, 12, 13], 1), ([[11, 12], [13]], 2)],
)
def test_each_prompt_of_a_completion_is_completed_and_charged(
    prompt: Any, answers: int, double: Double
) -> None:
    request_id = new_id()
    asked: dict[str, Any] = {"model": "gpt-3.5-turbo-instruct", "prompt": prompt, "n": 2, "logprobs": 1}

    answer = double.openai.completions.create(**asked, extra_headers=named(request_id))
    chunks = list(double.lenient.completions.create(**asked, **WITH_USAGE, extra_headers=named(request_id)))

    assert len(answer.choices) == 2 * answers
    for attempt, usage in ((1, answer.usage), (2, chunks[-1].usage)):
        assert by_class(usage) == double.charged(request_id, attempt)
    for choice in answer.choices:
        parts = [c for chunk in chunks for c in chunk.choices if c.index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert choice.logprobs is not None
        assert "".join(choice.logprobs.tokens or []) == choice.text
