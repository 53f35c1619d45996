"""How the double counts: a rule of its own, simple, exact and the same everywhere.

Four bytes of UTF-8 are a token, rounded up; a message costs three more. Real tokenizers differ, and so does
the gateway's estimate: what matters is that the provider's count is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

BYTES_PER_TOKEN: Final = 4
TOKENS_PER_MESSAGE: Final = 3


def count(text: str) -> int:
    """Tokens of a text."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def count_prompt(body: Mapping[str, Any]) -> int:
    """Tokens of everything that a request sends to the model: at least one."""
    total = 0
    for message in _messages(body):
        total += TOKENS_PER_MESSAGE + count(text_of(message))
    for name in ("system", "instructions"):
        if body.get(name):
            total += count(text_of(body[name]))
    if body.get("tools"):
        total += count(json.dumps(body["tools"], sort_keys=True))
    return max(1, total)


def text_of(value: Any) -> str:
    """All text inside a message, a content list, an input."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(text_of(part) for part in value)
    if isinstance(value, Mapping):
        parts = [value[name] for name in ("content", "text", "arguments", "output") if name in value]
        return "".join(text_of(part) for part in parts)
    return ""


def prompt_text(body: Mapping[str, Any]) -> str:
    """The whole prompt as one text: where directives are found."""
    return "\n".join(text_of(message) for message in _messages(body))


def words(tokens: int) -> list[str]:
    """Words of one token each: an answer of known length."""
    return [f" w{number % 100:02}" for number in range(tokens)]


def _messages(body: Mapping[str, Any]) -> list[Any]:
    for name in ("messages", "input", "prompt"):
        value = body.get(name)
        if isinstance(value, list):
            return value
        if value is not None:
            return [value]
    return []
