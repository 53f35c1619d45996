"""What a test asks of the double inside the prompt: ``[[out=120 cached=30 fail=429x2]]``.

| directive | effect |
|---|---|
| ``out=N`` | each answer has N tokens, reasoning included (default 16, at most the request's max tokens) |
| ``cached=N`` ``cache_write=N`` | so many of the prompt's tokens were read from or written to the cache |
| ``reasoning=N`` | so many of the output tokens are reasoning (Anthropic: only with thinking enabled) |
| ``delay_ms=N`` | the answer takes so long; a stream spreads it over its chunks |
| ``fail=STATUSxN`` | the first N attempts of this request id fail with the status |
| ``retry_after=N`` | what a 429 says in its header (default 0 seconds) |
| ``cut=N%`` | a stream breaks off after that share of its chunks |
| ``no_usage`` | the answer reports no usage |
| ``garbage`` | the answer is no JSON |
| ``timeout`` | no answer comes |
| ``error_canary=TEXT`` | a 400 whose message holds TEXT: everything up to the closing brackets |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_BLOCK: Final = re.compile(r"\[\[([^\[\]]*)\]\]")
_CANARY: Final = re.compile(r"(?:^|\s)error_canary=(.*)", re.DOTALL)
_FAIL: Final = re.compile(r"([45]\d\d)(?:x(\d+))?", re.ASCII)
DEFAULT_OUT: Final = 16
MOST: Final = 128_000
"""No directive asks for more: a stranger's prompt must not exhaust the double."""


@dataclass(frozen=True, slots=True)
class Directives:
    """What one request asks of the double."""

    out: int = DEFAULT_OUT
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int = 0
    delay_ms: int = 0
    fail_status: int = 0
    fail_attempts: int = 0
    retry_after: int = 0
    cut_percent: int | None = None
    no_usage: bool = False
    garbage: bool = False
    timeout: bool = False
    error_canary: str | None = None


def parse(prompt: str) -> Directives:
    """The directives of a prompt; what is not understood is prompt like any other."""
    if "[[" not in prompt:
        return Directives()
    values: dict[str, str] = {}
    canary: str | None = None
    for block in _BLOCK.findall(prompt):
        found = _CANARY.search(block)
        if found:
            canary, block = found.group(1), block[: found.start()]
        for word in block.split():
            name, _, value = word.partition("=")
            values[name] = value
    fail = _FAIL.fullmatch(values.get("fail", ""))
    cut = _number(values, "cut", suffix="%")
    return Directives(
        out=_number(values, "out", DEFAULT_OUT) or 0,
        cached=_number(values, "cached"),
        cache_write=_number(values, "cache_write"),
        reasoning=_number(values, "reasoning") or 0,
        delay_ms=_number(values, "delay_ms") or 0,
        fail_status=int(fail.group(1)) if fail else 0,
        fail_attempts=int(fail.group(2) or 1) if fail else 0,
        retry_after=_number(values, "retry_after") or 0,
        cut_percent=None if cut is None else min(cut, 100),
        no_usage="no_usage" in values,
        garbage="garbage" in values,
        timeout="timeout" in values,
        error_canary=canary,
    )


def _number(values: dict[str, str], name: str, default: int | None = None, suffix: str = "") -> int | None:
    value = values.get(name, "").removesuffix(suffix)
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        return default
    return min(int(value), MOST)
