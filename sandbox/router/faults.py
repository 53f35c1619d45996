"""What can go wrong between a log line and its row: redelivered, late, out of order, of another type.

Each fault is drawn once per entry and sink, when the line is read. Faults can be matched by ``log``
(``stdout``, ``stderr``, ``requests``), ``event``, ``tenant_id`` and ``request_id``. Parameters: ``seconds``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sandbox.faults import Fault, FaultRegistry
from sandbox.router.entries import LogEntry

KINDS: Final = frozenset({"duplicate", "delay", "shuffle", "type_mismatch"})
DUPLICATE_SECONDS: Final = 30.0
DELAY_SECONDS: Final = 600.0
SHUFFLE_SECONDS: Final = 60.0
_RETYPED: Final = "input_tokens"
"""The field that ``type_mismatch`` turns into a text."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery of an entry."""

    entry: LogEntry
    after: timedelta
    copy: int
    """0 for the first delivery: a redelivered entry has another id towards BigQuery."""


def deliveries(faults: FaultRegistry, entry: LogEntry, log: str) -> Iterator[Delivered]:
    """How an entry is delivered: once and at once, unless a fault says otherwise."""
    payload = entry.get("jsonPayload", {})
    about = {"log": log, **{name: payload.get(name) for name in ("event", "tenant_id", "request_id")}}
    if faults.take("type_mismatch", **about) is not None:
        entry = _retyped(entry)
    after = timedelta()
    if (late := faults.take("delay", **about)) is not None:
        after = timedelta(seconds=_seconds(late, DELAY_SECONDS))
    if (mixed := faults.take("shuffle", **about)) is not None:
        spread = random.Random(f"{mixed.seed}:{mixed.injected}").uniform(0, _seconds(mixed, SHUFFLE_SECONDS))
        after += timedelta(seconds=spread)
    yield Delivered(entry, after, 0)
    if (again := faults.take("duplicate", **about)) is not None:
        yield Delivered(entry, after + timedelta(seconds=_seconds(again, DUPLICATE_SECONDS)), 1)


def _seconds(fault: Fault, default: float) -> float:
    return float(fault.parameters.get("seconds", default))


def _retyped(entry: LogEntry) -> LogEntry:
    payload: Mapping[str, Any] = entry.get("jsonPayload", {})
    if _RETYPED not in payload:
        return entry
    return {**entry, "jsonPayload": {**payload, _RETYPED: str(payload[_RETYPED])}}
