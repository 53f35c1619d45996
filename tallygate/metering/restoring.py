"""Restoring: lines that the raw table has lost are taken over from the archive, beside it, each once.

Only Cloud Logging writes the raw table; what is restored stands in a table of the ledger, names the archive's
file, and counts as if it had been delivered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.metering.archive import ArchivedLine
from tallygate.metering.fence import run_fenced
from tallygate.metering.warehouse import Value, Warehouse
from tallygate.metering.window import RequestError, Window

MOST: Final = 500
"""Lines of one call: the parameters of a statement are limited."""
_NEEDED: Final = frozenset({"line_timestamp", "event", "request_id", "file"})


def to_wire(line: ArchivedLine) -> dict[str, Any]:
    """A line as a request's body carries it."""
    values = {one.name: getattr(line, one.name) for one in fields(line)}
    return {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in values.items()
        if value is not None
    }


def lines_from(body: Any, window: Window) -> list[ArchivedLine]:
    """The lines of a request's body; all of them must lie in the window.

    Raises:
        RequestError: when there is something wrong with any of them.
    """
    if window.depth != "range":
        raise RequestError(["lines: from and to say which window they are of"])
    if not isinstance(body, list) or not 0 < len(body) <= MOST:
        raise RequestError([f"lines: must be a list of 1 to {MOST} lines"])
    found = [_line(one) for one in body]
    outside = sum(not window.start <= line.line_timestamp < window.end for line in found)
    foreign = sum(window.tenant_id not in ("", line.tenant_id) for line in found)
    if outside or foreign:
        raise RequestError([f"lines: {outside} are outside the window, {foreign} of another tenant"])
    return found


def restore(warehouse: Warehouse, lines: Sequence[ArchivedLine], *, now: datetime, run_id: str) -> int:
    """Append the lines; the same lines again append nothing. How many were appended.

    Raises:
        FenceError: when the statement fails.
        JobRunningError, GoogleAPICallError: when the outcome is not known: ask again.
    """
    text = json.dumps([to_wire(line) for line in lines], sort_keys=True)
    named = hashlib.sha256(text.encode()).hexdigest()[:32]
    parameters: dict[str, Value] = {"lines": lines, "now": now, "run_id": run_id}
    _, created_ms = warehouse.located()
    prefix = f"restore-{warehouse.ledger}-{created_ms}-{named}"
    return run_fenced(warehouse, prefix, "restore", parameters).rows


def _line(given: Any) -> ArchivedLine:
    columns = ArchivedLine.columns()
    if not isinstance(given, Mapping) or given.keys() - columns.keys() or _NEEDED - given.keys():
        raise RequestError(
            ["lines: each needs line_timestamp, event, request_id and file, and no other fields"]
        )
    try:
        values = {name: _value(kind, given.get(name)) for name, kind in columns.items()}
    except ValueError as error:
        raise RequestError([f"lines: {error}"]) from error
    return ArchivedLine(**values)


def _value(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "TIMESTAMP" and isinstance(value, str):
        return parse_rfc3339(value)
    if kind == "FLOAT64" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if (kind == "STRING" and isinstance(value, str)) or (kind == "BOOL" and isinstance(value, bool)):
        return value
    raise ValueError(f"{value!r} is no {kind}")
