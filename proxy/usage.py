"""Reads what a provider reports as used, from the bytes of its answer, in the provider's own convention.

OpenAI counts inclusively: ``cached_tokens`` are part of the prompt, ``reasoning_tokens`` of the completion.
Anthropic counts disjointly: ``input_tokens`` holds neither cache reads nor cache writes.
Gemini counts its prompt inclusively and its thoughts apart from its answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tallygate.records import TokenCounts

_NAMES: Final = ("usage", "usageMetadata")
_USAGE: Final = b'"usage'
_USAGE_KEY: Final = re.compile(rb'(?<!\\)"usage(?:Metadata)?"\s*:\s*(?=\{)')
_NO_TEXT: Final = frozenset({"role", "type", "id", "image_url", "source", "input_audio", "file"})


def from_answer(content_type: str, body: bytes, *, truncated: bool = False) -> TokenCounts | None:
    """The counts that an answer reports; None when it reports none (or nothing usable).

    ``truncated``: the body is the end of an answer that was too large to keep; usage stands there.
    """
    if "event-stream" in content_type:
        return _from_events(body)
    usage = _last_usage(body) if truncated else _usage_of(_json(body))
    return None if usage is None else counts(usage)


def counts(usage: Mapping[str, Any]) -> TokenCounts | None:
    """The disjoint counts of a usage object of any convention; None when it has no counts."""
    if "promptTokenCount" in usage:
        return _of_gemini(usage)
    if "prompt_tokens" in usage:
        return _inclusive(
            usage, _int(usage, "prompt_tokens"), _int(usage, "completion_tokens"),
            "prompt_tokens_details", "completion_tokens_details",
        )  # fmt: skip
    if "input_tokens" not in usage:
        return None
    if "input_tokens_details" in usage:
        return _inclusive(
            usage, _int(usage, "input_tokens"), _int(usage, "output_tokens"),
            "input_tokens_details", "output_tokens_details",
        )  # fmt: skip
    return TokenCounts(
        input=_int(usage, "input_tokens"),
        cached_input=_int(usage, "cache_read_input_tokens"),
        cache_write=_int(usage, "cache_creation_input_tokens"),
        output=_int(usage, "output_tokens"),
    )


def text_of_answer(content_type: str, body: bytes) -> str:
    """The visible text of an answer, or of as much of a stream as came: what an estimate counts."""
    if "event-stream" in content_type:
        return "".join(_texts(event) for event in _events(body) if not _repeats(event))
    return _texts(_json(body))


def texts_of(values: Any) -> str:
    """All text inside the parts of a request: what an estimate of its prompt counts."""
    if isinstance(values, str):
        return values + "\n"
    if isinstance(values, list):
        return "".join(texts_of(value) for value in values)
    if isinstance(values, Mapping):  # a URL or inline data of a picture is no text
        return "".join(texts_of(value) for name, value in values.items() if name not in _NO_TEXT)
    return ""


def prompt_reported(body: bytes) -> TokenCounts | None:
    """What a broken stream of Anthropic or Gemini reported of the prompt before it broke."""
    for event in _events(body):
        if event.get("type") == "message_start" or "usageMetadata" in event:
            usage = _usage_of(event)
            counted = counts(usage) if usage else None
            return counted if counted is not None and counted.prompt else None
    return None


def _of_gemini(usage: Mapping[str, Any]) -> TokenCounts:
    """Where the total leaves no room for thoughts beside the answer, the answer's count holds them."""
    prompt = _int(usage, "promptTokenCount") + _int(usage, "toolUsePromptTokenCount")
    answer, thoughts = _int(usage, "candidatesTokenCount"), _int(usage, "thoughtsTokenCount")
    cached = min(_int(usage, "cachedContentTokenCount"), prompt)
    inside = _int(usage, "totalTokenCount") == prompt + answer
    return TokenCounts(
        input=prompt - cached,
        cached_input=cached,
        output=answer if inside else answer + thoughts,
        reasoning=min(thoughts, answer) if inside else thoughts,
    )


def _inclusive(
    usage: Mapping[str, Any], prompt: int, completion: int, prompt_details: str, completion_details: str
) -> TokenCounts:
    inside = usage.get(prompt_details) or {}
    cached = min(_int(inside, "cached_tokens"), prompt)
    written = min(_int(inside, "cache_write_tokens"), prompt - cached)
    return TokenCounts(
        input=prompt - cached - written,
        cached_input=cached,
        cache_write=written,
        output=completion,
        reasoning=min(_int(usage.get(completion_details) or {}, "reasoning_tokens"), completion),
    )


def _from_events(body: bytes) -> TokenCounts | None:
    """The last usage of a stream; Anthropic tells the prompt at its start and the output at its end."""
    merged: dict[str, Any] = {}
    final = False
    for event in _events(body, only=_USAGE):
        usage = _usage_of(event)
        if not usage:
            continue
        merged |= {name: value for name, value in usage.items() if value is not None}
        final = final or _is_final(event)
    counted = counts(merged) if final else None
    return counted if counted is not None and counted.total else None


def _is_final(event: Mapping[str, Any]) -> bool:
    """Whether an event's usage is of the whole answer: Gemini reports on the way, too."""
    if "usageMetadata" not in event:
        return event.get("type") != "message_start"
    candidates = event.get("candidates") or []
    return "promptFeedback" in event or any("finishReason" in candidate for candidate in candidates)


def _last_usage(body: bytes) -> Mapping[str, Any] | None:
    """The last usage object in a piece of JSON. Inside a text its name's quotes would be escaped."""
    ends = [found.end() for found in _USAGE_KEY.finditer(body)]
    if not ends:
        return None
    try:
        usage, _ = json.JSONDecoder().raw_decode(body[ends[-1] :].decode(errors="replace"))
    except ValueError:
        return None
    return usage if isinstance(usage, Mapping) else None


def _usage_of(content: Any) -> Mapping[str, Any] | None:
    if not isinstance(content, Mapping):
        return None
    for holder in (content, content.get("message"), content.get("response")):
        if not isinstance(holder, Mapping):
            continue
        for name in _NAMES:
            usage = holder.get(name)
            if isinstance(usage, Mapping):
                return usage
    return None


def _events(body: bytes, only: bytes = b"") -> Iterator[Mapping[str, Any]]:
    for line in body.splitlines():
        if line.startswith(b"data:") and only in line:
            event = _json(line[len(b"data:") :])
            if isinstance(event, Mapping):
                yield event


def _repeats(event: Mapping[str, Any]) -> bool:
    """Whether an event of a response says again what its deltas have said."""
    kind = str(event.get("type", ""))
    return kind.startswith("response.") and not kind.endswith(".delta")


def _texts(value: Any) -> str:
    """All text that a model produced inside a piece of an answer, tool arguments and thinking included."""
    if isinstance(value, list):
        return "".join(_texts(part) for part in value)
    if not isinstance(value, Mapping):
        return ""
    parts = []
    for name in ("content", "text", "thinking", "reasoning_content", "arguments", "partial_json", "refusal"):
        if isinstance(value.get(name), str):
            parts.append(value[name])
    for name in ("input", "args"):
        if isinstance(value.get(name), Mapping):
            parts.append(json.dumps(value[name]))
    delta = value.get("delta")
    if isinstance(delta, str):
        parts.append(delta)
    for name in (
        "choices", "message", "delta", "content", "tool_calls", "function", "output", "candidates", "parts",
        "functionCall",
    ):  # fmt: skip
        parts.append(_texts(value.get(name)))
    return "".join(parts)


def _int(mapping: Mapping[str, Any], name: str) -> int:
    value = mapping.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
