"""How the double counts: a rule of its own, simple, exact and the same everywhere.

Four bytes of UTF-8 are a token, rounded up per text; each message costs three more, each picture or document
a fixed number; a token id is a token. Real tokenizers differ, and so does the gateway's estimate: what
matters is that the provider's count is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

BYTES_PER_TOKEN: Final = 4
TOKENS_PER_MESSAGE: Final = 3
TOKENS_PER_MEDIUM: Final = 85
_MEDIA: Final = frozenset(
    {"image_url", "image", "input_image", "input_audio", "file", "input_file", "document"}
)
_TEXTS: Final = (
    "content", "text", "thinking", "tool_calls", "function", "name", "arguments", "output", "refusal",
)  # fmt: skip


def count(text: str) -> int:
    """Tokens of a text."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def count_prompt(body: Mapping[str, Any]) -> int:
    """Tokens of everything that a request sends to the model: at least one."""
    total = sum(_count_message(message) for message in _messages(body))
    total += sum(count_input(text) for text in inputs(body))
    for name in ("system", "instructions"):
        if body.get(name):
            total += _count_value(body[name])
    if body.get("tools"):
        total += count(json.dumps(_without_markers(body["tools"]), sort_keys=True))
    return max(1, total)


def count_input(value: str | Sequence[int]) -> int:
    """Tokens of one text to embed or to complete: a text, or the token ids themselves."""
    return count(value) if isinstance(value, str) else len(value)


def inputs(body: Mapping[str, Any]) -> list[Any]:
    """The texts or lists of token ids of a request for embeddings or a completion, each a result of its own.

    A list of objects, as the Responses API takes it, holds messages instead.
    """
    if "messages" in body:
        return []
    value = body.get("prompt", body.get("input"))
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value or isinstance(value[0], Mapping):
        return []
    return [value] if isinstance(value[0], int) else value


def text_of(value: Any) -> str:
    """All text inside a message, a content list, an input."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(text_of(part) for part in value)
    if isinstance(value, Mapping):
        called_with = value.get("input")
        arguments = json.dumps(called_with) if isinstance(called_with, Mapping) else ""
        return arguments + "".join(text_of(value[name]) for name in _TEXTS if name in value)
    return ""


def prompt_text(body: Mapping[str, Any]) -> str:
    """What the user says, as one text: where directives are found."""
    return "\n".join(text_of(part) for part in [*_messages(body), *inputs(body)])


def words(tokens: int) -> list[str]:
    """Words of one token each: an answer of known length."""
    return [f" w{number % 100:02}" for number in range(tokens)]


def _count_message(message: Any) -> int:
    return TOKENS_PER_MESSAGE + _count_value(message)


def _count_value(value: Any) -> int:
    return count(text_of(value)) + TOKENS_PER_MEDIUM * _media(value)


def _media(value: Any) -> int:
    if isinstance(value, list):
        return sum(_media(part) for part in value)
    if not isinstance(value, Mapping):
        return 0
    return int(value.get("type") in _MEDIA) + _media(value.get("content"))


def _without_markers(tools: Any) -> Any:
    """Tools without their cache markers, which are no part of the prompt."""
    if not isinstance(tools, list):
        return tools
    return [
        {name: value for name, value in tool.items() if name != "cache_control"}
        if isinstance(tool, Mapping)
        else tool
        for tool in tools
    ]


def _messages(body: Mapping[str, Any]) -> list[Any]:
    for name in ("messages", "input"):
        value = body.get(name)
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            return value
    return []
