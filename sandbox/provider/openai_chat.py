"""OpenAI's chat completions and completions, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sandbox.provider import validation
from sandbox.provider.calls import Call, Endpoint, Piece
from sandbox.provider.counting import inputs
from sandbox.provider.dialects import OPENAI, RefusalError
from sandbox.provider.models import CHAT, COMPLETION
from sandbox.provider.tools import ToolCall, tool_call

_LOGPROB: Final = -0.25
DONE: Final = "data: [DONE]\n\n"


def _answers(body: Mapping[str, Any]) -> int:
    return int(body.get("n") or 1)


def _completions(body: Mapping[str, Any]) -> int:
    return _answers(body) * len(inputs(body))


def check_inputs(body: Mapping[str, Any]) -> None:
    """Check a text to complete or to embed: texts, or lists of token ids.

    Raises:
        RefusalError: for anything else.
    """
    name = "prompt" if "prompt" in body else "input"
    found = inputs(body)
    if not found or not all(isinstance(one, str) or _is_ids(one) for one in found):
        text = f"'{name}' must be a string, a list of strings, or lists of token ids."
        raise RefusalError(400, text, param=name, code="invalid_type")


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in value)


CHAT_ENDPOINT: Final = Endpoint(
    OPENAI, "chat/completions", CHAT, validation.CHAT, ("max_completion_tokens", "max_tokens"),
    frozenset({"system", "developer", "user", "assistant", "tool", "function"}), answers=_answers,
)  # fmt: skip
COMPLETION_ENDPOINT: Final = Endpoint(
    OPENAI, "completions", COMPLETION, validation.COMPLETION, ("max_tokens",),
    check=check_inputs, answers=_completions,
)  # fmt: skip


def data(content: Mapping[str, Any]) -> str:
    """One event of a stream."""
    return f"data: {json.dumps(content)}\n\n"


def usage(call: Call) -> dict[str, Any]:
    """What was used, counted inclusively."""
    charge = call.charge
    answers = charge.output // call.tokens if call.tokens else 0
    return {
        "prompt_tokens": charge.prompt,
        "completion_tokens": charge.output,
        "total_tokens": charge.prompt + charge.output,
        "prompt_tokens_details": {
            "cached_tokens": charge.cached_input,
            "cache_write_tokens": charge.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": call.reasoning * answers,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def reports_in_stream(call: Call) -> bool:
    """Whether a stream's client asked for the usage."""
    return bool((call.body.get("stream_options") or {}).get("include_usage"))


def chat(call: Call) -> dict[str, Any]:
    """A whole chat completion."""
    tool = _tool(call)
    choices = [_choice(call, tool, index) for index in range(_answers(call.body))]
    answer = {**_head(call, "chatcmpl-", "chat.completion"), "choices": choices}
    return answer | ({"usage": usage(call)} if call.reports else {})


def chat_stream(call: Call) -> tuple[list[Piece], list[str]]:
    """A chat completion in pieces, and what ends it."""
    head = _head(call, "chatcmpl-", "chat.completion.chunk")
    empty: dict[str, Any] = {"usage": None} if reports_in_stream(call) else {}

    def piece(
        index: int, delta: Mapping[str, Any], tokens: Sequence[str] = (), finish: str | None = None
    ) -> Piece:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": _logprobs(call, tokens) if tokens else None,
            "finish_reason": finish,
        }
        return Piece(data({**head, "choices": [choice], **empty}), len(tokens))

    tool = _tool(call)
    choices = range(_answers(call.body))
    pieces = [piece(index, _opening(call, tool, index)) for index in choices]
    if tool is not None:
        pieces += [
            piece(index, {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}, words)
            for text, words in _argument_pieces(call, tool)
            for index in choices
        ]
    else:
        pieces += [
            piece(index, {"content": "".join(words)}, words) for words in call.grouped() for index in choices
        ]
    pieces += [piece(index, {}, finish=_finish(call, tool)) for index in choices]
    return pieces, [*_usage_end(call, head), DONE]


def completion(call: Call) -> dict[str, Any]:
    """A whole completion."""
    choices = [_text_choice(call, call.words, index, _finish(call, None)) for index in _text_choices(call)]
    answer = {**_head(call, "cmpl-", "text_completion"), "choices": choices}
    return answer | ({"usage": usage(call)} if call.reports else {})


def completion_stream(call: Call) -> tuple[list[Piece], list[str]]:
    """A completion in pieces, and what ends it."""
    head = _head(call, "cmpl-", "text_completion")
    empty: dict[str, Any] = {"usage": None} if reports_in_stream(call) else {}

    def piece(words: Sequence[str], index: int, finish: str | None = None) -> Piece:
        choice = _text_choice(call, words, index, finish)
        return Piece(data({**head, "choices": [choice], **empty}), len(words))

    pieces = [piece(words, index) for words in call.grouped() for index in _text_choices(call)]
    pieces += [piece((), index, _finish(call, None)) for index in _text_choices(call)]
    return pieces, [*_usage_end(call, head), DONE]


def _head(call: Call, prefix: str, kind: str) -> dict[str, Any]:
    return {
        "id": call.id(prefix),
        "object": kind,
        "created": call.created,
        "model": call.charge.model,
        **({"service_tier": "default"} if kind.startswith("chat") else {}),
        "system_fingerprint": "fp_sandbox",
    }


def _usage_end(call: Call, head: Mapping[str, Any]) -> list[str]:
    if not (reports_in_stream(call) and call.reports):
        return []
    return [data({**head, "choices": [], "usage": usage(call)})]


def _tool(call: Call) -> ToolCall | None:
    """The tool that the answer calls: the one asked for, else the first; none after a tool's result."""
    body = call.body
    functions = [
        tool["function"]
        for tool in body.get("tools") or ()
        if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)
    ]
    choice = body.get("tool_choice")
    if not functions or choice == "none" or body["messages"][-1].get("role") == "tool":
        return None
    wanted = (choice.get("function") or {}).get("name") if isinstance(choice, Mapping) else None
    function = next((one for one in functions if one.get("name") == wanted), functions[0])
    return tool_call(str(function.get("name")), function.get("parameters"))


def _choice(call: Call, tool: ToolCall | None, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": call.text, "refusal": None, "annotations": []}
    if tool is not None:
        function = {"name": tool.name, "arguments": tool.arguments(call.text)}
        message["content"] = None
        message["tool_calls"] = [{"id": _call_id(call, index), "type": "function", "function": function}]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(call, call.words),
        "finish_reason": _finish(call, tool),
    }


def _opening(call: Call, tool: ToolCall | None, index: int) -> dict[str, Any]:
    if tool is None:
        return {"role": "assistant", "content": "", "refusal": None}
    function = {"name": tool.name, "arguments": ""}
    start = {"index": 0, "id": _call_id(call, index), "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [start]}


def _argument_pieces(call: Call, tool: ToolCall) -> Iterator[tuple[str, Sequence[str]]]:
    yield tool.before, ()
    for words in call.grouped():
        yield "".join(words), words
    yield tool.after, ()


def _call_id(call: Call, index: int) -> str:
    return f"{call.id('call_')}_{index}"


def _finish(call: Call, tool: ToolCall | None) -> str:
    if call.truncated:
        return "length"
    return "stop" if tool is None else "tool_calls"


def _logprobs(call: Call, tokens: Sequence[str]) -> dict[str, Any] | None:
    if call.body.get("logprobs") is not True:
        return None
    content = [
        {"token": token, "logprob": _LOGPROB, "bytes": list(token.encode()), "top_logprobs": []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _text_choices(call: Call) -> range:
    return range(_completions(call.body))


def _text_choice(call: Call, tokens: Sequence[str], index: int, finish: str | None) -> dict[str, Any]:
    logprobs = None
    if call.body.get("logprobs") is not None:
        logprobs = {
            "tokens": list(tokens),
            "token_logprobs": [_LOGPROB for _ in tokens],
            "top_logprobs": [{token: _LOGPROB} for token in tokens],
            "text_offset": [sum(map(len, tokens[:place])) for place in range(len(tokens))],
        }
    return {"index": index, "text": "".join(tokens), "finish_reason": finish, "logprobs": logprobs}
