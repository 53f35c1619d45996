"""Unmodified OpenAI and Anthropic clients get what they would get from the provider."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.support.gateway import Instance, Site

GPT, CLAUDE = "gpt-4o", "claude-haiku-4-5"
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CLAUDE_TOOL: Any = {"name": "look_up", "input_schema": {"type": "object"}}


def says(text: str) -> Any:
    return [{"role": "user", "content": text}]


def words(count: int) -> str:
    """What the double answers, ``count`` tokens of it."""
    return "".join(f" w{number:02}" for number in range(count))


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_chat_is_the_same_streamed_and_not(model: str, openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(model=model, messages=says("[[out=30]]"))
    chunks = list(
        openai_client.chat.completions.create(model=model, messages=says("[[out=30]]"), stream=True)
    )

    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert whole.choices[0].message.content == "".join(texts) == words(30)
    assert whole.choices[0].finish_reason == "stop"
    assert reasons == ["stop"]


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_tool_is_called(model: str, openai_client: openai.OpenAI) -> None:
    tools: Any = [TOOL]

    answer = openai_client.chat.completions.create(model=model, messages=says("[[out=2]]"), tools=tools)

    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    call: Any = calls[0]
    assert call.function.name == "look_up"
    assert "w00" in call.function.arguments


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_client_that_did_not_ask_for_usage_sees_none(model: str, openai_client: openai.OpenAI) -> None:
    plain = list(openai_client.chat.completions.create(model=model, messages=says("[[out=9]]"), stream=True))
    asking = list(
        openai_client.chat.completions.create(
            model=model, messages=says("[[out=9]]"), stream=True, stream_options={"include_usage": True}
        )
    )

    assert all(chunk.usage is None for chunk in plain)
    assert asking[-1].usage is not None
    assert asking[-1].usage.completion_tokens == 9


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_response_is_the_same_streamed_and_not(model: str, openai_client: openai.OpenAI) -> None:
    whole = openai_client.responses.create(model=model, input="[[out=30]]")
    with openai_client.responses.stream(model=model, input="[[out=30]]") as stream:
        streamed = stream.get_final_response()

    assert whole.output_text == streamed.output_text == words(30)
    assert streamed.usage is not None
    assert streamed.usage.output_tokens == 30


@pytest.mark.parametrize("model", [CLAUDE, GPT])
def test_a_message_is_the_same_streamed_and_not(model: str, anthropic_client: anthropic.Anthropic) -> None:
    whole = anthropic_client.messages.create(model=model, messages=says("[[out=30]]"), max_tokens=99)
    with anthropic_client.messages.stream(model=model, messages=says("[[out=30]]"), max_tokens=99) as stream:
        streamed = stream.get_final_message()

    for message in (whole, streamed):
        block: Any = message.content[0]
        assert block.text == words(30)
        assert message.usage.output_tokens == 30
        assert message.stop_reason == "end_turn"


def test_a_message_calls_a_tool(anthropic_client: anthropic.Anthropic) -> None:
    answer = anthropic_client.messages.create(
        model=CLAUDE, messages=says("[[out=2]]"), max_tokens=99, tools=[CLAUDE_TOOL]
    )

    block: Any = answer.content[0]
    assert (block.type, block.name) == ("tool_use", "look_up")


def test_tokens_of_a_message_are_counted(anthropic_client: anthropic.Anthropic) -> None:
    assert anthropic_client.messages.count_tokens(model=CLAUDE, messages=says("hello")).input_tokens == 5


def test_embeddings_are_numbers(openai_client: openai.OpenAI) -> None:
    answer = openai_client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])

    assert [len(entry.embedding) for entry in answer.data] == [1536, 1536]


@pytest.mark.parametrize(
    ("directive", "kind"),
    [
        ("[[fail=429x9]]", openai.RateLimitError),
        ("[[fail=400x9]]", openai.BadRequestError),
        ("[[fail=500x9]]", openai.InternalServerError),
        ("[[fail=503x9]]", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_the_provider_is_the_clients_exception(
    directive: str, kind: type[openai.APIStatusError], stream: bool, openai_client: openai.OpenAI
) -> None:
    with pytest.raises(kind, match="the double was asked to fail") as caught:
        openai_client.chat.completions.create(model="impatient", messages=says(directive), stream=stream)

    assert caught.value.code in ("provider_error", "provider_rate_limited")


@pytest.mark.parametrize(
    ("directive", "kind"),
    [
        ("[[fail=429x9]]", anthropic.RateLimitError),
        ("[[fail=400x9]]", anthropic.BadRequestError),
        ("[[fail=500x9]]", anthropic.InternalServerError),
        ("[[fail=529x9]]", anthropic.InternalServerError),
    ],
)
def test_a_failure_of_the_provider_is_the_other_clients_exception(
    directive: str, kind: type[Exception], anthropic_client: anthropic.Anthropic
) -> None:
    with pytest.raises(kind, match="the double was asked to fail"):
        anthropic_client.messages.create(model="impatient-claude", messages=says(directive), max_tokens=9)


def test_a_stream_that_breaks_off_is_an_error_in_the_stream(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    cut = says("[[out=80 cut=50% delay_ms=100]]")
    texts: list[str] = []

    chunks = openai_client.chat.completions.create(model=GPT, messages=cut, stream=True)
    with pytest.raises(openai.APIError, match="broke off"):
        texts.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
    with (
        pytest.raises(anthropic.APIError, match="broke off"),
        anthropic_client.messages.stream(model=CLAUDE, messages=cut, max_tokens=99) as stream,
    ):
        texts += stream.text_stream

    assert words(8) in "".join(texts)


def test_limits_are_told_in_headers(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"model": GPT, "messages": says("hi")})

    limits = {name for name in answer.headers if name.startswith("x-ratelimit-")}
    assert limits == {
        f"x-ratelimit-{part}-{of}"
        for part in ("limit", "remaining", "reset")
        for of in ("requests", "tokens")
    }


def _leave(stream: Any) -> str:
    next(iter(stream))
    request_id = str(stream.response.headers["x-request-id"])
    stream.close()
    return request_id


@pytest.mark.parametrize("api", ["openai", "anthropic", "responses"])
def test_after_a_disconnect_the_provider_is_read_to_its_end(
    api: str,
    gateway: Instance,
    provider_site: Site,
    openai_client: openai.OpenAI,
    anthropic_client: anthropic.Anthropic,
) -> None:
    text = "[[out=200 delay_ms=600]]"
    stream: Any
    if api == "openai":
        stream = openai_client.chat.completions.create(model=GPT, messages=says(text), stream=True)
    elif api == "responses":
        stream = openai_client.responses.create(model=GPT, input=text, stream=True)
    else:
        stream = anthropic_client.messages.create(
            model=CLAUDE, messages=says(text), max_tokens=300, stream=True
        )

    request_id = _leave(stream)

    event = gateway.event_of(request_id)
    assert (event["status"], event["http_status"], event["estimated"]) == ("cancelled", 499, False)
    assert event["output_tokens"] == provider_site.charged(request_id, 1)["output"] == 200


def test_a_client_that_leaves_before_the_answer_leaves_an_event_with_its_counts(
    gateway: Instance, provider_site: Site, openai_client: openai.OpenAI
) -> None:
    client = openai_client.with_options(timeout=0.2)
    before = len(gateway.lines())

    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=GPT, messages=says("[[out=50 delay_ms=700]]"))

    admitted = gateway.lines()[before]
    event = gateway.event_of(admitted["request_id"])
    assert (event["status"], event["http_status"], event["estimated"]) == ("cancelled", 499, False)
    assert event["output_tokens"] == provider_site.charged(event["request_id"], 1)["output"] == 50
