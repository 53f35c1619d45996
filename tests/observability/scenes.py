"""What happened, as log lines at times, and whether a planned alert fires on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from sandbox.router.entries import LogEntry
from tests.observability import lines
from tests.observability.measured import Metric
from tests.observability.promql import Series, evaluate

NOW: Final = 10_000_000.0
"""Seconds; when alerts are evaluated."""
PREFIX: Final = "logging_googleapis_com:user_"


@dataclass(frozen=True, slots=True)
class Happening:
    """Log entries alike, so many at once."""

    minutes_ago: float
    entry: Mapping[str, Any]
    times: int = 1


def spread(
    entry: Mapping[str, Any], times: int, *, over_minutes: float, until_minutes: float = 0.5
) -> list[Happening]:
    """So many entries, evenly over so many minutes, the last one ``until_minutes`` ago."""
    step = over_minutes / times
    return [Happening(until_minutes + number * step, entry) for number in range(times)]


def series(
    metrics: Iterable[Metric], scene: Sequence[Happening], *, zeros_every_minutes: float | None = None
) -> list[Series]:
    """The time series that a scene leaves behind.

    ``zeros_every_minutes``: between its points a series gets points of zero, too, since a week ago.
    """
    found: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[float, float]]] = {}
    for metric in metrics:
        entries = {id(h.entry): h.entry for h in scene}  # many happenings share one entry
        measured = {key: metric.point(entry) for key, entry in entries.items()}
        for happening in scene:
            point = measured[id(happening.entry)]
            if point is None:
                continue
            labels = frozenset({**point.labels, "monitored_resource": "cloud_run_revision"}.items())
            at, name = NOW - happening.minutes_ago * 60, PREFIX + metric.name
            if metric.value is None:
                found.setdefault((name, labels), []).append((at, happening.times))
            else:
                found.setdefault((f"{name}_sum", labels), []).append((at, point.value * happening.times))
                found.setdefault((f"{name}_count", labels), []).append((at, happening.times))
    zeros: list[tuple[float, float]] = []
    if zeros_every_minutes is not None:
        steps = int(7 * 24 * 60 / zeros_every_minutes)
        zeros = [(NOW - number * zeros_every_minutes * 60, 0) for number in range(steps)]
    return [Series(name, dict(labels), [*points, *zeros]) for (name, labels), points in found.items()]


def fires(condition: Mapping[str, Any], left_behind: Sequence[Series]) -> bool:
    """Whether the condition of a planned policy (PromQL) holds now, and held as long as it must."""
    duration = float(condition["duration"].removesuffix("s"))
    step = float(condition["evaluation_interval"].removesuffix("s"))
    moments = int(duration // step) + 1
    return all(evaluate(condition["query"], left_behind, NOW - n * step) for n in range(moments))


def promql(policy: Mapping[str, Any]) -> dict[str, Any] | None:
    """A policy's condition in PromQL, if it is one."""
    (condition,) = policy["conditions"]
    found: list[dict[str, Any]] = condition["condition_prometheus_query_language"]
    return found[0] if found else None


def log_filter(policy: Mapping[str, Any]) -> str:
    """The filter of a policy's condition on log entries."""
    (condition,) = policy["conditions"]
    text: str = condition["condition_matched_log"][0]["filter"]
    return text


def fires_in(policy: Mapping[str, Any], left_behind: Sequence[Series]) -> bool:
    """Whether a policy in PromQL fires."""
    condition = promql(policy)
    assert condition is not None
    return fires(condition, left_behind)


class Scribe:
    """Writes the lines of scenes."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder

    def run(self, **changes: Any) -> LogEntry:
        """A run of the reporter."""
        return lines.reporter_run(self._capsys, **changes)

    def sync_run(self, **changes: Any) -> LogEntry:
        """A run of the sync."""
        return lines.sync_run(self._capsys, **changes)

    def job_run(self, job: dict[str, Any], outcome: str) -> LogEntry:
        """A run of a scheduled job: its summary line, by its own code."""
        how: dict[str, dict[str, Any]] = {"failed": {"error": "x"}, "skipped": {"skipped": True}}
        write = {
            "usage_reporter": lines.reporter_run,
            "usage_reconciler": lines.reconciler_run,
            "stripe_sync": lines.sync_run,
        }[job["function"]]
        return write(self._capsys, depth=job["body"]["depth"], **how.get(outcome, {}))

    def line(self, function: str, event: str, **fields: Any) -> LogEntry:
        """A line of a function."""
        return lines.event_line(function, self._capsys, event, **fields)

    def crash(self) -> LogEntry:
        """An exception that nothing caught."""
        return lines.crash(self._folder)

    def spend_lost(self) -> LogEntry:
        """Spend that an instance could not write."""
        return lines.spend_lost(self._folder)

    def request_failed(self) -> LogEntry:
        """A failure before the tenant is known."""
        return lines.request_failed(self._folder)
