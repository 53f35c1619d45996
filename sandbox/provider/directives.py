"""What a test asks of the double inside the prompt: ``[[out=120 cached=30 fail=429x2]]``.

| directive | effect |
|---|---|
| ``out=N`` | the answer has N tokens (default 16, at most the request's max tokens) |
| ``cached=N`` ``cache_write=N`` | so many of the prompt's tokens were read from or written to the cache |
| ``reasoning=N`` | so many of the output tokens are reasoning |
| ``delay_ms=N`` | the answer takes so long; a stream spreads it over its chunks |
| ``fail=STATUSxN`` | the first N attempts of this request id fail with the status |
| ``cut=N%`` | a stream breaks off after that share of its chunks |
| ``no_usage`` | the answer reports no usage |
| ``garbage`` | the answer is no JSON |
| ``timeout`` | no answer comes |
| ``error_canary=TEXT`` | a 400 whose message holds TEXT |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_BLOCK: Final = re.compile(r"\[\[([^\[\]]*)\]\]")
DEFAULT_OUT: Final = 16


@dataclass(frozen=True, slots=True)
class Directives:
    """What one request asks of the double."""

    out: int = DEFAULT_OUT
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    delay_ms: int = 0
    fail_status: int = 0
    fail_attempts: int = 0
    cut_percent: int | None = None
    no_usage: bool = False
    garbage: bool = False
    timeout: bool = False
    error_canary: str | None = None


def parse(prompt: str) -> Directives:
    """The directives of a prompt; what is not understood is prompt like any other."""
    values: dict[str, str] = {}
    for block in _BLOCK.findall(prompt):
        for word in block.split():
            name, _, value = word.partition("=")
            values[name] = value
    status, _, attempts = values.get("fail", "").partition("x")
    cut = values.get("cut", "").rstrip("%")
    return Directives(
        out=_number(values, "out", DEFAULT_OUT),
        cached=_number(values, "cached"),
        cache_write=_number(values, "cache_write"),
        reasoning=_number(values, "reasoning"),
        delay_ms=_number(values, "delay_ms"),
        fail_status=int(status) if status.isdigit() else 0,
        fail_attempts=int(attempts) if attempts.isdigit() else 0,
        cut_percent=int(cut) if cut.isdigit() else None,
        no_usage="no_usage" in values,
        garbage="garbage" in values,
        timeout="timeout" in values,
        error_canary=values.get("error_canary"),
    )


def _number(values: dict[str, str], name: str, default: int = 0) -> int:
    value = values.get(name, "")
    return int(value) if value.isdigit() else default
