"""Body parameters by allowlist, per endpoint.

What is not listed is refused: LiteLLM's control parameters (``no-log``, ``mock_response``, ``api_base``,
``fallbacks``, ``tags`` and many more) must never come from a tenant, and a parameter that changes what a
provider charges must not pass before it has a price. Sources: the API references of OpenAI and Anthropic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from proxy.errors import ApiError

_SAMPLING: Final = {"temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty"}

ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "chat/completions": frozenset(
        _SAMPLING
        | {
            "model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens",
            "function_call", "functions", "tools", "tool_choice", "parallel_tool_calls", "response_format",
            "logit_bias", "logprobs", "top_logprobs", "reasoning_effort", "verbosity", "prediction",
            "prompt_cache_key", "safety_identifier", "service_tier", "store", "user",
        }
    ),
    "completions": frozenset(
        _SAMPLING
        | {
            "model", "prompt", "stream", "stream_options", "n", "best_of", "echo", "logit_bias", "logprobs",
            "max_tokens", "suffix", "user",
        }
    ),
    "embeddings": frozenset({"model", "input", "dimensions", "encoding_format", "user"}),
    "responses": frozenset(
        {
            "model", "input", "instructions", "stream", "stream_options", "max_output_tokens",
            "max_tool_calls", "parallel_tool_calls", "reasoning", "temperature", "top_p", "top_logprobs",
            "text", "tools", "tool_choice", "truncation", "include", "prompt_cache_key",
            "safety_identifier", "service_tier", "store", "user",
        }
    ),
    "messages": frozenset(
        {
            "model", "messages", "max_tokens", "system", "stop_sequences", "stream", "temperature",
            "thinking", "tool_choice", "tools", "top_k", "top_p", "metadata", "service_tier",
        }
    ),
    "messages/count_tokens": frozenset({"model", "messages", "system", "thinking", "tool_choice", "tools"}),
}  # fmt: skip

STANDARD_TIERS: Final = frozenset({"default", "standard_only"})
"""Service tiers at the catalogue's prices; ``auto`` may be billed at another."""
_CLIENT_TOOLS: Final = ("function", "custom", "bash_", "text_editor_", "computer_", "memory_")
"""Tools that the client runs; the others run at the provider and are charged by use."""
_MESSAGE_METADATA: Final = frozenset({"user_id"})
_DEEPEST: Final = 100
"""Levels of nesting; deeper ones would end in the stack of whoever walks them."""
_MOST_ANSWERS: Final = 128


def checked(endpoint: str, body: Any) -> dict[str, Any]:
    """The body, if it may go to LiteLLM; ``store`` is false in it.

    Raises:
        ApiError: 400, naming the parameter and what to do.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_request", "the body must be a JSON object")
    if _too_deep(body):
        raise ApiError(400, "invalid_request", f"the body is nested deeper than {_DEEPEST} levels")
    for problem in _problems(endpoint, body):
        raise ApiError(400, "invalid_request", problem)
    if endpoint == "responses" or "store" in body:  # responses are stored unless told otherwise
        body["store"] = False
    return body


def _problems(endpoint: str, body: Mapping[str, Any]) -> Iterator[str]:
    unknown = sorted(set(body) - ALLOWED[endpoint])
    if unknown:
        names = ", ".join(repr(name[:60]) for name in unknown[:5])
        yield f"unsupported parameter {names}: leave it out"
    if not isinstance(body.get("model"), str):
        yield "model must be a string: name one that GET /v1/models lists"
    messages = body.get("messages")
    if messages is not None and not (
        isinstance(messages, list) and all(isinstance(message, dict) for message in messages)
    ):
        yield "messages must be a list of objects"
    for name in ("input", "prompt"):
        if not isinstance(body.get(name, ""), str | list):
            yield f"{name} must be a text or a list"
    if not isinstance(body.get("stream", False), bool):
        yield "stream must be true or false"
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            yield f"{name} must be a whole number of at least 1"
        elif name in ("n", "best_of") and value is not None and value > _MOST_ANSWERS:
            yield f"{name} must be at most {_MOST_ANSWERS}"
    if not isinstance(body.get("stream_options") or {}, dict):
        yield "stream_options must be an object"
    tier = body.get("service_tier")
    if tier is not None and not (isinstance(tier, str) and tier in STANDARD_TIERS):
        yield "service_tier is not priced here: leave it out"
    if "metadata" in body:
        metadata = body["metadata"]
        if not isinstance(metadata, dict) or set(metadata) - _MESSAGE_METADATA:
            yield "metadata may hold user_id only"
    yield from _tool_problems(body.get("tools"))
    if _has_long_cache(body):
        yield "a prompt cache of one hour is not priced here: leave ttl out"


def _too_deep(body: Any) -> bool:
    level = [body]
    for _ in range(_DEEPEST):
        level = [
            part
            for value in level
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def _tool_problems(tools: Any) -> Iterator[str]:
    if tools is None:
        return
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        yield "tools must be a list of objects"
        return
    for tool in tools:
        kind = tool.get("type", "custom")
        if not isinstance(kind, str) or not kind.startswith(_CLIENT_TOOLS):
            yield f"tool type {str(kind)[:40]!r} runs at the provider and is not priced here: leave it out"


def _has_long_cache(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_long_cache(part) for part in value)
    if isinstance(value, dict):
        control = value.get("cache_control")
        if isinstance(control, dict) and control.get("ttl", "5m") != "5m":
            return True
        nested = (value[name] for name in ("messages", "system", "tools", "content") if name in value)
        return any(_has_long_cache(part) for part in nested)
    return False
