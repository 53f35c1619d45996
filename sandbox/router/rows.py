"""Turns LogEntries into rows, as Cloud Logging's BigQuery sink does.

* Names: what a column's name can't hold becomes ``_``; keys of labels are lower-case.
* A field without a column gets one: the table is widened.
* A value that is of another type than its column does not fit (no conversion): the entry goes to the
  export-errors table as a whole.
* Null and empty objects and lists are left out.

Source: https://cloud.google.com/logging/docs/export/bigquery
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

LONGEST_NAME: Final = 128
DEEPEST: Final = 15
"""Records within records that BigQuery allows."""

_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_]")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)s")
_INTEGERS: Final = ("requestSize", "responseSize", "cacheFillBytes", "status")
_ENTRY_COLUMNS: Final = (
    "logName", "resource", "timestamp", "receiveTimestamp", "severity", "insertId",
    "trace", "spanId", "traceSampled",
)  # fmt: skip
_TYPES: Final = {"FLOAT64": "FLOAT", "INT64": "INTEGER", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


class MisfitError(ValueError):
    """A value that its column can't hold; the text is the ``schemaErrorDetail``."""


@dataclass(slots=True)
class Column:
    """A column as BigQuery's API describes it, with the columns below it by lower-case name."""

    name: str
    type: str
    repeated: bool = False
    fields: dict[str, Column] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)
    """The rest of the description, kept when the table is widened."""

    @classmethod
    def from_api(cls, found: Mapping[str, Any]) -> Column:
        """Read a schema field."""
        below = [cls.from_api(one) for one in found.get("fields", ())]
        kind = str(found["type"]).upper()
        return cls(
            found["name"],
            _TYPES.get(kind, kind),
            found.get("mode") == "REPEATED",
            {one.name.lower(): one for one in below},
            found,
        )

    def to_api(self) -> dict[str, Any]:
        """The schema field."""
        written = {
            **self.described,
            "name": self.name,
            "type": self.described.get("type", self.type),
            "mode": self.described.get("mode", "REPEATED" if self.repeated else "NULLABLE"),
        }
        if self.fields:
            written["fields"] = [one.to_api() for one in self.fields.values()]
        return written


class Shape:
    """The columns of one table, and those that a row has added to them."""

    def __init__(self, fields: Sequence[Mapping[str, Any]]) -> None:
        below = [Column.from_api(one) for one in fields]
        self._columns = {one.name.lower(): one for one in below}
        self._added: list[tuple[dict[str, Column], str]] = []

    @property
    def is_widened(self) -> bool:
        """Whether there are columns that the table lacks."""
        return bool(self._added)

    def to_api(self) -> list[dict[str, Any]]:
        """The schema with the added columns."""
        return [one.to_api() for one in self._columns.values()]

    def keep(self) -> None:
        """The table has the added columns now."""
        self._added.clear()

    def undo(self) -> None:
        """Forget the added columns."""
        for columns, name in reversed(self._added):
            del columns[name]
        self._added.clear()

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The row of these values, with columns added for those that have none.

        Raises:
            MisfitError: when a value is of another type than its column; nothing is added then.
        """
        try:
            return self._record(values, self._columns, "", 0)
        except MisfitError:
            self.undo()
            raise

    def _record(
        self, values: Mapping[str, Any], columns: dict[str, Column], path: str, depth: int
    ) -> dict[str, Any]:
        if depth > DEEPEST:
            raise MisfitError(f"{path}: more than {DEEPEST} records within each other")
        row: dict[str, Any] = {}
        for key, value in values.items():
            if _is_nothing(value):
                continue
            name = column_name(key)
            where = f"{path}.{name}" if path else name
            column = columns.get(name.lower())
            if column is None:
                column = _new_column(name, value, where)
                columns[name.lower()] = column
                self._added.append((columns, name.lower()))
            if column.name not in row:  # of two keys that make one name the first counts
                row[column.name] = self._fitted(value, column, where, depth)
        return row

    def _fitted(self, value: Any, column: Column, where: str, depth: int) -> Any:
        if isinstance(value, list) != column.repeated:
            raise MisfitError(f"{where}: a {_kind(value)} in a column of {_described(column)}")
        if not column.repeated:
            return self._single(value, column, where, depth)
        return [self._single(one, column, where, depth) for one in value if not _is_nothing(one)]

    def _single(self, value: Any, column: Column, where: str, depth: int) -> Any:
        if column.type == "RECORD" and isinstance(value, Mapping):
            return self._record(value, column.fields, where, depth + 1)
        if column.type not in _HOLDS or _kind(value) not in _HOLDS[column.type]:
            raise MisfitError(f"{where}: a {_kind(value)} in a column of {_described(column)}")
        return value


_HOLDS: Final = {
    "STRING": ("text",),
    "TIMESTAMP": ("text",),
    "FLOAT": ("number", "integer"),
    "INTEGER": ("integer",),
    "BOOLEAN": ("bool",),
}
"""The JSON types that a column takes."""


def column_name(key: str) -> str:
    """The name that a key gets as a column."""
    name = _FOREIGN.sub("_", key)[:LONGEST_NAME]
    return name if name and not name[0].isdigit() else f"_{name}"[:LONGEST_NAME]


def row_values(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a sink writes of an entry: sizes as integers, latencies in seconds, labels in lower case."""
    values = dict(entry)
    values["labels"] = {key.lower(): text for key, text in entry.get("labels", {}).items()}
    if "httpRequest" in entry:
        values["httpRequest"] = dict(_request_values(entry["httpRequest"]))
    return values


def export_error_values(entry: Mapping[str, Any], sink: str, detail: str) -> dict[str, Any]:
    """The row of the export-errors table for an entry that did not fit."""
    return {
        "logEntry": json.dumps(entry, ensure_ascii=False),
        "schemaErrorDetail": detail,
        "sinkName": sink,
        **{name: entry[name] for name in _ENTRY_COLUMNS if name in entry},
    }


def _request_values(request: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in request.items():
        if name in _INTEGERS and _is_whole(value):
            yield name, int(value)
        elif name == "latency" and isinstance(value, str) and (found := _DURATION.fullmatch(value)):
            yield name, float(found[1])
        else:
            yield name, value


def _is_whole(value: Any) -> bool:
    """A whole number, or its digits: sizes are texts in a LogEntry's JSON form."""
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, float) and value.is_integer()


def _is_nothing(value: Any) -> bool:
    """Null, or nothing but that inside."""
    if isinstance(value, Mapping):
        return all(map(_is_nothing, value.values()))
    if isinstance(value, list):
        return all(map(_is_nothing, value))
    return value is None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "record"
    if isinstance(value, list):
        return "list"
    return "integer" if isinstance(value, int) else "number"


def _described(column: Column) -> str:
    return f"{column.type} lists" if column.repeated else column.type


_NEW: Final = {
    "text": "STRING",
    "number": "FLOAT",
    "integer": "INTEGER",
    "bool": "BOOLEAN",
    "record": "RECORD",
}


def _new_column(name: str, value: Any, where: str) -> Column:
    """A column for a value that has none; its own columns follow when the value is written."""
    if not isinstance(value, list):
        return Column(name, _NEW[_kind(value)])
    first = next((one for one in value if not _is_nothing(one)), None)
    if first is None or isinstance(first, list):
        raise MisfitError(f"{where}: a list of lists or of nothing has no column type")
    return Column(name, _NEW[_kind(first)], repeated=True)
