"""A running double with the official clients pointed at it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from anthropic import Anthropic
from openai import OpenAI

from sandbox.layout import REPOSITORY
from sandbox.parts import free_port
from tallygate.clock import write_offset

GPT: Final = "gpt-4o"
CLAUDE: Final = "claude-haiku-4-5"
START_SECONDS: Final = 20
WAIT_SECONDS: Final = 10
_IDS: Final = itertools.count(1)


@dataclass
class Double:
    """The process, its clock and its clients, which refuse whatever is not of the SDK's types."""

    port: int
    state: Path
    clock: Path
    process: subprocess.Popen[bytes] = field(init=False)
    openai: OpenAI = field(init=False)
    lenient: OpenAI = field(init=False)
    """For what the SDK's own types don't allow: the null ``finish_reason`` of a completion's chunk, and the
    base64 that it asks embeddings for."""
    anthropic: Anthropic = field(init=False)
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.openai = OpenAI(
            api_key="sk-test", base_url=f"{self.url}/v1", max_retries=0, _strict_response_validation=True
        )
        self.lenient = OpenAI(api_key="sk-test", base_url=f"{self.url}/v1", max_retries=0)
        self.anthropic = Anthropic(
            api_key="sk-test", base_url=self.url, max_retries=0, _strict_response_validation=True
        )
        self.http = httpx.Client(
            base_url=self.url,
            headers={"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01"},
            timeout=10,
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process on its port and wait until it answers."""
        options = ["--port", str(self.port), "--state", str(self.state), "--clock", f"file:{self.clock}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.provider", *options], cwd=REPOSITORY, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, "the double ended while starting"
            assert time.monotonic() < deadline, "the double does not answer"
            time.sleep(0.05)

    def kill(self) -> None:
        """As ``kill -9``."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End everything."""
        self.kill()
        for client in (self.openai, self.lenient, self.anthropic, self.http):
            client.close()

    def ledger(self, request_id: str) -> list[dict[str, Any]]:
        """The rows of a request."""
        answer = self.http.get("/_sandbox/ledger", params={"request_id": request_id})
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def charged(self, request_id: str, attempt: int = 1) -> dict[str, int]:
        """Tokens by class of one attempt."""
        rows = [row for row in self.ledger(request_id) if row["attempt"] == attempt]
        return {row["class"]: row["tokens"] for row in rows if row["tokens"]}

    def ended(self, request_id: str) -> tuple[bool, bool]:
        """``reported`` and ``completed`` of a request's only attempt."""
        ((reported, completed),) = {(row["reported"], row["completed"]) for row in self.ledger(request_id)}
        return reported, completed

    def advance(self, seconds: float) -> None:
        """Set the clock so far ahead of the machine's."""
        write_offset(self.clock, timedelta(seconds=seconds))

    @contextmanager
    def fault(self, kind: str, **fields: Any) -> Iterator[None]:
        """Arm a fault that fires once unless told otherwise; disarmed at the end of the block."""
        wanted = {"kind": kind, **({} if "rate" in fields else {"count": 1}), **fields}
        assert self.http.post("/_sandbox/faults", json=wanted).status_code == 200
        try:
            yield
        finally:
            self.http.delete("/_sandbox/faults")

    def _answers(self) -> bool:
        try:
            return self.http.get("/_sandbox/health").status_code == 200
        except httpx.HTTPError:
            return False


def new_double(folder: Path) -> Double:
    """A double with state of its own, not started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    write_offset(folder / "clock", timedelta())
    return Double(free_port(), folder / "state", folder / "clock")


def new_id() -> str:
    """A request id that no other test has."""
    return f"req-{next(_IDS)}"


def named(request_id: str) -> dict[str, str]:
    """The header that tells the double a request's id."""
    return {"x-tallygate-request-id": request_id}


def user(text: str) -> list[Any]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def awaited(condition: Any) -> Any:
    """The first true value of a condition; fails when none comes."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value
