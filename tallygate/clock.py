"""The one source of time for everything that is dated, billed, leased or signed.

Cache lifetimes and socket timeouts don't use it: they measure waiting, not dates, and run on
``time.monotonic``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

OFFSET_WIDTH = 20
"""Characters of an offset file: a fixed width, so that one write replaces the whole value."""


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.now(UTC)


@dataclass(slots=True)
class FixedClock:
    """A clock that stands until it is moved: for tests."""

    at: datetime

    def now(self) -> datetime:
        """The time it was set to."""
        return self.at

    def advance(self, **by: float) -> None:
        """Move on by ``timedelta(**by)``."""
        self.at += timedelta(**by)


@dataclass(slots=True)
class OffsetFileClock:
    """The machine's clock plus an offset that all processes of a sandbox read from one file.

    The file holds the offset in microseconds as ASCII, padded to :data:`OFFSET_WIDTH`.
    """

    path: Path
    _descriptor: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def now(self) -> datetime:
        """The current time of the sandbox, aware, in UTC."""
        offset = int(os.pread(self._descriptor, OFFSET_WIDTH, 0))
        return datetime.now(UTC) + timedelta(microseconds=offset)


def write_offset(path: Path, offset: timedelta) -> None:
    """Set the offset that every :class:`OffsetFileClock` on ``path`` adds, creating the file if needed."""
    microseconds = offset // timedelta(microseconds=1)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, str(microseconds).rjust(OFFSET_WIDTH).encode(), 0)
    finally:
        os.close(descriptor)


def clock_from(setting: str) -> Clock:
    """The clock that ``TALLYGATE_CLOCK`` names: ``system`` or ``file:<path>``.

    Raises:
        ValueError: for anything else.
    """
    if setting == "system":
        return SystemClock()
    kind, _, path = setting.partition(":")
    if kind == "file" and path:
        return OffsetFileClock(Path(path))
    raise ValueError(f"TALLYGATE_CLOCK must be 'system' or 'file:<path>', not {setting!r}")


def rfc3339(moment: datetime) -> str:
    """A moment in UTC with microseconds, as every record writes it: ``2026-01-01T00:00:00.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """The moment that an RFC 3339 text names, in UTC.

    Raises:
        ValueError: when the text is no timestamp or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp without offset: {text!r}")
    return moment.astimezone(UTC)
