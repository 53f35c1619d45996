"""Models of Vertex AI: where they are called, and what a request that one may serve must not hold.

They are called as the gateway's own identity, without a key. That identity may read more than a tenant may,
and Gemini opens the addresses that a request names, ``gs://`` among them; so a request brings what it shows
inline. LiteLLM turns marks of Anthropic's prompt cache into caches of Vertex AI, which are paid for by the
hour, and some fields of a tool into tools that Google runs and charges by use: the first are taken out, the
second refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.errors import ApiError
from tallygate.catalogue import VERTEX_AI, Model

_LINKS: Final = frozenset(
    {"url", "image_url", "video_url", "audio_url", "file_url", "file_id", "file_data", "file_uri"}
)
"""Fields of a message's parts that hold what is shown, or say where it is."""
_INLINE: Final = ("data:image/", "data:application/pdf")
"""Counted at a text's price by Google; audio has another."""
_AUDIO: Final = frozenset({"input_audio", "audio"})
_CALLS: Final = frozenset({"tool_use", "function_call", "custom_tool_call"})
"""Parts whose fields are a tool's own: an address among them is opened by nobody."""
_INSIDE: Final = (*_LINKS, "messages", "system", "input", "content", "source", "file", "output")
_TOOL_FIELDS: Final = frozenset(
    {"type", "function", "name", "description", "parameters", "strict", "input_schema", "cache_control"}
)
_TOOL_TYPES: Final = frozenset({"function", "custom"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where models of Vertex AI are called."""

    project_id: str
    location: str
    """``global``, a multi-region or a region."""


def may_serve(models: Iterable[Model]) -> bool:
    """Whether one of the models is of Vertex AI."""
    return any(model.provider == VERTEX_AI for model in models)


def checked(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without marks of a prompt cache.

    Raises:
        ApiError: 400, saying what to do.
    """
    for problem in _problems(body):
        raise ApiError(400, "invalid_request", problem)
    unmarked = _unmarked(body)
    assert isinstance(unmarked, dict)
    return unmarked


def _problems(body: Mapping[str, Any]) -> Iterator[str]:
    for tool in body.get("tools") or ():
        if tool.get("type", "custom") not in _TOOL_TYPES or set(tool) - _TOOL_FIELDS:
            yield "this model takes tools of type function only, without fields of a provider's own"
    yield from _link_problems({name: body.get(name) for name in ("messages", "system", "input")})


def _link_problems(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for each in part:
            yield from _link_problems(each)
    if not isinstance(part, Mapping) or part.get("type") in _CALLS:
        return
    if part.get("type") in _AUDIO or any(part.get(name) for name in _AUDIO):
        yield "audio is not priced here for this model: leave it out"
    for name in _INSIDE:
        value = part.get(name)
        if name in _LINKS and isinstance(value, str):
            if not value.startswith(_INLINE):
                yield "nothing is fetched for this model: send pictures and PDFs inline, as data URLs"
        else:
            yield from _link_problems(value)


def _unmarked(value: Any) -> Any:
    """A copy without marks; what stands in a tool's own schema or call stays as it is."""
    if isinstance(value, list):
        return [_unmarked(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {
        name: _unmarked(inner) if name in ("messages", "system", "input", "content", "tools") else inner
        for name, inner in value.items()
        if name != "cache_control"
    }
