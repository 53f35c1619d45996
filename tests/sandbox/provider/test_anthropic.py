"""Messages, token counts and the list of models through the official client."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic.types import Message, Usage

from tests.sandbox.provider.double import CLAUDE, Double, named, new_id, user

TOOLS: list[Any] = [
    {
        "name": "look_up",
        "input_schema": {
            "type": "object",
            "properties": {"unit": {"type": "string", "enum": ["C", "F"]}, "city": {"type": "string"}},
            "required": ["city", "unit"],
        },
    }
]
THINKING: Any = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("[[out=20]] hello", {}),
    "cached and written": ("[[out=20 cached=4 cache_write=3]] hello", {}),
    "as long as it may be": ("[[out=500]]", {"max_tokens": 7}),
    "tools": ("[[out=20]]", {"tools": TOOLS}),
    "thinking": ("[[out=20 reasoning=7]]", THINKING),
    "reasoning without thinking": ("[[out=20 reasoning=7]]", {}),
    "system": ("[[out=3]]", {"system": [{"type": "text", "text": "be short"}]}),
}
LONG = "a long text to be cached. " * 250  # 6,500 bytes: 1,625 tokens


def asked(prompt: str, **options: Any) -> dict[str, Any]:
    """Parameters of a message."""
    return {"model": CLAUDE, "max_tokens": 2000, "messages": user(prompt), **options}


def by_class(usage: Usage) -> dict[str, int]:
    """The classes of a disjoint count."""
    classes = {
        "input": usage.input_tokens,
        "cached_input": usage.cache_read_input_tokens or 0,
        "cache_write": usage.cache_creation_input_tokens or 0,
        "output": usage.output_tokens,
    }
    return {name: tokens for name, tokens in classes.items() if tokens}


@pytest.mark.parametrize("name", CASES)
def test_a_message_reports_what_is_charged_whole_and_streamed(name: str, double: Double) -> None:
    prompt, options = CASES[name]
    request_id = new_id()
    parameters = asked(prompt, extra_headers=named(request_id), **options)

    whole = double.anthropic.messages.create(**parameters)
    with double.anthropic.messages.stream(**parameters) as stream:
        streamed = stream.get_final_message()

    assert by_class(whole.usage) == double.charged(request_id, 1)
    assert by_class(streamed.usage) == double.charged(request_id, 2)
    assert double.ended(request_id) == (True, True)
    assert said(whole) == said(streamed)
    assert (
        whole.stop_reason == streamed.stop_reason == ("max_tokens" if "long" in name else whole.stop_reason)
    )


def said(message: Message) -> list[Any]:
    """The content without ids."""
    return [
        block.model_dump(include={"type", "text", "name", "input", "thinking", "signature"})
        for block in message.content
    ]


def events(double: Double, **parameters: Any) -> list[str]:
    """The types of a stream's events as they are on the wire."""
    lines = []
    with double.http.stream("POST", "/v1/messages", json={**parameters, "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("event: ")]
    return [line.removeprefix("event: ") for line in lines]


def test_the_events_of_a_message_come_in_the_documented_order(double: Double) -> None:
    assert events(double, **asked("[[out=2]]")) == [
        "message_start", "content_block_start", "ping", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def test_a_thought_comes_in_a_signed_block_before_the_answer(double: Double) -> None:
    kinds = events(double, **asked("[[out=2 reasoning=1]]", **THINKING))
    answer = double.anthropic.messages.create(**asked("[[out=2 reasoning=1]]", **THINKING))

    assert kinds == [
        "message_start",
        "content_block_start", "ping", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.usage.output_tokens_details is not None
    assert answer.usage.output_tokens_details.thinking_tokens == 1


def test_a_stream_tells_the_prompt_at_its_start_and_the_output_at_its_end(double: Double) -> None:
    request_id = new_id()

    stream = double.anthropic.messages.create(
        **asked("[[out=9 cached=2]] hello there"), stream=True, extra_headers=named(request_id)
    )
    found = list(stream)

    charged = double.charged(request_id)
    start = next(event for event in found if event.type == "message_start").message.usage
    delta = next(event for event in found if event.type == "message_delta").usage
    assert (start.input_tokens, start.cache_read_input_tokens) == (charged["input"], charged["cached_input"])
    assert delta.output_tokens == charged["output"] == 9


def test_a_tool_is_called_with_input_of_its_schema_and_its_result_answered(double: Double) -> None:
    call = double.anthropic.messages.create(**asked("[[out=2]]", tools=TOOLS))
    block = call.content[0]
    assert block.type == "tool_use"
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
    conversation = [
        *user("[[out=2]]"),
        {"role": "assistant", "content": [block.model_dump(exclude_none=True)]},
        {"role": "user", "content": [result]},
    ]

    answer = double.anthropic.messages.create(**asked("", tools=TOOLS) | {"messages": conversation})

    assert (call.stop_reason, block.name) == ("tool_use", "look_up")
    assert block.input == {"city": " w00 w01", "unit": "C"}
    assert answer.stop_reason == "end_turn"


def cached_prompt(mark: str, **marker: Any) -> dict[str, Any]:
    """A request whose system prompt is marked for the cache; ``mark`` makes it one of its own."""
    block = {"type": "text", "text": mark + LONG, "cache_control": {"type": "ephemeral", **marker}}
    return asked("[[out=1]]", system=[block])


def test_a_marked_prompt_is_written_to_the_cache_once_and_then_read(double: Double) -> None:
    first, second = (double.anthropic.messages.create(**cached_prompt("twice")).usage for _ in range(2))

    written = first.cache_creation_input_tokens
    assert written
    assert (first.cache_read_input_tokens, first.cache_creation and first.cache_creation.model_dump()) == (
        0,
        {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
    )
    assert (second.cache_read_input_tokens, second.cache_creation_input_tokens) == (written, 0)
    assert first.input_tokens == second.input_tokens


@pytest.mark.parametrize(("ttl", "seconds", "kept"), [("5m", 299, 1), ("5m", 301, 0), ("1h", 3500, 1)])
def test_a_cached_prompt_lives_as_long_as_its_marker_says(
    ttl: str, seconds: int, kept: bool, double: Double
) -> None:
    parameters = cached_prompt(f"{ttl} {seconds}", ttl=ttl)
    first = double.anthropic.messages.create(**parameters).usage

    double.advance(seconds)
    later = double.anthropic.messages.create(**parameters).usage

    assert bool(later.cache_read_input_tokens) == kept
    assert first.cache_creation is not None
    assert bool(first.cache_creation.ephemeral_1h_input_tokens) == (ttl == "1h")


def test_a_conversation_reads_its_beginning_and_writes_the_rest(double: Double) -> None:
    parameters = cached_prompt("conversation")
    written = double.anthropic.messages.create(**parameters).usage.cache_creation_input_tokens
    block = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}
    longer = {**parameters, "messages": [{"role": "user", "content": [block]}]}

    usage = double.anthropic.messages.create(**longer).usage

    assert usage.cache_read_input_tokens == written
    assert usage.cache_creation_input_tokens


def test_another_key_and_a_short_prompt_find_nothing_in_the_cache(double: Double) -> None:
    double.anthropic.messages.create(**cached_prompt("mine"))
    other = double.anthropic.with_options(api_key="sk-other").messages.create(**cached_prompt("mine"))
    short = asked("", system=[{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}])
    double.anthropic.messages.create(**short)

    assert other.usage.cache_read_input_tokens == 0
    usage = double.anthropic.messages.create(**short).usage
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (0, 0)


def test_counted_tokens_are_those_that_a_message_is_charged(double: Double) -> None:
    request_id = new_id()
    parameters: dict[str, Any] = {"model": CLAUDE, "messages": user("hello there"), "system": "be short"}

    counted = double.anthropic.messages.count_tokens(**parameters, extra_headers=named(request_id))
    free = double.ledger(request_id)
    double.anthropic.messages.create(**parameters, max_tokens=5, extra_headers=named(request_id))

    assert free == []
    assert double.charged(request_id)["input"] == counted.input_tokens


def test_models_are_listed_and_found(double: Double) -> None:
    assert CLAUDE in [model.id for model in double.anthropic.models.list()]
    assert double.anthropic.models.retrieve(CLAUDE).id == CLAUDE
    with pytest.raises(anthropic.NotFoundError):
        double.anthropic.models.retrieve("claude-unheard-of")
