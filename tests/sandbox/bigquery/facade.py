"""A façade in this process or in one of its own, and the unmodified client to talk to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sandbox.bigquery.app import create_app
from sandbox.layout import REPOSITORY
from sandbox.parts import free_port
from tallygate.clock import FixedClock

PROJECT: Final = "test-project"
START: Final = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
_START_SECONDS: Final = 60


def client_of(url: str) -> bigquery.Client:
    """A client of the façade at ``url``, as the functions make theirs."""
    before = os.environ.get("BIGQUERY_EMULATOR_HOST")
    os.environ["BIGQUERY_EMULATOR_HOST"] = url
    try:
        return bigquery.Client(project=PROJECT, credentials=AnonymousCredentials())
    finally:
        if before is None:
            del os.environ["BIGQUERY_EMULATOR_HOST"]
        else:
            os.environ["BIGQUERY_EMULATOR_HOST"] = before


@dataclass
class Facade:
    """A running façade, seen by one test: with a dataset of its own."""

    url: str
    client: bigquery.Client
    clock: FixedClock
    dataset: str
    armed: list[str] = field(default_factory=list)

    def path(self, table: str) -> str:
        """The full name of a table of this test's dataset."""
        return f"{PROJECT}.{self.dataset}.{table}"

    def table(self, name: str, *columns: str, **settings: Any) -> bigquery.Table:
        """Make a table; a column is ``"name TYPE [MODE]"``."""
        table = bigquery.Table(self.path(name), schema=schema(*columns))
        for setting, value in settings.items():
            setattr(table, setting, value)
        return self.client.create_table(table)

    def view(self, name: str, query: str) -> bigquery.Table:
        """Make a view; ``{d}`` in the query stands for this test's dataset."""
        view = bigquery.Table(self.path(name))
        view.view_query = query.format(d=self.dataset)
        return self.client.create_table(view)

    def add(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Stream rows in, all of them or none."""
        errors = self.client.insert_rows_json(self.path(table), list(rows), row_ids=[None] * len(rows))
        assert errors == []

    def query(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query; ``{d}`` stands for this test's dataset."""
        job = self.start(sql, *parameters)
        return [dict(row.items()) for row in job.result()]

    def start(self, sql: str, *parameters: Any, **options: Any) -> bigquery.QueryJob:
        """Start a job; ``{d}`` stands for this test's dataset."""
        config = bigquery.QueryJobConfig()
        config.query_parameters = list(parameters)
        return self.client.query(sql.format(d=self.dataset), job_config=config, **options)

    def change(self, sql: str, *parameters: Any) -> int:
        """Run DML; the number of rows it changed."""
        job = self.start(sql, *parameters)
        job.result()
        assert job.num_dml_affected_rows is not None
        return int(job.num_dml_affected_rows)

    def value(self, expression: str, *parameters: Any) -> Any:
        """What one expression gives."""
        ((value,),) = [tuple(row.values()) for row in self.query(f"SELECT {expression} AS v", *parameters)]
        return value

    def arm(self, kind: str, **fault: Any) -> str:
        """Arm a fault, for one occasion unless the test says otherwise."""
        body = {"kind": kind, **({} if "rate" in fault else {"count": 1}), **fault}
        answer = httpx.post(f"{self.url}/_sandbox/faults", json=body, trust_env=False)
        answer.raise_for_status()
        return str(answer.json()["fault_id"])

    def injected(self, fault_id: str) -> int:
        """How often a fault has struck."""
        faults = httpx.get(f"{self.url}/_sandbox/faults", trust_env=False).json()["faults"]
        return next(int(fault["injected"]) for fault in faults if fault["fault_id"] == fault_id)

    def rest(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request by hand, below the client; ``path`` begins after the project."""
        url = f"{self.url}/bigquery/v2/projects/{PROJECT}{path}"
        return httpx.request(method, url, trust_env=False, timeout=30, **options)

    def sandbox(self, method: str, path: str) -> Any:
        """One of the sandbox's own paths."""
        answer = httpx.request(method, f"{self.url}/_sandbox/{path}", trust_env=False, timeout=30)
        answer.raise_for_status()
        return answer.json()


def schema(*columns: str) -> list[bigquery.SchemaField]:
    """Columns written as ``"name TYPE [MODE]"``."""
    return [bigquery.SchemaField(*column.split()) for column in columns]


def scalar(name: str, type_: str, value: Any) -> bigquery.ScalarQueryParameter:
    """A typed parameter."""
    return bigquery.ScalarQueryParameter(name, type_, value)


@contextmanager
def in_this_process(state: Path, clock: FixedClock) -> Iterator[str]:
    """Serve a façade from a thread; its URL."""
    port = free_port()
    app = create_app(state, clock, PROJECT)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", access_log=False, ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url)
        yield url
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def in_its_own_process(state: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve a façade from a process that a test may kill."""
    command = [sys.executable, "-m", "sandbox.bigquery", "--port", str(port), "--state", str(state)]
    process = subprocess.Popen([*command, "--project", PROJECT], cwd=REPOSITORY)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9, and wait for the end."""
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def wait_until_healthy(url: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when the façade answers.

    Raises:
        AssertionError: when its process has ended or a minute has passed.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        try:
            if httpx.get(f"{url}/_sandbox/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"{url} does not answer")


def column(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """One column of some rows."""
    return [row[name] for row in rows]
