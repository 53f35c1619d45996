"""Anthropic's API: messages, token counting and the list of models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.provider import validation
from sandbox.provider.calls import Call, Endpoint, Piece, Provider, check, read_body, refused, unknown_model
from sandbox.provider.counting import count_prompt
from sandbox.provider.dialects import ANTHROPIC, RefusalError
from sandbox.provider.models import ANTHROPIC_LISTED, CLAUDE
from sandbox.provider.prompt_cache import hour_long
from sandbox.provider.tools import ToolCall, tool_call

_ROLES: Final = frozenset({"user", "assistant"})
_CREATED: Final = "2025-01-01T00:00:00Z"
_SIGNATURE: Final = "c2FuZGJveA=="


def _thinks(body: Mapping[str, Any]) -> bool:
    return (body.get("thinking") or {}).get("type") == "enabled"


def _check(body: Mapping[str, Any]) -> None:
    if not _thinks(body):
        return
    budget = body["thinking"].get("budget_tokens")
    if not isinstance(budget, int) or budget < 1024 or budget >= body["max_tokens"]:
        text = "thinking.budget_tokens: must be at least 1024 and less than max_tokens"
        raise RefusalError(400, text, param="thinking")


MESSAGES_ENDPOINT: Final = Endpoint(
    ANTHROPIC, "messages", CLAUDE, validation.MESSAGES, ("max_tokens",), _ROLES, check=_check, reasons=_thinks
)  # fmt: skip
COUNT_ENDPOINT: Final = Endpoint(
    ANTHROPIC, "messages/count_tokens", CLAUDE, validation.COUNT_TOKENS, roles=_ROLES
)


def routes(provider: Provider) -> list[Route]:
    """The endpoints, under ``/v1``."""

    async def messages(request: Request) -> Response:
        call = await provider.open(request, MESSAGES_ENDPOINT)
        if isinstance(call, Response):
            return call
        if call.stream:
            return provider.stream(call, *_stream(call), reports=True)
        return await provider.answer(call, _message(call))

    async def count_tokens(request: Request) -> Response:
        """Free of charge: the ledger does not see it."""
        try:
            body = await read_body(request, ANTHROPIC)
            check(body, COUNT_ENDPOINT)
        except RefusalError as refusal:
            return refused(refusal, ANTHROPIC, "count")
        return JSONResponse({"input_tokens": count_prompt(body)})

    return [
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
    ]


def list_models() -> Response:
    """The list of models."""
    return JSONResponse(
        {
            "data": [_model(name) for name in ANTHROPIC_LISTED],
            "has_more": False,
            "first_id": ANTHROPIC_LISTED[0],
            "last_id": ANTHROPIC_LISTED[-1],
        }
    )


def one_model(name: str) -> Response:
    """One model, listed or not."""
    if not CLAUDE.fullmatch(name):
        return refused(unknown_model(name, ANTHROPIC), ANTHROPIC, "models")
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _CREATED,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
    }


def _usage(call: Call, output: int) -> dict[str, Any]:
    """The classes are disjoint: ``input_tokens`` does not hold the cached ones."""
    written = call.charge.cache_write
    hour = written if hour_long(call.body) else 0
    return {
        **_counts(call, output),
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - hour,
            "ephemeral_1h_input_tokens": hour,
        },
        "service_tier": "standard",
        "inference_geo": "not_available",
    }


def _counts(call: Call, output: int) -> dict[str, Any]:
    thought = {"output_tokens_details": {"thinking_tokens": call.reasoning}} if call.reasoning else {}
    return {
        "input_tokens": call.charge.input,
        "cache_creation_input_tokens": call.charge.cache_write,
        "cache_read_input_tokens": call.charge.cached_input,
        "output_tokens": output,
        **thought,
    }


def _tool(call: Call) -> ToolCall | None:
    """The tool that the answer calls: the one asked for, else the first; none after a tool's result."""
    tools = [tool for tool in call.body.get("tools") or () if isinstance(tool, Mapping) and "name" in tool]
    choice = call.body.get("tool_choice") or {}
    if not tools or choice.get("type") == "none" or _holds_result(call.body["messages"][-1]):
        return None
    tool = next((one for one in tools if one["name"] == choice.get("name")), tools[0])
    return tool_call(str(tool["name"]), tool.get("input_schema"))


def _holds_result(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    return any(isinstance(block, Mapping) and block.get("type") == "tool_result" for block in blocks)


def _content(call: Call) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if call.reasoning:
        thought = " so" * call.reasoning
        blocks.append({"type": "thinking", "thinking": thought, "signature": _SIGNATURE})
    tool = _tool(call)
    if tool is None:
        return [*blocks, {"type": "text", "text": call.text, "citations": None}]
    arguments = json.loads(tool.arguments(call.text))
    return [*blocks, {"type": "tool_use", "id": call.id("toolu_"), "name": tool.name, "input": arguments}]


def _stop_reason(call: Call) -> str:
    if call.truncated:
        return "max_tokens"
    return "end_turn" if _tool(call) is None else "tool_use"


def _message(call: Call) -> dict[str, Any]:
    message = {
        "id": call.id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": call.charge.model,
        "content": _content(call),
        "stop_reason": _stop_reason(call),
        "stop_sequence": None,
    }
    return message | ({"usage": _usage(call, call.charge.output)} if call.reports else {})


def _event(kind: str, tokens: int = 0, **fields: Any) -> Piece:
    return Piece(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n", tokens)


def _delta(index: int, tokens: int = 0, **delta: Any) -> Piece:
    return _event("content_block_delta", tokens, index=index, delta=delta)


def _stream(call: Call) -> tuple[list[Piece], list[str]]:
    """A message in pieces, and what ends it."""
    nothing = {"input_tokens": 0, "output_tokens": 0}
    opening = {
        **_message(call),
        "content": [],
        "stop_reason": None,
        "usage": _usage(call, min(1, call.charge.output)) if call.reports else nothing,
    }
    pieces = [_event("message_start", message=opening)]
    blocks = _content(call)
    for index, block in enumerate(blocks):
        pieces += _block(call, index, block)
        pieces.append(_event("content_block_stop", index=index))
        if index == 0:
            pieces.insert(2, _event("ping"))
    last = pieces.pop()
    delta = {"stop_reason": _stop_reason(call), "stop_sequence": None}
    usage = _counts(call, call.charge.output) if call.reports else {"output_tokens": 0}
    end = [last, _event("message_delta", delta=delta, usage=usage), _event("message_stop")]
    return pieces, [piece.data for piece in end]


def _block(call: Call, index: int, block: Mapping[str, Any]) -> list[Piece]:
    """The start and the deltas of one block."""
    if block["type"] == "thinking":
        empty = {**block, "thinking": "", "signature": ""}
        return [
            _event("content_block_start", index=index, content_block=empty),
            _delta(index, call.reasoning, type="thinking_delta", thinking=block["thinking"]),
            _delta(index, type="signature_delta", signature=block["signature"]),
        ]
    tool = _tool(call)
    if tool is None:
        start = _event("content_block_start", index=index, content_block={**block, "text": ""})
        groups = call.grouped()
        return [
            start,
            *(_delta(index, len(words), type="text_delta", text="".join(words)) for words in groups),
        ]
    start = _event("content_block_start", index=index, content_block={**block, "input": {}})
    portions = tool.pieces(call.grouped())
    return [
        start,
        *(_delta(index, tokens, type="input_json_delta", partial_json=text) for text, tokens in portions),
    ]
