"""What the planned log-based metrics make of log entries: which count, with which labels and value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.lql import Filter, parse

_EXTRACT: Final = re.compile(r"EXTRACT\(([A-Za-z_.]+)\)")
_REGEXP_EXTRACT: Final = re.compile(r'REGEXP_EXTRACT\(([A-Za-z_.]+), "([^"\\]+)"\)')


@dataclass(frozen=True, slots=True)
class Point:
    """One entry in one metric."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Metric:
    """One planned metric."""

    name: str
    filter: Filter
    extractors: Mapping[str, str]
    value: str | None

    @classmethod
    def of(cls, planned: Mapping[str, Any]) -> Metric:
        """Read a ``google_logging_metric`` of a plan."""
        return cls(
            planned["name"],
            parse(planned["filter"]),
            planned["label_extractors"] or {},
            planned["value_extractor"],
        )

    def point(self, entry: Mapping[str, Any]) -> Point | None:
        """What an entry adds; None when it does not count.

        A distribution leaves out an entry without a number.
        """
        if not self.filter.matches(entry):
            return None
        labels = {label: _label(text, entry) for label, text in self.extractors.items()}
        if self.value is None:
            return Point(labels, 1)
        found = _EXTRACT.fullmatch(self.value)
        assert found, self.value
        value = _at(entry, found[1])
        try:
            return None if value is None else Point(labels, float(value))
        except ValueError:
            return None


def points(metric: Metric, entries: Iterable[Mapping[str, Any]]) -> list[Point]:
    """What entries add to a metric."""
    return [point for entry in entries if (point := metric.point(entry)) is not None]


def _label(extractor: str, entry: Mapping[str, Any]) -> str:
    """A label's value; what does not fit leaves it empty."""
    found = _REGEXP_EXTRACT.fullmatch(extractor)
    assert found, extractor
    pattern = re.compile(found[2])
    assert pattern.groups == 1, f"{extractor} must have one group"
    value = _at(entry, found[1])
    matched = pattern.search(_text(value)) if value is not None else None
    return matched[1] if matched else ""


def _at(entry: Mapping[str, Any], path: str) -> Any:
    value: Any = entry
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    """A value as the extractor compares it: whole numbers without a fraction, booleans in small letters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
