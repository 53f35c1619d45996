"""What the double checks of a request before it answers: as strict as the providers on what is named here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.provider.dialects import Dialect, RefusalError


@dataclass(frozen=True, slots=True)
class Rule:
    """What a body parameter must be."""

    name: str
    kinds: tuple[str, ...]
    required: bool = False
    low: float | None = None
    high: float | None = None
    filled: bool = False
    """An empty list or text is refused."""


def check(body: Mapping[str, Any], rules: Sequence[Rule], dialect: Dialect) -> None:
    """Check a body against its endpoint's rules; ``null`` counts as absent.

    Raises:
        RefusalError: for the first rule that is broken, in the dialect's words.
    """
    for rule in rules:
        value = body.get(rule.name)
        if value is None:
            if rule.required:
                raise dialect.missing(rule.name)
            continue
        if not any(_is(value, kind) for kind in rule.kinds):
            raise dialect.wrong_type(rule.name, rule.kinds[0], _kind(value))
        if rule.filled and not value:
            raise RefusalError(400, f"{rule.name}: must not be empty", param=rule.name)
        if rule.low is not None and isinstance(value, int | float) and value < rule.low:
            raise dialect.out_of_range(rule.name, "minimum", rule.low)
        if rule.high is not None and isinstance(value, int | float) and value > rule.high:
            raise dialect.out_of_range(rule.name, "maximum", rule.high)


def check_messages(body: Mapping[str, Any], roles: frozenset[str], dialect: Dialect) -> None:
    """Check that each message is an object with a role of the API.

    Raises:
        RefusalError: for the first that is not.
    """
    for number, message in enumerate(body.get("messages") or ()):
        place = f"messages[{number}]" if dialect.name == "openai" else f"messages.{number}"
        if not isinstance(message, Mapping):
            raise dialect.wrong_type(place, "object", _kind(message))
        role = message.get("role")
        if role not in roles:
            allowed = ", ".join(f"'{name}'" for name in sorted(roles))
            raise RefusalError(400, f"{place}.role: must be one of {allowed}", param=f"{place}.role")
        if not isinstance(message.get("content"), str | list | None):
            raise dialect.wrong_type(f"{place}.content", "string", _kind(message["content"]))


_KINDS: Final = (
    ("boolean", bool), ("integer", int), ("number", float), ("string", str), ("array", list),
    ("object", dict),
)  # fmt: skip


def _kind(value: Any) -> str:
    return next((name for name, kind in _KINDS if isinstance(value, kind)), "null")


def _is(value: Any, kind: str) -> bool:
    found = _kind(value)
    return found == kind or (kind == "number" and found == "integer")


STREAM: Final = Rule("stream", ("boolean",))
TEMPERATURE: Final = Rule("temperature", ("number",), low=0, high=2)
TOP_P: Final = Rule("top_p", ("number",), low=0, high=1)
TOOLS: Final = Rule("tools", ("array",))
MODEL: Final = Rule("model", ("string",), required=True)
METADATA: Final = Rule("metadata", ("object",))
N: Final = Rule("n", ("integer",), low=1, high=128)


def limit(name: str, *, required: bool = False) -> Rule:
    """The rule of a parameter that limits the answer's tokens."""
    return Rule(name, ("integer",), required, low=1)


CHAT: Final = (
    MODEL, Rule("messages", ("array",), required=True, filled=True), limit("max_tokens"),
    limit("max_completion_tokens"), N, STREAM, Rule("stream_options", ("object",)), TEMPERATURE, TOP_P, TOOLS,
    Rule("tool_choice", ("string", "object")), Rule("logprobs", ("boolean",)),
    Rule("top_logprobs", ("integer",), low=0, high=20), Rule("stop", ("string", "array")),
    Rule("response_format", ("object",)), Rule("user", ("string",)), Rule("seed", ("integer",)), METADATA,
    Rule("presence_penalty", ("number",), low=-2, high=2),
    Rule("frequency_penalty", ("number",), low=-2, high=2),
)  # fmt: skip
COMPLETION: Final = (
    MODEL, Rule("prompt", ("string", "array"), required=True), limit("max_tokens"), N, STREAM,
    Rule("stream_options", ("object",)), TEMPERATURE, TOP_P, Rule("logprobs", ("integer",), low=0, high=5),
)  # fmt: skip
EMBEDDING: Final = (
    MODEL, Rule("input", ("string", "array"), required=True, filled=True),
    Rule("encoding_format", ("string",)), limit("dimensions"),
)  # fmt: skip
RESPONSE: Final = (
    MODEL, Rule("input", ("string", "array"), required=True, filled=True), limit("max_output_tokens"), STREAM,
    Rule("instructions", ("string",)), TEMPERATURE, TOP_P, TOOLS, Rule("tool_choice", ("string", "object")),
    Rule("store", ("boolean",)), Rule("background", ("boolean",)), METADATA, Rule("reasoning", ("object",)),
)  # fmt: skip
COUNT_TOKENS: Final = (
    MODEL, Rule("messages", ("array",), required=True, filled=True), Rule("system", ("string", "array")),
    TOOLS,
)  # fmt: skip
MESSAGES: Final = (
    *COUNT_TOKENS, limit("max_tokens", required=True), STREAM,
    Rule("temperature", ("number",), low=0, high=1), TOP_P, Rule("tool_choice", ("object",)),
    Rule("thinking", ("object",)), Rule("stop_sequences", ("array",)), METADATA,
)  # fmt: skip
