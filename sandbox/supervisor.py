"""Keeps the processes of a sandbox running: starts them, starts a dead one again, ends them."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import http.client
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from sandbox.layout import REPOSITORY, Layout
from sandbox.parts import Part, child_environment

START_TIMEOUT_SECONDS: Final = 90
RESTART_DELAY_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.2
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Parts are on the loopback interface: a proxy that the environment names can't reach them."""


class SandboxError(Exception):
    """The sandbox can't be started or went wrong; the message says what to do."""


class Held:
    """The right to run a sandbox in a folder, held until closed."""

    def __init__(self, layout: Layout) -> None:
        layout.root.mkdir(exist_ok=True, parents=True)
        self._file = layout.lock.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise SandboxError(f"a sandbox runs in {layout.root} already: end it first") from None

    def close(self) -> None:
        """Give it up."""
        self._file.close()


def clear(layout: Layout) -> None:
    """Remove what an earlier sandbox left, but for the lock and the reports."""
    for path in layout.root.iterdir():
        if path == layout.lock or path.name in ("demo.json", "bench.json"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(slots=True)
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    started: float
    starts: int


@dataclass(slots=True)
class Supervisor:
    """The processes of one sandbox."""

    layout: Layout
    on_change: Callable[[Mapping[str, int]], None] = field(default=lambda pids: None)
    """Called with the pids by name whenever a part was started again."""
    _running: dict[str, _Running] = field(default_factory=dict)

    @property
    def pids(self) -> dict[str, int]:
        """The process of each part."""
        return {name: running.process.pid for name, running in self._running.items()}

    def start(self, part: Part) -> None:
        """Start a part; :meth:`wait_ready` tells when it answers."""
        before = self._running.get(part.name)
        starts = before.starts + 1 if before else 1
        self._running[part.name] = _Running(part, self._spawn(part, starts), time.monotonic(), starts)

    def wait_ready(self, *parts: Part) -> None:
        """Return when all of them answer.

        Raises:
            SandboxError: when one ended or did not answer in time; names its log.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        for part in parts:
            while not answers(part):
                if self._running[part.name].process.poll() is not None:
                    raise SandboxError(f"{part.name} ended while starting:\n{self._last_words(part)}")
                if time.monotonic() > deadline:
                    message = (
                        f"{part.name} is not ready after {START_TIMEOUT_SECONDS} s: see {self._log(part)}"
                    )
                    raise SandboxError(message)
                time.sleep(_POLL_SECONDS)

    def watch(self, until: Callable[[], bool]) -> None:
        """Start again what dies, on its port, until told to stop."""
        while not until():
            dead = [running for running in self._running.values() if running.process.poll() is not None]
            for running in dead:
                if time.monotonic() - running.started >= RESTART_DELAY_SECONDS:
                    _end_workers(running.process)
                    self.start(running.part)
                    self.on_change(self.pids)
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End all parts and their workers, the last started first, each within its grace."""
        parts = list(reversed(self._running.values()))
        for running in parts:
            _signal(running.process, signal.SIGTERM)
        for running in parts:
            try:
                running.process.wait(running.part.grace_seconds)
            except subprocess.TimeoutExpired:
                _signal(running.process, signal.SIGKILL)
                running.process.wait()
            _end_workers(running.process)
        self._running.clear()

    def _spawn(self, part: Part, starts: int) -> subprocess.Popen[bytes]:
        if part.keeps_output:
            stem = self.layout.logs / f"{part.name}.{starts}"
            out = _appending(stem.with_name(f"{stem.name}.stdout.log"))
            err = _appending(stem.with_name(f"{stem.name}.stderr.log"))
        else:
            out = err = _appending(self._log(part))
        with out, err:
            return subprocess.Popen(
                part.command,
                cwd=REPOSITORY,
                env=child_environment(part),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _log(self, part: Part) -> Path:
        if part.keeps_output:
            return self.layout.logs / f"{part.name}.{self._running[part.name].starts}.stderr.log"
        return self.layout.part_logs / f"{part.name}.log"

    def _last_words(self, part: Part) -> str:
        log = self._log(part)
        return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:]) + f"(from {log})"


def answers(part: Part) -> bool:
    """Whether the part answers its health path as it should."""
    try:
        with _DIRECT.open(part.url + part.health, timeout=2) as response:
            status = response.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except (OSError, http.client.HTTPException):
        return False
    return bool(status == part.health_status)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the part and the workers it started: they share its session."""
    if process.poll() is None:
        os.killpg(process.pid, number)


def _end_workers(process: subprocess.Popen[bytes]) -> None:
    """End what a part that is gone left in its session: a worker would keep its port."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _appending(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab", buffering=0)


def _end_with_parent() -> None:
    """A supervisor that is killed must leave no process behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
