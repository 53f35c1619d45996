"""OpenAI's API: chat completions, completions, embeddings, responses."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.provider.answers import Attempt, Provider, grouped
from sandbox.provider.counting import count, text_of

_PREFIXES: Final = ("gpt-", "o1", "o3", "o4", "text-embedding-")
_DIMENSIONS: Final = 8
_ERROR_TYPES: Final = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


def error_body(status: int, text: str) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kind = _ERROR_TYPES.get(status, "invalid_request_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": None}}


def routes(provider: Provider) -> list[Route]:
    """The endpoints, under ``/v1``."""

    async def chat(request: Request) -> Response:
        attempt = await provider.attempt(request, error_body, _PREFIXES)
        if isinstance(attempt, Response):
            return attempt
        if attempt.body.get("stream"):
            return _stream_chat(provider, attempt)
        return await provider.answer(attempt, _chat(attempt))

    async def completions(request: Request) -> Response:
        attempt = await provider.attempt(request, error_body, _PREFIXES)
        if isinstance(attempt, Response):
            return attempt
        if attempt.body.get("stream"):
            return _stream_completion(provider, attempt)
        return await provider.answer(attempt, _completion(attempt))

    async def embeddings(request: Request) -> Response:
        attempt = await provider.attempt(request, error_body, _PREFIXES)
        if isinstance(attempt, Response):
            return attempt
        attempt.charge.output = 0
        return await provider.answer(attempt, _embeddings(attempt))

    async def responses(request: Request) -> Response:
        attempt = await provider.attempt(request, error_body, _PREFIXES)
        if isinstance(attempt, Response):
            return attempt
        if attempt.body.get("stream"):
            return _stream_response(provider, attempt)
        return await provider.answer(attempt, _response(attempt, "completed"))

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/responses", responses, methods=["POST"]),
        Route("/v1/models", models),
    ]


def _usage(attempt: Attempt) -> dict[str, Any]:
    charge = attempt.charge
    return {
        "prompt_tokens": charge.prompt,
        "completion_tokens": charge.output,
        "total_tokens": charge.prompt + charge.output,
        "prompt_tokens_details": {"cached_tokens": charge.cached_input, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": charge.reasoning, "audio_tokens": 0},
    }


def _id(attempt: Attempt, prefix: str) -> str:
    return f"{prefix}-{attempt.charge.request_id}-{attempt.charge.attempt}"


def _tool_call(attempt: Attempt) -> dict[str, Any] | None:
    tools = attempt.body.get("tools")
    if not tools or not isinstance(tools[0], Mapping) or "function" not in tools[0]:
        return None
    arguments = json.dumps({"hour": "".join(attempt.words)})
    function = {"name": tools[0]["function"]["name"], "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function}


def _chat(attempt: Attempt) -> dict[str, Any]:
    call = _tool_call(attempt)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(attempt.words), "refusal": None}
    if call:
        message |= {"content": None, "tool_calls": [call]}
    choices = [
        {
            "index": number,
            "message": message,
            "finish_reason": "tool_calls" if call else "stop",
            "logprobs": None,
        }
        for number in range(int(attempt.body.get("n") or 1))
    ]
    answer = {
        "id": _id(attempt, "chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": attempt.charge.model,
        "choices": choices,
    }
    return answer | ({"usage": _usage(attempt)} if attempt.usage_reported else {})


def _data(content: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _stream_chat(provider: Provider, attempt: Attempt) -> Response:
    head = {
        "id": _id(attempt, "chatcmpl"),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": attempt.charge.model,
    }
    call = _tool_call(attempt)

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> str:
        return _data({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    chunks = [(chunk({"role": "assistant", "content": None if call else ""}), 0)]
    if call:
        name = call["function"]["name"]
        start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
        chunks.append((chunk({"tool_calls": [start]}), 0))
        chunks.append((chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"hour": "'}}]}), 0))
        for text, tokens in grouped(attempt.words):
            part = {"index": 0, "function": {"arguments": text}}
            chunks.append((chunk({"tool_calls": [part]}), tokens))
        chunks.append((chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"}'}}]}), 0))
    else:
        chunks += [(chunk({"content": text}), tokens) for text, tokens in grouped(attempt.words)]
    chunks.append((chunk({}, "tool_calls" if call else "stop"), 0))
    options = attempt.body.get("stream_options") or {}
    end = ["data: [DONE]\n\n"]
    if options.get("include_usage") and attempt.usage_reported:
        end.insert(0, _data({**head, "choices": [], "usage": _usage(attempt)}))
    return provider.stream(attempt, chunks, end)


def _completion(attempt: Attempt) -> dict[str, Any]:
    choice = {"index": 0, "text": "".join(attempt.words), "finish_reason": "stop", "logprobs": None}
    answer = {
        "id": _id(attempt, "cmpl"),
        "object": "text_completion",
        "created": int(time.time()),
        "model": attempt.charge.model,
        "choices": [choice],
    }
    return answer | ({"usage": _usage(attempt)} if attempt.usage_reported else {})


def _stream_completion(provider: Provider, attempt: Attempt) -> Response:
    head = {
        "id": _id(attempt, "cmpl"),
        "object": "text_completion",
        "created": int(time.time()),
        "model": attempt.charge.model,
    }

    def chunk(text: str, finish: str | None = None) -> str:
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        return _data({**head, "choices": [choice]})

    chunks = [(chunk(text), tokens) for text, tokens in grouped(attempt.words)]
    chunks.append((chunk("", "stop"), 0))
    options = attempt.body.get("stream_options") or {}
    end = ["data: [DONE]\n\n"]
    if options.get("include_usage") and attempt.usage_reported:
        end.insert(0, _data({**head, "choices": [], "usage": _usage(attempt)}))
    return provider.stream(attempt, chunks, end)


def _embeddings(attempt: Attempt) -> dict[str, Any]:
    inputs = attempt.body.get("input")
    texts = inputs if isinstance(inputs, list) else [inputs]
    data = [
        {"object": "embedding", "index": number, "embedding": _vector(attempt, text_of(text))}
        for number, text in enumerate(texts)
    ]
    answer: dict[str, Any] = {"object": "list", "data": data, "model": attempt.charge.model}
    if attempt.usage_reported:
        answer["usage"] = {"prompt_tokens": attempt.charge.prompt, "total_tokens": attempt.charge.prompt}
    return answer


def _vector(attempt: Attempt, text: str) -> list[float] | str:
    vector = [((count(text) + number) % 7) / 8 for number in range(_DIMENSIONS)]
    if attempt.body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *vector)).decode()
    return vector


def _response(attempt: Attempt, status: str) -> dict[str, Any]:
    charge = attempt.charge
    content = {"type": "output_text", "text": "".join(attempt.words), "annotations": []}
    message = {
        "type": "message",
        "id": _id(attempt, "msg"),
        "status": status,
        "role": "assistant",
        "content": [content],
    }
    done = status == "completed"
    usage = {
        "input_tokens": charge.prompt,
        "input_tokens_details": {"cached_tokens": charge.cached_input},
        "output_tokens": charge.output,
        "output_tokens_details": {"reasoning_tokens": charge.reasoning},
        "total_tokens": charge.prompt + charge.output,
    }
    return {
        "id": _id(attempt, "resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": attempt.body.get("instructions"),
        "metadata": {},
        "model": charge.model,
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "max_output_tokens": attempt.body.get("max_output_tokens"),
        "store": False,
        "usage": usage if done and attempt.usage_reported else None,
    }


def _stream_response(provider: Provider, attempt: Attempt) -> Response:
    item = _id(attempt, "msg")
    number = 0

    def event(kind: str, **fields: Any) -> str:
        nonlocal number
        content = {"type": kind, "sequence_number": number, **fields}
        number += 1
        return f"event: {kind}\ndata: {json.dumps(content)}\n\n"

    place = {"item_id": item, "output_index": 0, "content_index": 0}
    empty = {"type": "message", "id": item, "status": "in_progress", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    chunks = [
        (event("response.created", response=_response(attempt, "in_progress")), 0),
        (event("response.in_progress", response=_response(attempt, "in_progress")), 0),
        (event("response.output_item.added", output_index=0, item=empty), 0),
        (event("response.content_part.added", part=part, **place), 0),
    ]
    for text, tokens in grouped(attempt.words):
        chunks.append((event("response.output_text.delta", delta=text, logprobs=[], **place), tokens))
    whole = "".join(attempt.words)
    final = _response(attempt, "completed")
    end = [
        event("response.output_text.done", text=whole, logprobs=[], **place),
        event("response.content_part.done", part={**part, "text": whole}, **place),
        event("response.output_item.done", output_index=0, item=final["output"][0]),
        event("response.completed", response=final),
    ]
    return provider.stream(attempt, chunks, end)
