"""The façade of BigQuery in a process of its own, and usage that is put into its raw table beforehand."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sandbox.bigquery.store import Warehouse as Store
from sandbox.layout import DATASET_RAW, PROJECT_ID, REPOSITORY
from sandbox.parts import free_port
from sandbox.warehouse import table_schema

TENANTS: Final = 1000
DUPLICATES: Final = 100
"""One line in so many comes twice."""
JOB_SECONDS: Final = 1800.0
"""How long a job is waited for: a busy machine makes it slow, not wrong."""
_STDOUT: Final = "run_googleapis_com_stdout"
_START_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.1
_DUCK_TYPES: Final = {"STRING": "VARCHAR", "FLOAT64": "DOUBLE", "BOOL": "BOOLEAN"}
TOKENS: Final = 1000
"""Input tokens of a request, half of them from the cache where that is counted, and its output."""


class WrongSumError(Exception):
    """What was sealed is not what was put in: the speed of a wrong answer is of no interest."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Some usage of all tenants, evenly spread."""

    events: int
    start: datetime
    seconds: int
    tenants: int = TENANTS


def load(state: Path, usage: Usage) -> None:
    """Fill the raw table while the façade is down: a million rows over its API take minutes."""
    (payload,) = (column for column in table_schema(_STDOUT) if column["name"] == "jsonPayload")
    given = {
        "event": "'llm_usage'",
        "schema_version": "1",
        "request_id": "'req-' || n",
        "tenant_id": f"'tenant-' || (n % {usage.tenants})",
        "input_tokens": str(TOKENS // 2),
        "cached_input_tokens": str(TOKENS // 2),
        "cache_write_tokens": "0",
        "output_tokens": str(TOKENS),
        "total_tokens": str(2 * TOKENS),
        "cost_nano_usd": "'0'",
        "billable": "TRUE",
        "unpriced": "FALSE",
    }
    fields = ", ".join(f"{column['name']} := {_value(column, given)}" for column in payload["fields"])
    moment = f"TIMESTAMPTZ '{usage.start.isoformat()}' + to_seconds(n * {usage.seconds / usage.events})"
    store = Store(state, PROJECT_ID)
    try:
        with store.transaction() as connection:
            connection.execute(
                f"INSERT INTO {DATASET_RAW}.{_STDOUT} "  # noqa: S608 - numbers and names of this file
                "(insertId, logName, timestamp, receiveTimestamp, jsonPayload) "
                "SELECT 'req-' || n, 'projects/p/logs/run.googleapis.com%2Fstdout', "
                f"{moment}, {moment} + INTERVAL 1 SECOND * copy, STRUCT_PACK({fields}) "
                f"FROM (SELECT UNNEST(RANGE({usage.events})) AS n) "
                f"CROSS JOIN (SELECT UNNEST([0, 1]) AS copy) WHERE copy = 0 OR n % {DUPLICATES} = 0"
            )
    finally:
        store.close()


def _value(column: Mapping[str, Any], given: Mapping[str, str]) -> str:
    return f"CAST({given.get(column['name'], 'NULL')} AS {_DUCK_TYPES[column['type']]})"


@contextmanager
def facade(state: Path) -> Iterator[tuple[bigquery.Client, subprocess.Popen[bytes]]]:
    """The façade on a folder, and the official client pointed at it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "sandbox.bigquery", "--port", str(port), "--state", str(state)]
    process = subprocess.Popen([*command, "--project", PROJECT_ID], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(f"{url}/_sandbox/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError("the façade of BigQuery did not start")
            time.sleep(_LOOK_SECONDS)
        options = ClientOptions(api_endpoint=url)
        client = bigquery.Client(
            project=PROJECT_ID, credentials=AnonymousCredentials(), client_options=options
        )
        yield client, process
        client.close()
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
