"""The archive of usage lines: files as Cloud Logging writes them into a bucket, or a folder laid out like it.

``run.googleapis.com/stdout/YYYY/MM/DD/HH:00:00_HH:59:59_S0.json`` holds the log entries of an hour, one JSON
object a line, each with its ``timestamp``, ``insertId`` and ``jsonPayload``; late entries are in files of
their own, of that day or the next one. Source: Cloud Logging's documentation of sinks to Cloud Storage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import requests

from tallygate.clock import parse_rfc3339
from tallygate.records import ADMIT_EVENT, METER_COLUMNS, USAGE_EVENT

LOG: Final = "run.googleapis.com/stdout"
LATE: Final = timedelta(days=1)
"""Days before and after a window whose files are read too."""
_LOG_NAME: Final = "run.googleapis.com%2Fstdout"
_EVENTS: Final = frozenset({USAGE_EVENT, ADMIT_EVENT})
_NANOSECONDS: Final = re.compile(r"(\.[0-9]{6})[0-9]+")
_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_PAGE: Final = 1000
_TIMEOUT_SECONDS: Final = (5.0, 300.0)


class ArchiveError(Exception):
    """The archive can't be read; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedLine:
    """One line, as a statement takes it: what the warehouse would hold of it. A mistyped field is None."""

    insert_id: str | None
    line_timestamp: datetime
    received_at: datetime | None
    event: str
    schema_version: float | None
    request_id: str
    tenant_id: str | None
    key_id: str | None
    model: str | None
    provider_model: str | None
    served_model: str | None
    endpoint: str | None
    status: str | None
    http_status: float | None
    error_type: str | None
    attempts: float | None
    price_version: str | None
    stream_id: str | None
    seq: float | None
    billable: bool | None
    unpriced: bool | None
    estimated: bool | None
    input_tokens: float | None
    cached_input_tokens: float | None
    cache_write_tokens: float | None
    output_tokens: float | None
    total_tokens: float | None
    cost_nano_usd: str | None
    file: str
    """The archive's file that holds it."""

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name."""
        return {one.name: _TYPES[str(one.type).partition(" ")[0]] for one in fields(cls)}

    def used(self) -> dict[str, int]:
        """What it adds to each meter; nothing for an admit line."""
        if self.event != USAGE_EVENT:
            return {}
        counts = {meter: getattr(self, column) for meter, column in METER_COLUMNS.items()}
        return {meter: int(count) for meter, count in counts.items() if count is not None}

    def usable(self) -> bool:
        """Whether its counts are whole numbers; the warehouse looks closer, and keeps apart what is none."""
        if self.event != USAGE_EVENT:
            return True
        tokens = (getattr(self, column) for column in METER_COLUMNS.values() if column != "cost_nano_usd")
        whole = all(count is not None and count >= 0 and count == int(count) for count in tokens)
        return whole and _WHOLE.fullmatch(self.cost_nano_usd or "") is not None


_TYPES: Final = {"str": "STRING", "float": "FLOAT64", "bool": "BOOL", "datetime": "TIMESTAMP"}


class Archive(Protocol):
    """Where the files are."""

    def files(self, day: datetime) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Name and lines of each file of a day.

        Raises:
            ArchiveError: when it can't be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder laid out like the bucket."""

    path: Path

    def files(self, day: datetime) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Name and lines of each file of a day."""
        if not self.path.is_dir():
            raise ArchiveError(f"{self.path} is no folder")
        for path in sorted((self.path / LOG / day.strftime("%Y/%m/%d")).glob("*.json")):
            yield str(path.relative_to(self.path)), iter(path.read_bytes().splitlines())


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of Cloud Storage."""

    name: str
    session: requests.Session
    url: str = "https://storage.googleapis.com"

    def files(self, day: datetime) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Name and lines of each file of a day."""
        for name in self._names(f"{LOG}/{day:%Y/%m/%d}/"):
            answer = self._get(f"/{quote(name, safe='')}", {"alt": "media"}, stream=True)
            yield f"gs://{self.name}/{name}", answer.iter_lines()

    def _names(self, prefix: str) -> Iterator[str]:
        params = {"prefix": prefix, "fields": "items(name),nextPageToken", "maxResults": str(_PAGE)}
        while True:
            found = self._get("", params).json()
            yield from (item["name"] for item in found.get("items", ()))
            if "nextPageToken" not in found:
                return
            params["pageToken"] = found["nextPageToken"]

    def _get(self, path: str, params: Mapping[str, str], *, stream: bool = False) -> requests.Response:
        url = f"{self.url}/storage/v1/b/{quote(self.name, safe='')}/o{path}"
        try:
            answer = self.session.get(url, params=dict(params), timeout=_TIMEOUT_SECONDS, stream=stream)
        except requests.RequestException as error:
            raise ArchiveError(f"gs://{self.name} can't be reached: {error}") from error
        if answer.status_code != 200:
            raise ArchiveError(f"gs://{self.name} answers {answer.status_code}: may you read it?")
        return answer


@dataclass(slots=True)
class Read:
    """What was read of an archive for a window."""

    lines: dict[tuple[datetime, str, str], ArchivedLine]
    """Each line once, by timestamp, event and request."""
    files: int = 0
    unreadable: int = 0
    """Lines that are no log entries of the gateway's usage."""


def read_archive(archive: Archive, start: datetime, end: datetime, tenant_id: str = "") -> Read:
    """The usage and admit lines from ``start`` to ``end``, of one tenant or (empty) of all.

    Raises:
        ArchiveError: when the archive can't be read.
    """
    read = Read({})
    day = (start - LATE).replace(hour=0, minute=0, second=0, microsecond=0)
    while day < end + LATE:
        for name, content in archive.files(day):
            read.files += 1
            for text in content:
                _take(read, text, name, start, end, tenant_id)
        day += timedelta(days=1)
    return read


def _take(read: Read, text: bytes, file: str, start: datetime, end: datetime, tenant_id: str) -> None:
    if not text.strip():
        return
    line = line_from(text, file)
    if line is None:
        read.unreadable += 1
    elif start <= line.line_timestamp < end and tenant_id in ("", line.tenant_id):
        read.lines.setdefault((line.line_timestamp, line.event, line.request_id), line)


def line_from(text: bytes, file: str) -> ArchivedLine | None:
    """The line that a log entry holds; None when it is no usage or admit line."""
    try:
        entry = json.loads(text)
        payload = entry["jsonPayload"]
        if not entry["logName"].endswith(_LOG_NAME) or payload["event"] not in _EVENTS:
            return None
        received = entry.get("receiveTimestamp")
        known: dict[str, Any] = {
            "insert_id": entry.get("insertId"),
            "line_timestamp": _moment(entry["timestamp"]),
            "received_at": None if received is None else _moment(received),
            "event": payload["event"],
            "request_id": _request(payload),
            "file": file,
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    rest = {
        name: _as(kind, payload.get(name))
        for name, kind in ArchivedLine.columns().items()
        if name not in known
    }
    return ArchivedLine(**known, **rest)


def _request(payload: Mapping[str, Any]) -> str:
    request_id = payload["request_id"]
    if not isinstance(request_id, str) or not request_id:
        raise ValueError("no request id")
    return request_id


def _moment(text: str) -> datetime:
    """A timestamp to the microsecond, as the warehouse has it."""
    return parse_rfc3339(_NANOSECONDS.sub(r"\1", text))


def _as(kind: str, value: Any) -> Any:
    """A value of the column's type, else None: the sink would not have written it."""
    if kind == "FLOAT64":
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return value if isinstance(value, str if kind == "STRING" else bool) else None
