"""Anthropic's API: messages and token counting."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.provider.answers import Attempt, Provider, grouped
from sandbox.provider.counting import count_prompt

_PREFIXES: Final = ("claude-",)
_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error_body(status: int, text: str) -> dict[str, Any]:
    """An error in Anthropic's shape."""
    return {"type": "error", "error": {"type": _ERROR_TYPES.get(status, "api_error"), "message": text}}


def routes(provider: Provider) -> list[Route]:
    """The endpoints, under ``/v1``."""

    async def messages(request: Request) -> Response:
        attempt = await provider.attempt(request, error_body, _PREFIXES)
        if isinstance(attempt, Response):
            return attempt
        if attempt.body.get("stream"):
            return _stream(provider, attempt)
        return await provider.answer(attempt, _message(attempt))

    async def count_tokens(request: Request) -> Response:
        return JSONResponse({"input_tokens": count_prompt(await request.json())})

    return [
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
    ]


def _usage(attempt: Attempt, output: int) -> dict[str, Any]:
    """The classes are disjoint: ``input_tokens`` does not hold the cached ones."""
    charge = attempt.charge
    return {
        "input_tokens": charge.input,
        "cache_creation_input_tokens": charge.cache_write,
        "cache_read_input_tokens": charge.cached_input,
        "cache_creation": {
            "ephemeral_5m_input_tokens": charge.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }


def _content(attempt: Attempt) -> list[dict[str, Any]]:
    text = "".join(attempt.words)
    tools = attempt.body.get("tools")
    if tools:
        return [{"type": "tool_use", "id": "toolu_1", "name": tools[0]["name"], "input": {"hour": text}}]
    return [{"type": "text", "text": text}]


def _message(attempt: Attempt) -> dict[str, Any]:
    answer = {
        "id": f"msg_{attempt.charge.request_id}_{attempt.charge.attempt}",
        "type": "message",
        "role": "assistant",
        "model": attempt.charge.model,
        "content": _content(attempt),
        "stop_reason": "tool_use" if attempt.body.get("tools") else "end_turn",
        "stop_sequence": None,
    }
    usage = _usage(attempt, attempt.charge.output) if attempt.usage_reported else None
    return answer | ({"usage": usage} if usage else {})


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def _stream(provider: Provider, attempt: Attempt) -> Response:
    start = {
        **_message(attempt),
        "content": [],
        "stop_reason": None,
        "usage": _usage(attempt, 1 if attempt.usage_reported else 0),
    }
    if not attempt.usage_reported:
        start["usage"] = {"input_tokens": 0, "output_tokens": 0}
    block = _content(attempt)[0]
    is_tool = block["type"] == "tool_use"
    empty = {**block, "input": {}} if is_tool else {**block, "text": ""}
    chunks = [
        (_event("message_start", message=start), 0),
        (_event("content_block_start", index=0, content_block=empty), 0),
        (_event("ping"), 0),
    ]
    if is_tool:
        parts = ['{"hour": "', *(text for text, _ in grouped(attempt.words)), '"}']
        tokens = [0, *(n for _, n in grouped(attempt.words)), 0]
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    else:
        tokens = [n for _, n in grouped(attempt.words)]
        deltas = [{"type": "text_delta", "text": text} for text, _ in grouped(attempt.words)]
    for delta, n in zip(deltas, tokens, strict=True):
        chunks.append((_event("content_block_delta", index=0, delta=delta), n))
    stop = {"stop_reason": "tool_use" if is_tool else "end_turn", "stop_sequence": None}
    usage = {"output_tokens": attempt.charge.output if attempt.usage_reported else 0}
    end = [
        _event("content_block_stop", index=0),
        _event("message_delta", delta=stop, usage=usage),
        _event("message_stop"),
    ]
    return provider.stream(attempt, chunks, end)
