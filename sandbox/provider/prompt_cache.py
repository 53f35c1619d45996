"""Anthropic's prompt cache, as far as it can be seen in usage: what was marked is written once, then read.

A prompt up to a ``cache_control`` marker (tools, then system, then messages) is kept for five minutes after
its last use, or for an hour where the marker says so; shorter ones than :data:`LEAST_TOKENS` are not kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sandbox.provider.counting import count_prompt
from tallygate.clock import Clock

LEAST_TOKENS: Final = 1024
_MARKER: Final = "cache_control"
_LIVES: Final = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of a prompt that were read from the cache and written to it."""

    read: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class _Prefix:
    key: str
    tokens: int
    life: timedelta


class PromptCache:
    """What is cached now. Lost with the process: a cache may be."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, datetime] = {}

    def use(self, owner: str, body: Mapping[str, Any]) -> CacheUse:
        """Look up a request's marked prefixes and keep them. ``owner``: the API key, which shares nothing."""
        if not is_marked(body):
            return CacheUse()
        now = self._clock.now()
        self._until = {key: until for key, until in self._until.items() if until > now}
        prefixes = [prefix for prefix in _prefixes(owner, body) if prefix.tokens >= LEAST_TOKENS]
        read = max((prefix.tokens for prefix in prefixes if prefix.key in self._until), default=0)
        for prefix in prefixes:
            self._until[prefix.key] = now + prefix.life
        longest = max((prefix.tokens for prefix in prefixes), default=0)
        return CacheUse(read, longest - read)


def is_marked(body: Mapping[str, Any]) -> bool:
    """Whether anything in a request is to be cached."""
    return any(True for _ in _marked(body))


def hour_long(body: Mapping[str, Any]) -> bool:
    """Whether the request's last marker asks for an hour."""
    return [block[_MARKER].get("ttl", "5m") for block in _marked(body)][-1:] == ["1h"]


def _marked(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    places = [body.get("tools"), body.get("system")]
    places += [message.get("content") for message in body.get("messages") or () if isinstance(message, dict)]
    for place in places:
        for block in place if isinstance(place, list) else ():
            if isinstance(block, Mapping) and isinstance(block.get(_MARKER), Mapping):
                yield block


def _prefixes(owner: str, body: Mapping[str, Any]) -> Iterator[_Prefix]:
    """The request cut off after each of its markers."""
    kept: dict[str, Any] = {"model": body.get("model"), "messages": []}
    for name in ("tools", "system"):
        if name not in body:
            continue
        kept[name] = []
        for block in body[name] if isinstance(body[name], list) else ():
            kept[name].append(block)
            yield from _cut(owner, kept, block)
        kept[name] = body[name]
    for message in body.get("messages") or ():
        content = message.get("content")
        kept["messages"].append({**message, "content": []})
        for block in content if isinstance(content, list) else ():
            kept["messages"][-1]["content"].append(block)
            yield from _cut(owner, kept, block)
        kept["messages"][-1] = message


def _cut(owner: str, kept: Mapping[str, Any], block: Any) -> Iterator[_Prefix]:
    marker = block.get(_MARKER) if isinstance(block, Mapping) else None
    if not isinstance(marker, Mapping):
        return
    text = json.dumps([owner, kept], sort_keys=True)
    life = _LIVES.get(str(marker.get("ttl", "5m")), _LIVES["5m"])
    yield _Prefix(hashlib.sha256(text.encode()).hexdigest(), count_prompt(kept), life)
