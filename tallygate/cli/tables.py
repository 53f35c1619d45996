"""Rows as people and programs read them: an aligned table, CSV, or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from tallygate.clock import rfc3339


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def written(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], format_: Format) -> str:
    """The columns of the rows; times in RFC 3339, what is absent empty (JSON: null)."""
    if format_ is Format.JSON:
        return json.dumps([{name: _plain(row.get(name)) for name in columns} for row in rows], indent=2)
    cells = [[_text(row.get(name)) for name in columns] for row in rows]
    if format_ is Format.CSV:
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([columns, *cells])
        return file.getvalue().rstrip("\n")
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    lines = [columns, *cells]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def written_one(row: Mapping[str, Any], line: str, *, as_json: bool) -> str:
    """One thing: a line for people, or the whole of it as a JSON object."""
    if not as_json:
        return line
    return json.dumps({name: _plain(value) for name, value in row.items()}, indent=2)


def _plain(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value


def _text(value: Any) -> str:
    return "" if value is None else str(_plain(value))
