"""Real code in simulated time: actors run one at a time and are paused, or ended, at any step.

An actor is a function on a thread of its own. Where it calls :meth:`Stage.pause`, everything else that is due
runs before it goes on; so calls of several actors interleave as the seed says, the same each time.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta


class Crash(BaseException):
    """Ends an actor where it stands, as the end of its process would."""


@dataclass
class _Thread:
    """A thread that carries out one actor after the other."""

    work: Callable[[], None] | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def step(self) -> None:
        """Let the actor run until it pauses or ends."""
        self.go.release()
        self.back.acquire()

    def pause(self) -> None:
        """Called by the actor: wait until it is its turn again."""
        self.back.release()
        self.go.acquire()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            assert self.work is not None
            self.work()
            self.work = None
            self.back.release()


_IDLE: list[_Thread] = []


@dataclass
class Stage:
    """The clock of a simulation and everything that is planned on it."""

    now: datetime
    failures: list[BaseException] = field(default_factory=list)
    _planned: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _acting: _Thread | None = None

    def at(self, moment: datetime, do: Callable[[], None]) -> None:
        """Plan something that takes no time."""
        heapq.heappush(self._planned, (max(moment, self.now), next(self._numbers), do))

    def act(self, moment: datetime, actor: Callable[[], None]) -> None:
        """Plan an actor."""
        self.at(moment, lambda: self._begin(actor))

    def pause(self, seconds: float) -> None:
        """Called by an actor: let so much time pass."""
        thread = self._acting
        assert thread is not None, "only actors pause"
        self.at(self.now + timedelta(seconds=seconds), lambda: self._go_on(thread))
        thread.pause()

    def run_until(self, end: datetime) -> None:
        """Carry out everything planned up to a moment; actors that are under way then are left to end."""
        while self._planned and self._planned[0][0] <= end:
            self.now, _, do = heapq.heappop(self._planned)
            do()
            if self.failures:
                raise self.failures[0]
        self.now = max(self.now, end)

    def drain(self) -> None:
        """Carry out everything planned, whenever it is."""
        while self._planned:
            self.run_until(self._planned[0][0])

    def _begin(self, actor: Callable[[], None]) -> None:
        if _IDLE:
            thread = _IDLE.pop()
        else:
            thread = _Thread()
            thread.start()
        thread.work = lambda: self._guarded(actor)
        self._go_on(thread)

    def _guarded(self, actor: Callable[[], None]) -> None:
        try:
            actor()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the thread that runs the simulation
            self.failures.append(error)

    def _go_on(self, thread: _Thread) -> None:
        self._acting = thread
        thread.step()
        self._acting = None
        if thread.work is None:
            _IDLE.append(thread)
