"""Moves the clock forward from effect to effect, so that everything happens at its own time.

An *effect* is what a double would do by itself at a moment (a summary becomes visible, an invoice is
finalized, a delayed log line is delivered) or a scheduled job. Advancing by a month walks through all of
them in order. A job whose last run found nothing to do is run again only at its last due time before the
next effect: between effects nothing changes, so the runs left out would have found nothing either.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx

from sandbox.clock.jobs import Job
from tallygate.clock import OffsetFileClock, parse_rfc3339, write_offset

STEP_TIMEOUT_SECONDS: Final = 120
_LEAST_STEP: Final = timedelta(milliseconds=1)


class SandboxClock:
    """The clock file, the doubles that live by it, and the jobs. One mover at a time."""

    def __init__(
        self, path: Path, doubles: Sequence[str], functions: Mapping[str, str], jobs: Sequence[Job]
    ) -> None:
        self._path = path
        self._clock = OffsetFileClock(path)
        self._doubles = doubles
        self._functions = functions
        self._jobs = jobs
        self._client = httpx.Client(timeout=STEP_TIMEOUT_SECONDS, trust_env=False)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The sandbox's time."""
        return self._clock.now()

    def close(self) -> None:
        """Let go of the connections to the doubles, once nobody moves the clock."""
        with self._lock:
            self._client.close()

    def advance(self, seconds: float) -> datetime:
        """Move on, carrying out everything due on the way; the new time.

        Raises:
            httpx.HTTPError: when a double does not answer; the clock then stands where it failed.
        """
        with self._lock:
            target = self.now() + timedelta(seconds=seconds)
            for job in self._jobs:
                job.quiet = False  # traffic may have come since
            self._carry_out_due()
            while (step := self._next_step(target)) is not None:
                self._move_to(step)
                self._carry_out_due()
            self._move_to(target)
            self._carry_out_due()
            return self.now()

    def keep_up(self) -> None:
        """Run the jobs that real time has made due."""
        with self._lock:
            for job in self._jobs:
                if job.next_due() <= self.now():
                    self._run(job)

    def _next_step(self, target: datetime) -> datetime | None:
        effects = [effect for effect in map(self._next_effect, self._doubles) if effect is not None]
        horizon = min([target, *effects])
        jobs = [job.last_due(horizon) if job.quiet else job.next_due() for job in self._jobs]
        due = [at for at in [*jobs, *effects] if at is not None]
        step = min(due, default=target)
        return step if step < target else None

    def _next_effect(self, url: str) -> datetime | None:
        answer = self._client.get(f"{url}/_sandbox/next")
        answer.raise_for_status()
        at = answer.json()["at"]
        return None if at is None else parse_rfc3339(at)

    def _move_to(self, moment: datetime) -> None:
        """Never backward: what is overdue is carried out now, a moment later than the last step."""
        ahead = max(moment - self.now(), _LEAST_STEP)
        offset = timedelta(microseconds=int(self._path.read_text()))
        write_offset(self._path, offset + ahead)

    def _carry_out_due(self) -> None:
        happened = False
        for url in self._doubles:
            effect = self._next_effect(url)
            if effect is not None and effect <= self.now():
                happened = True
            self._client.post(f"{url}/_sandbox/tick").raise_for_status()
        for job in self._jobs:
            job.quiet = job.quiet and not happened
            if job.next_due() <= self.now():
                self._run(job)

    def _run(self, job: Job) -> None:
        job.run(self._functions[job.function], self._client, self.now())
