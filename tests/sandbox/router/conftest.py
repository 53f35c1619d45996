"""A router between a folder of log files and a façade of BigQuery in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sandbox.faults import FaultRegistry
from sandbox.layout import REPOSITORY
from sandbox.parts import free_port
from sandbox.router.faults import KINDS
from sandbox.router.journal import Journal
from sandbox.router.router import Router
from sandbox.router.sinks import sinks
from sandbox.router.warehouse import Warehouse
from sandbox.warehouse import create_warehouse
from tallygate.clock import FixedClock

PROJECT = "test-project"
START = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
_START_SECONDS = 60


@dataclass
class Facade:
    """A façade and a client of it."""

    url: str
    client: bigquery.Client
    raw: str
    ledger: str

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table of the raw dataset."""
        return [dict(row.items()) for row in self.client.list_rows(f"{PROJECT}.{self.raw}.{table}")]


@pytest.fixture(scope="session")
def facade_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    state = tmp_path_factory.mktemp("bigquery")
    command = [sys.executable, "-m", "sandbox.bigquery", "--port", str(port), "--state", str(state)]
    process = subprocess.Popen([*command, "--project", PROJECT], cwd=REPOSITORY)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/_sandbox/health")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


@pytest.fixture
def facade(facade_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facade]:
    """The façade with two datasets of this test's own: a row id counts on after its table is gone."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", facade_url)
    client = bigquery.Client(project=PROJECT, credentials=AnonymousCredentials())
    suffix = uuid.uuid4().hex[:8]
    made = Facade(facade_url, client, f"usage_raw_{suffix}", f"ledger_{suffix}")
    create_warehouse(client, PROJECT, made.raw, made.ledger)
    yield made
    httpx.delete(f"{facade_url}/_sandbox/faults")
    client.close()


@dataclass
class Routed:
    """A router and what it works on."""

    router: Router
    folder: Path
    clock: FixedClock
    state: Path

    def write(self, *lines: dict[str, Any] | str, file: str = "proxy-0.1.stdout.log") -> None:
        """Append lines to a log file."""
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        with (self.folder / file).open("a") as opened:
            opened.writelines(f"{text}\n" for text in texts)


@pytest.fixture
def routed(facade: Facade, tmp_path: Path) -> Iterator[Routed]:
    folder = tmp_path / "logs"
    folder.mkdir()
    clock = FixedClock(START)
    state = tmp_path / "router.sqlite"
    router = make_router(folder, state, facade, clock)
    yield Routed(router, folder, clock, state)
    router.journal.close()


def make_router(folder: Path, state: Path, facade: Facade, clock: FixedClock) -> Router:
    return Router(
        folder=folder,
        project=PROJECT,
        journal=Journal(state),
        warehouse=Warehouse(facade.client, facade.raw),
        sinks=sinks(),
        clock=clock,
        faults=FaultRegistry(KINDS),
    )
