"""Makes LogEntries of log lines, as Cloud Run's logging agent does.

A line of stdout or stderr that is a JSON object becomes ``jsonPayload``; the special fields are lifted out of
it. Any other line is ``textPayload``. Which log an entry belongs to follows from the file alone: no line can
place itself in another log. Numbers are doubles, as in the protocol buffer that Cloud Logging keeps.

Source: https://cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sandbox.edge import LOCATION
from sandbox.lql import SEVERITIES
from sandbox.parts import REVISION, SERVICE
from tallygate.clock import parse_rfc3339, rfc3339

LARGEST: Final = 256 * 1024
"""Bytes of a line; of a longer one the rest is cut off, so that it is text."""
LONGEST_INSERT_ID: Final = 512
DEEPEST: Final = 100
"""Objects within objects that a protocol buffer's JSON parser takes."""
YEARS: Final = range(1970, 9999)
"""Of timestamps that are kept."""
_PREFIX: Final = "logging.googleapis.com/"
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

LogEntry = dict[str, Any]
"""The JSON form of a LogEntry."""


class LineError(ValueError):
    """A line of the request log that is no entry of it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a line comes from."""

    project: str
    log: str
    """``stdout``, ``stderr`` or ``requests``."""
    instance: str


def line_id(file: str, generation: int, offset: int) -> str:
    """The id of a line, the same whenever it is read: the insertId of one that brings none."""
    return hashlib.sha256(f"{file}|{generation}|{offset}".encode()).hexdigest()[:20]


def entry_of_output(line: bytes, origin: Origin, minted: str, now: datetime) -> LogEntry:
    """The entry of a line that a container wrote."""
    entry: LogEntry = {
        "logName": f"projects/{origin.project}/logs/run.googleapis.com%2F{origin.log}",
        "resource": {"type": "cloud_run_revision", "labels": _resource_labels(origin.project)},
        "timestamp": rfc3339(now),
        "receiveTimestamp": rfc3339(now),
        "severity": "DEFAULT",
        "insertId": minted,
        "labels": {},
    }
    payload = _object(line) if len(line) <= LARGEST else None
    if payload is None:
        entry["textPayload"] = line[:LARGEST].decode(errors="replace")
    else:
        _lift(payload, entry)
        if payload.keys() == {"message"} and isinstance(payload["message"], str):
            entry["textPayload"] = payload["message"]
        else:
            entry["jsonPayload"] = payload
    entry["labels"]["instanceId"] = origin.instance
    return entry


def entry_of_request(line: bytes, project: str, now: datetime) -> LogEntry:
    """The entry that the edge wrote as a line of the request log.

    Raises:
        LineError: when the line is broken, or is an entry of another log.
    """
    found = _object(line)
    if found is None:
        raise LineError("no JSON object")
    if found.get("logName") not in {f"projects/{project}/logs/{log}" for log in _REQUEST_LOGS}:
        raise LineError(f"no request log: {found.get('logName')!r}")
    if set(found) - _REQUEST_FIELDS.keys():
        raise LineError(f"unexpected field {min(set(found) - _REQUEST_FIELDS.keys())!r}")
    wrong = [name for name, fits in _REQUEST_FIELDS.items() if not fits(found.get(name))]
    if wrong:
        raise LineError(f"field {wrong[0]!r} is missing or of another type")
    return {**found, "receiveTimestamp": rfc3339(now)}


def _resource_labels(project: str) -> dict[str, str]:
    return {
        "project_id": project,
        "service_name": SERVICE,
        "revision_name": REVISION,
        "location": LOCATION,
        "configuration_name": SERVICE,
    }


def _object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None when it is no such object, or has a number that is no double."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        found = _DECODER.decode(line.decode())
        if b"\\ud" in line.lower():  # half of a surrogate pair is no text that can be kept
            found = _DECODER.decode(json.dumps(found, ensure_ascii=False).encode(errors="replace").decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if line.count(b"{") + line.count(b"[") > DEEPEST and not _is_within(found, DEEPEST):
        return None
    return found


def _is_within(value: Any, depth: int) -> bool:
    """Whether objects and lists stand at most so deep in each other."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_within(one, depth - 1) for one in inner)


def _double(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("not within the range of a double")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_float=_double, parse_int=_double, parse_constant=_no_number)


def _lift(payload: dict[str, Any], entry: LogEntry) -> None:
    """Move the special fields of a line into its entry; one that does not read as what it is stays."""
    for key, take in _LIFTED.items():
        if key in payload and take(payload[key], entry):
            del payload[key]


def _severity(value: Any, entry: LogEntry) -> bool:
    if not isinstance(value, str) or value.upper() not in SEVERITIES:
        return False
    entry["severity"] = value.upper()
    return True


def _time(value: Any, entry: LogEntry) -> bool:
    moment = _moment(value)
    if moment is None:
        return False
    entry["timestamp"] = moment
    return True


def _seconds_and_nanos(value: Any, entry: LogEntry) -> bool:
    if not isinstance(value, Mapping) or not value.keys() <= {"seconds", "nanos"}:
        return False
    seconds, nanos = value.get("seconds", 0.0), value.get("nanos", 0.0)
    if not isinstance(seconds, float) or not isinstance(nanos, float):
        return False
    try:
        moment = _EPOCH + timedelta(seconds=seconds) + timedelta(microseconds=nanos // 1000)
    except OverflowError:
        return False
    if moment.year not in YEARS:
        return False
    entry["timestamp"] = rfc3339(moment)
    return True


def _moment(value: Any) -> str | None:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        return None
    try:
        moment = parse_rfc3339(value.upper())
    except (ValueError, OverflowError):
        return None
    return rfc3339(moment) if moment.year in YEARS else None


def _insert_id(value: Any, entry: LogEntry) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_INSERT_ID:
        return False
    entry["insertId"] = value
    return True


def _labels(value: Any, entry: LogEntry) -> bool:
    if not _is_texts(value):
        return False
    entry["labels"].update(value)
    return True


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _as(name: str, kind: type) -> Callable[[Any, LogEntry], bool]:
    """Move a value of the right type into the field of that name."""

    def take(value: Any, entry: LogEntry) -> bool:
        if not isinstance(value, kind):
            return False
        entry[name] = value
        return True

    return take


_LIFTED: Final[Mapping[str, Callable[[Any, LogEntry], bool]]] = {
    "severity": _severity,
    "timestamp": _seconds_and_nanos,
    "time": _time,
    f"{_PREFIX}insertId": _insert_id,
    f"{_PREFIX}trace": _as("trace", str),
    f"{_PREFIX}spanId": _as("spanId", str),
    f"{_PREFIX}trace_sampled": _as("traceSampled", bool),
    f"{_PREFIX}labels": _labels,
}


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


_REQUEST_LOGS: Final = ("run.googleapis.com%2Frequests", "requests")
"""Cloud Run's own, and the load balancer's."""
_REQUEST_FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "insertId": lambda value: isinstance(value, str) and value != "",
    "logName": _is(str),
    "timestamp": lambda value: _moment(value) is not None,
    "severity": lambda value: isinstance(value, str) and value in SEVERITIES,
    "trace": _is(str),
    "spanId": _is(str),
    "traceSampled": _is(bool),
    "resource": lambda value: (
        isinstance(value, dict)
        and value.keys() == {"type", "labels"}
        and isinstance(value["type"], str)
        and _is_texts(value["labels"])
    ),
    "labels": _is_texts,
    "httpRequest": _is(dict),
}
