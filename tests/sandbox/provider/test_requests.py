"""Requests that make no sense are refused in the shape of the API that was called."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.provider.double import CLAUDE, GPT, Double, user

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
OPENAI_BAD: list[tuple[str, dict[str, Any], int, str | None]] = [
    (CHAT, {"messages": user("a")}, 400, "model"),
    (CHAT, {"model": 5, "messages": user("a")}, 400, "model"),
    (CHAT, {"model": "gpt-unheard-of", "messages": user("a")}, 404, None),
    (CHAT, {"model": "gpt-4o-nonsense", "messages": user("a")}, 404, None),
    (CHAT, {"model": CLAUDE, "messages": user("a")}, 404, None),
    (CHAT, {"model": "text-embedding-3-small", "messages": user("a")}, 404, None),
    (CHAT, {"model": GPT}, 400, "messages"),
    (CHAT, {"model": GPT, "messages": []}, 400, "messages"),
    (CHAT, {"model": GPT, "messages": "a"}, 400, "messages"),
    (CHAT, {"model": GPT, "messages": ["a"]}, 400, "messages[0]"),
    (CHAT, {"model": GPT, "messages": [{"role": "nobody", "content": "a"}]}, 400, "messages[0].role"),
    (CHAT, {"model": GPT, "messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content"),
    (CHAT, {"model": GPT, "messages": user("a"), "max_tokens": "many"}, 400, "max_tokens"),
    (CHAT, {"model": GPT, "messages": user("a"), "max_tokens": True}, 400, "max_tokens"),
    (CHAT, {"model": GPT, "messages": user("a"), "max_tokens": 0}, 400, "max_tokens"),
    (CHAT, {"model": GPT, "messages": user("a"), "n": 129}, 400, "n"),
    (CHAT, {"model": GPT, "messages": user("a"), "temperature": 3}, 400, "temperature"),
    (CHAT, {"model": GPT, "messages": user("a"), "stream": "yes"}, 400, "stream"),
    (CHAT, {"model": GPT, "messages": user("a"), "stream_options": {}}, 400, "stream_options"),
    ("/v1/completions", {"model": GPT, "prompt": "a"}, 404, None),
    ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": ["a", 5]}, 400, "prompt"),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": []}, 400, "input"),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [{"a": 1}]}, 400, "input"),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [[1, "a"]]}, 400, "input"),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a", "dimensions": 9999}, 400,
     "dimensions"),
    ("/v1/embeddings", {"model": "text-embedding-ada-002", "input": "a", "dimensions": 5}, 400, "dimensions"),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a", "encoding_format": "x"}, 400,
     "encoding_format"),
    ("/v1/responses", {"model": GPT}, 400, "input"),
    ("/v1/responses", {"model": GPT, "input": ["a"]}, 400, "input"),
    ("/v1/responses", {"model": GPT, "input": "a", "max_output_tokens": 0}, 400, "max_output_tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "param"), OPENAI_BAD)
def test_openai_refuses(
    path: str, body: dict[str, Any], status: int, param: str | None, double: Double
) -> None:
    answer = double.http.post(path, json=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert error["code"] == "model_not_found" or status == 400
    assert answer.headers["x-request-id"].startswith("req_")


ANTHROPIC_BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"model": None}, 400, "model: Field required"),
    ({"model": "claude-unheard-of"}, 404, "model: claude-unheard-of"),
    ({"model": GPT}, 404, f"model: {GPT}"),
    ({"max_tokens": None}, 400, "max_tokens: Field required"),
    ({"max_tokens": "many"}, 400, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": 0}, 400, "max_tokens: Input should be greater than or equal to 1"),
    ({"messages": None}, 400, "messages: Field required"),
    ({"messages": "a"}, 400, "messages: Input should be a valid list"),
    ({"messages": [{"role": "system", "content": "a"}]}, 400, "messages.0.role"),
    ({"temperature": 1.5}, 400, "temperature: Input should be less than or equal to 1"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5}}, 400, "thinking.budget_tokens"),
]


@pytest.mark.parametrize(("changes", "status", "text"), ANTHROPIC_BAD)
def test_anthropic_refuses(changes: dict[str, Any], status: int, text: str, double: Double) -> None:
    body = {"model": CLAUDE, "max_tokens": 100, "messages": user("a"), **changes}

    answer = double.http.post(MESSAGES, json=body)

    content = answer.json()
    assert (answer.status_code, content["type"]) == (status, "error")
    assert content["error"]["message"].startswith(text)
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    assert content["error"]["type"] == kind
    assert content["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"a"', b"\xff\xfe", b'{"a": "\\uD800"}', b"[" * 100_000]
)
def test_a_body_that_is_no_json_object_is_refused(path: str, content: bytes, double: Double) -> None:
    answer = double.http.post(path, content=content)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_whole_character_in_two_escapes_is_fine(double: Double) -> None:
    content = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\\ud83d\\ude00"}]}'

    answer = double.http.post(CHAT, content=content)

    assert (answer.status_code, answer.json()["usage"]["prompt_tokens"]) == (200, 3 + 1)


def test_a_call_without_a_key_is_refused(double: Double) -> None:
    chat = double.http.post(CHAT, json={}, headers={"authorization": ""})
    message = double.http.post(MESSAGES, json={}, headers={"authorization": ""})

    assert (chat.status_code, chat.json()["error"]["code"]) == (401, "invalid_api_key")
    assert (message.status_code, message.json()["error"]["type"]) == (401, "authentication_error")


def test_anthropic_wants_its_version(double: Double) -> None:
    body = {"model": CLAUDE, "max_tokens": 100, "messages": user("a")}
    del double.http.headers["anthropic-version"]
    try:
        answer = double.http.post(MESSAGES, json=body)
    finally:
        double.http.headers["anthropic-version"] = "2023-06-01"

    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "anthropic-version: header is required",
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_refused_in_the_apis_shape(method: str, double: Double) -> None:
    answer = double.http.request(method, "/v1/nothing")

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"
