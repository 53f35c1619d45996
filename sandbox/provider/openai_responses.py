"""OpenAI's responses, whole and streamed; nothing is stored, so there are no earlier ones to refer to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, Final

from sandbox.provider import validation
from sandbox.provider.calls import Call, Endpoint, Piece
from sandbox.provider.dialects import OPENAI, RefusalError
from sandbox.provider.models import CHAT
from sandbox.provider.tools import ToolCall, tool_call

_ECHOED: Final[Mapping[str, Any]] = {
    "background": False, "instructions": None, "max_output_tokens": None, "max_tool_calls": None,
    "metadata": {}, "parallel_tool_calls": True, "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None}, "store": True, "temperature": 1.0,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
    "truncation": "disabled", "user": None,
}  # fmt: skip
"""Parameters that the answer repeats, with their defaults."""


def _check(body: Mapping[str, Any]) -> None:
    if isinstance(body["input"], list) and not all(isinstance(item, Mapping) for item in body["input"]):
        raise RefusalError(400, "'input' must be a string or a list of items.", param="input")
    if body.get("previous_response_id"):
        text = f"Previous response with id '{body['previous_response_id']}' not found."
        raise RefusalError(400, text, param="previous_response_id", code="previous_response_not_found")
    if body.get("background"):
        raise RefusalError(400, "Background mode is not supported.", param="background")


ENDPOINT: Final = Endpoint(
    OPENAI, "responses", CHAT, validation.RESPONSE, ("max_output_tokens",), check=_check
)


def response(call: Call) -> dict[str, Any]:
    """A whole response."""
    return _response(call, _status(call), _output(call, "completed"))


def response_stream(call: Call) -> tuple[list[Piece], list[str]]:
    """A response in pieces, and what ends it."""
    numbers = itertools.count()

    def event(kind: str, tokens: int = 0, **fields: Any) -> Piece:
        content = {"type": kind, "sequence_number": next(numbers), **fields}
        return Piece(f"event: {kind}\ndata: {json.dumps(content)}\n\n", tokens)

    started = _response(call, "in_progress", [])
    pieces = [event("response.created", response=started), event("response.in_progress", response=started)]
    output = _output(call, "completed")
    for index, item in enumerate(output[:-1]):  # the thought before the answer
        pieces.append(event("response.output_item.added", output_index=index, item=item))
        pieces.append(event("response.output_item.done", output_index=index, item=item))
    item, index = output[-1], len(output) - 1
    place = {"item_id": item["id"], "output_index": index}
    begun = _output(call, "in_progress")[-1]
    pieces.append(event("response.output_item.added", output_index=index, item=begun))
    if item["type"] == "function_call":
        tool = _tool(call)
        assert tool is not None, "an item of a call has a tool"
        pieces += [
            event("response.function_call_arguments.delta", tokens, delta=text, **place)
            for text, tokens in tool.pieces(call.grouped())
        ]
        said = {"name": tool.name, "arguments": item["arguments"], **place}
        end = [event("response.function_call_arguments.done", **said)]
    else:
        place["content_index"] = 0
        part = item["content"][0]
        pieces.append(event("response.content_part.added", part={**part, "text": ""}, **place))
        pieces += [
            event("response.output_text.delta", len(words), delta="".join(words), logprobs=[], **place)
            for words in call.grouped()
        ]
        end = [
            event("response.output_text.done", text=part["text"], logprobs=[], **place),
            event("response.content_part.done", part=part, **place),
        ]
    end.append(event("response.output_item.done", output_index=index, item=item))
    end.append(event(f"response.{_status(call)}", response=response(call)))
    return pieces, [piece.data for piece in end]


def _status(call: Call) -> str:
    return "incomplete" if call.truncated else "completed"


def _response(call: Call, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    ended = status != "in_progress"
    return {
        "id": call.id("resp_"),
        "object": "response",
        "created_at": call.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": call.charge.model,
        "output": output,
        "service_tier": "default",
        "usage": _usage(call) if ended and call.reports else None,
        **{
            name: default if call.body.get(name) is None else call.body[name]
            for name, default in _ECHOED.items()
        },
    }


def _usage(call: Call) -> dict[str, Any]:
    charge = call.charge
    return {
        "input_tokens": charge.prompt,
        "input_tokens_details": {
            "cached_tokens": charge.cached_input,
            "cache_write_tokens": charge.cache_write,
        },
        "output_tokens": charge.output,
        "output_tokens_details": {"reasoning_tokens": call.reasoning},
        "total_tokens": charge.prompt + charge.output,
    }


def _output(call: Call, status: str) -> list[dict[str, Any]]:
    """The items of the answer; the last one is what streams."""
    items: list[dict[str, Any]] = []
    if call.reasoning:
        items.append({"id": call.id("rs_"), "type": "reasoning", "summary": []})
    whole = status == "completed"
    tool = _tool(call)
    if tool is not None:
        items.append(
            {
                "id": call.id("fc_"),
                "type": "function_call",
                "status": status,
                "call_id": call.id("call_"),
                "name": tool.name,
                "arguments": tool.arguments(call.text) if whole else "",
            }
        )
        return items
    text = {"type": "output_text", "text": call.text, "annotations": [], "logprobs": []}
    items.append(
        {
            "id": call.id("msg_"),
            "type": "message",
            "status": _status(call) if whole else status,
            "role": "assistant",
            "content": [text] if whole else [],
        }
    )
    return items


def _tool(call: Call) -> ToolCall | None:
    """The tool that the answer calls: the one asked for, else the first; none after a tool's result."""
    body = call.body
    functions = [
        tool
        for tool in body.get("tools") or ()
        if isinstance(tool, Mapping) and tool.get("type") == "function"
    ]
    choice, items = body.get("tool_choice"), body["input"]
    answered = isinstance(items, list) and items[-1].get("type") == "function_call_output"
    if not functions or choice == "none" or answered:
        return None
    wanted = choice.get("name") if isinstance(choice, Mapping) else None
    function = next((one for one in functions if one.get("name") == wanted), functions[0])
    return tool_call(str(function.get("name")), function.get("parameters"))
