"""Makes statements on one table overlap: each reads before the other has committed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from sandbox.faults import Fault

HOLD_SECONDS: Final = 10.0
"""How long a statement waits for another one, unless the fault says ``seconds``."""

Table = tuple[str, str]


@dataclass(slots=True)
class Meeting:
    """A statement that waits, with its snapshot taken, until another one has its own."""

    seconds: float
    held: threading.Event = field(default_factory=threading.Event)
    joined: threading.Event = field(default_factory=threading.Event)


class Overlap:
    """The meetings of all tables. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Table, list[Meeting]] = {}

    @contextmanager
    def meeting(self, table: Table, take: Callable[[], Fault | None]) -> Iterator[Meeting | None]:
        """The meeting that this statement calls, if ``take`` gives it a fault: open until the block ends.

        A statement that asks after another one was given a fault finds the meeting open.
        """
        with self._lock:
            fault = take()
            called = None
            if fault is not None:
                called = Meeting(float(fault.parameters.get("seconds", HOLD_SECONDS)))
                self._open.setdefault(table, []).append(called)
        try:
            yield called
        finally:
            if called is not None:
                called.held.set()
                with self._lock:
                    self._open[table].remove(called)

    def attend(self, table: Table, own: Meeting | None) -> None:
        """To be called with the statement's snapshot taken and nothing written yet."""
        if own is not None:
            own.held.set()
        with self._lock:
            others = [meeting for meeting in self._open.get(table, ()) if meeting is not own]
        for meeting in others:
            meeting.held.wait(meeting.seconds)
            meeting.joined.set()
        if own is not None:
            own.joined.wait(own.seconds)
