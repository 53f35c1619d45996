"""A replay from the archive: what it holds beyond the warehouse, against what is sealed, hour by hour."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from tallygate.cli.errors import OperatorError
from tallygate.cli.functions import REPORTER
from tallygate.cli.warehouse import check_tenant, reading
from tallygate.metering.archive import Archive, ArchivedLine, ArchiveError, Bucket, Folder, read_archive
from tallygate.metering.restoring import MOST, to_wire
from tallygate.metering.settings import ReporterSettings
from tallygate.metering.warehouse import Warehouse
from tallygate.metering.window import Window

_EMULATOR: Final = "STORAGE_EMULATOR_HOST"
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Compared:
    """What the archive says about a window."""

    missing: Sequence[ArchivedLine]
    """Lines that the warehouse does not hold."""
    rows: Sequence[dict[str, Any]]
    """Hours of a tenant's meter in which the archive adds something, or more or less is sealed than used."""
    files: int
    unreadable: int
    unusable: int
    """Of the missing: usage lines whose counts can't be used; the warehouse will keep them apart."""


def open_archive(where: str) -> Archive:
    """``gs://BUCKET``, read with the operator's own credentials, or a folder.

    Raises:
        OperatorError: when this machine has no credentials.
    """
    if not where.startswith("gs://"):
        return Folder(Path(where))
    name = urlsplit(where).netloc
    if _EMULATOR in os.environ:
        return Bucket(name, requests.Session(), os.environ[_EMULATOR].rstrip("/"))
    try:
        credentials, _ = google.auth.default(scopes=("https://www.googleapis.com/auth/devstorage.read_only",))
    except GoogleAuthError as error:
        raise OperatorError(f"no credentials: gcloud auth application-default login ({error})") from error
    return Bucket(name, AuthorizedSession(credentials))


def compare(settings: ReporterSettings, window: Window, where: str) -> Compared:
    """Compare the archive with the warehouse, an hour at a time.

    Raises:
        OperatorError: when one of them can't be read, or the tenant is not known.
    """
    archive = open_archive(where)
    with reading(settings) as warehouse:
        check_tenant(warehouse, window.tenant_id)
        try:
            read = read_archive(archive, window.start, window.end, window.tenant_id)
        except ArchiveError as error:
            raise OperatorError(f"the archive can't be read: {error}") from error
        known: set[tuple[str, str]] = set()
        for hour in _hours(window):
            known |= _known(warehouse, hour)
        missing = [line for line in read.lines.values() if (line.event, line.request_id) not in known]
        rows = _difference(warehouse, window, missing)
    unusable = sum(not line.usable() for line in missing)
    return Compared(missing, rows, read.files, read.unreadable, unusable)


def restore(window: Window, missing: Sequence[ArchivedLine]) -> int:
    """Have the reporter take the lines over; how many it did.

    Raises:
        OperatorError: when it does not; what was taken over stays.
    """
    body = {"from": window.start.isoformat(), "to": window.end.isoformat()}
    done = 0
    for start in range(0, len(missing), MOST):
        lines = [to_wire(line) for line in missing[start : start + MOST]]
        done += int(REPORTER.call({**body, "lines": lines})["restored"])
    return done


def _hours(window: Window) -> Iterator[Window]:
    start = window.start
    while start < window.end:
        yield replace(window, start=start, end=start + _HOUR)
        start += _HOUR


def _known(warehouse: Warehouse, hour: Window) -> set[tuple[str, str]]:
    rows = warehouse.read("known_lines", hour.parameters())
    return {(row["event"], row["request_id"]) for row in rows}


def _difference(
    warehouse: Warehouse, window: Window, missing: Sequence[ArchivedLine]
) -> list[dict[str, Any]]:
    archived: Counter[tuple[datetime, str, str]] = Counter()
    for line in missing:
        if line.tenant_id is None or not line.usable():
            continue
        hour = line.line_timestamp.replace(minute=0, second=0, microsecond=0)
        for meter, value in line.used().items():
            archived[hour, line.tenant_id, meter] += value
    held = {
        (row["usage_hour"], row["tenant_id"], row["meter"]): (row["used"], row["sealed"])
        for row in warehouse.read("hour_totals", window.parameters())
    }
    rows = []
    for key in sorted(held.keys() | archived.keys()):
        used, sealed = held.get(key, (0, 0))
        difference = used + archived[key] - sealed
        if archived[key] or difference:
            rows.append(
                {
                    "usage_hour": key[0],
                    "tenant_id": key[1],
                    "meter": key[2],
                    "used": used,
                    "archived": archived[key],
                    "sealed": sealed,
                    "difference": difference,
                }
            )
    return rows
