"""Embeddings, responses and the list of models through the official client."""

from __future__ import annotations

import json
import math
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.sandbox.provider.double import GPT, Double, named, new_id, user

SMALL = "text-embedding-3-small"
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "look_up",
        "strict": None,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": ("[[out=20]] hello", {}),
    "cached, written and reasoning": ("[[out=20 cached=3 cache_write=2 reasoning=7]] hello there", {}),
    "as long as it may be": ("[[out=12]]", {"max_output_tokens": 5}),
    "tools": ("[[out=20]] hello", {"tools": TOOLS}),
    "messages": (user("[[out=20]] hello"), {"instructions": "be short"}),
}


def by_class(answer: Response) -> dict[str, int]:
    """The disjoint classes of an inclusive count."""
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    inside = usage.input_tokens_details
    classes = {
        "input": usage.input_tokens - inside.cached_tokens - inside.cache_write_tokens,
        "cached_input": inside.cached_tokens,
        "cache_write": inside.cache_write_tokens,
        "output": usage.output_tokens,
    }
    return {name: tokens for name, tokens in classes.items() if tokens}


@pytest.mark.parametrize("name", CASES)
def test_a_response_reports_what_is_charged_whole_and_streamed(name: str, double: Double) -> None:
    prompt, options = CASES[name]
    request_id = new_id()
    asked: dict[str, Any] = {"model": GPT, "input": prompt, "extra_headers": named(request_id), **options}

    whole = double.openai.responses.create(**asked)
    events = list(double.openai.responses.create(**asked, stream=True))

    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert by_class(whole) == double.charged(request_id, 1)
    assert by_class(last.response) == double.charged(request_id, 2)
    assert last.response.status == whole.status == ("incomplete" if "long" in name else "completed")
    assert last.response.output_text == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_the_events_of_a_response_come_in_the_documented_order(double: Double) -> None:
    events = list(double.openai.responses.create(model=GPT, input="[[out=2 reasoning=1]]", stream=True))

    assert [event.type.removeprefix("response.") for event in events] == [
        "created", "in_progress",
        "output_item.added", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip


def test_the_sdk_puts_a_streamed_response_together_again(double: Double) -> None:
    with double.openai.responses.stream(model=GPT, input="[[out=30]]") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert len(deltas) >= 4
    assert "".join(deltas) == final.output_text


def test_a_response_calls_its_tool_and_goes_on_after_the_result(double: Double) -> None:
    asked = double.openai.responses.create(model=GPT, input="[[out=2]]", tools=TOOLS)
    (call,) = asked.output
    assert call.type == "function_call"

    items: list[Any] = [
        *user("[[out=2]]"),
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    answer = double.openai.responses.create(model=GPT, input=items, tools=TOOLS)

    assert json.loads(call.arguments) == {"city": " w00 w01"}
    assert answer.output_text == " w00 w01"


@pytest.mark.parametrize("options", [{"previous_response_id": "resp_1"}, {"background": True}])
def test_what_needs_storage_is_refused(options: dict[str, Any], double: Double) -> None:
    with pytest.raises(openai.BadRequestError):
        double.openai.responses.create(model=GPT, input="hello", **options)


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [("eight by", 2), (["four", "eight by"], 3), ([1, 2, 3], 3), ([[1, 2], [3, 4, 5]], 5)],
)
def test_embeddings_are_charged_by_their_input_alone(texts: Any, tokens: int, double: Double) -> None:
    request_id = new_id()

    answer = double.openai.embeddings.create(
        model=SMALL, input=texts, encoding_format="float", extra_headers=named(request_id)
    )

    assert double.charged(request_id) == {"input": tokens}
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    assert {len(one.embedding) for one in answer.data} == {1536}


def test_a_vector_is_the_same_in_both_encodings_and_of_length_one(double: Double) -> None:
    packed = double.lenient.embeddings.create(model=SMALL, input="hello", dimensions=64)
    plain = double.openai.embeddings.create(
        model=SMALL, input="hello", dimensions=64, encoding_format="float"
    )
    other = double.lenient.embeddings.create(model=SMALL, input="another", dimensions=64)

    vector = plain.data[0].embedding
    assert packed.data[0].embedding == pytest.approx(vector, abs=1e-6)
    assert math.hypot(*vector) == pytest.approx(1)
    assert other.data[0].embedding != packed.data[0].embedding


def test_models_are_listed_and_found(double: Double) -> None:
    listed = [model.id for model in double.openai.models.list()]

    assert GPT in listed
    assert double.openai.models.retrieve(GPT).id == GPT
    with pytest.raises(openai.NotFoundError):
        double.openai.models.retrieve("gpt-unheard-of")
