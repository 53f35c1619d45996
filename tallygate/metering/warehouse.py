"""The usage warehouse in BigQuery: named SQL files, typed parameters, and statements that run at most once.

A statement that writes runs under a job id of its own. A second job of the same id is refused with 409, and
the first one's result can be read. So whatever happens to an answer on its way, asking again by the same id
never writes twice.
"""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources
from string import Template
from typing import Any, Final, Protocol

from google.api_core import exceptions
from google.cloud import bigquery

Value = str | int | bool | datetime | Sequence[str] | Sequence["Row"]

_FRAGMENTS: Final = ("due", "unrated")
_CALL_SECONDS: Final = 30.0
_RETRY: Final = bigquery.DEFAULT_RETRY.with_timeout(60.0)


class JobRunningError(Exception):
    """A job did not finish in time and goes on: its outcome must be read before anything follows it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} still runs")
        self.job_id = job_id


class Row(Protocol):
    """A row that travels in an array parameter: a frozen dataclass whose fields are its columns."""

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name, in the fields' order."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One row of ``meter_deliveries`` to append; the time, the hour and the run are the statement's."""

    identifier: str
    attempt: int
    state: str
    reason: str | None

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name."""
        return {"identifier": "STRING", "attempt": "INT64", "state": "STRING", "reason": "STRING"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job of a given id ended."""

    job_id: str
    ours: bool
    """Whether this call submitted it, as opposed to finding it there."""
    rows: int
    """Rows written."""
    error: str | None
    """BigQuery's message, when it wrote nothing because it failed."""


@dataclass(slots=True)
class Warehouse:
    """Runs the package's SQL files. Safe to share between threads."""

    client: bigquery.Client
    raw: str
    ledger: str
    job_seconds: float = 120.0
    """How long a job is waited for."""
    jobs: int = 0
    """BigQuery jobs started by this object: what a run costs."""
    _located: tuple[str | None, int] | None = field(default=None, repr=False)

    def read(self, name: str, parameters: Mapping[str, Value]) -> list[dict[str, Any]]:
        """The rows of a query.

        Raises:
            JobRunningError: when it has not ended in time.
            GoogleAPICallError: when BigQuery can't be reached or refuses.
        """
        self.jobs += 1
        sql = self.statement(name)
        try:
            rows = self.client.query_and_wait(
                sql,
                job_config=_config(sql, parameters),
                wait_timeout=self.job_seconds,
                retry=_RETRY,
                job_retry=None,  # its default goes on for ten minutes: as long as a lease holds
            )
        except concurrent.futures.TimeoutError:
            raise JobRunningError(name) from None
        return [dict(row.items()) for row in rows]

    def write(self, job_id: str, name: str, parameters: Mapping[str, Value]) -> Outcome:
        """Run a statement under a job id, or read how the job of that id ended.

        Raises:
            JobRunningError: when the job has not ended in time.
            GoogleAPICallError: when BigQuery can't be reached or refuses the statement; then the outcome is
                unknown, and the same call may be made again.
        """
        self.jobs += 1
        sql = self.statement(name)
        try:
            job = self.client.query(
                sql,
                job_config=_config(sql, parameters),
                job_id=job_id,
                job_retry=None,
                retry=_RETRY,
                timeout=_CALL_SECONDS,
            )
        except exceptions.Conflict:
            location, _ = self.located()
            job = self.client.get_job(job_id, location=location, retry=_RETRY, timeout=_CALL_SECONDS)
            return self._ended(job, ours=False)
        return self._ended(job, ours=True)

    def located(self) -> tuple[str | None, int]:
        """Location of the ledger, and when its first table was made, in milliseconds since 1970."""
        if self._located is None:
            table = self.client.get_table(f"{self.client.project}.{self.ledger}.ledger_epochs")
            created = table.created
            self._located = (table.location, 0 if created is None else int(created.timestamp() * 1000))
        return self._located

    def _ended(self, job: Any, *, ours: bool) -> Outcome:
        """Wait for a job.

        Raises:
            JobRunningError: when it has not ended in time.
        """
        error: str | None = None
        try:
            job.result(timeout=self.job_seconds, retry=_RETRY, job_retry=None)
        except concurrent.futures.TimeoutError:
            raise JobRunningError(job.job_id) from None
        except exceptions.GoogleAPICallError as raised:
            if job.error_result is None:  # the question failed, not the job
                raise
            error = str(raised.message)
        rows = 0 if error is not None else job.num_dml_affected_rows or 0
        return Outcome(job.job_id, ours, rows, error)

    def statement(self, name: str) -> str:
        """The text of an SQL file with the datasets' names filled in."""
        return filled(_text(name), raw=self.raw, ledger=self.ledger)


def filled(text: str, *, raw: str, ledger: str) -> str:
    """A statement with its fragments and the datasets' names filled in.

    A fragment is a query that several statements contain: a view can't take the bounds of its partitions.
    """
    names = {"raw": raw, "ledger": ledger}
    fragments = {name: Template(_text(f"fragments/{name}")).substitute(names) for name in _FRAGMENTS}
    return Template(text).substitute(names, **fragments)


@cache
def _text(name: str) -> str:
    return resources.files("tallygate.metering").joinpath("sql", f"{name}.sql").read_text("utf-8")


def _config(sql: str, parameters: Mapping[str, Value]) -> bigquery.QueryJobConfig:
    named = set(re.findall(r"@(\w+)", sql))
    config = bigquery.QueryJobConfig()
    config.query_parameters = [_parameter(name, value) for name, value in parameters.items() if name in named]
    return config


def _parameter(name: str, value: Value) -> Any:
    if isinstance(value, bool):
        return bigquery.ScalarQueryParameter(name, "BOOL", value)
    if isinstance(value, int):
        return bigquery.ScalarQueryParameter(name, "INT64", value)
    if isinstance(value, str):
        return bigquery.ScalarQueryParameter(name, "STRING", value)
    if isinstance(value, datetime):
        return bigquery.ScalarQueryParameter(name, "TIMESTAMP", value)
    texts = [item for item in value if isinstance(item, str)]
    if len(texts) == len(value):
        return bigquery.ArrayQueryParameter(name, "STRING", texts)
    rows: list[Row] = [item for item in value if not isinstance(item, str)]
    columns = rows[0].columns()
    return bigquery.ArrayQueryParameter(
        name,
        bigquery.StructQueryParameterType(
            *(bigquery.ScalarQueryParameterType(type_, name=column) for column, type_ in columns.items())
        ),
        [_struct(row, columns) for row in rows],
    )


def _struct(row: Row, columns: Mapping[str, str]) -> Any:
    return bigquery.StructQueryParameter(
        None,
        *(
            bigquery.ScalarQueryParameter(column, type_, getattr(row, column))
            for column, type_ in columns.items()
        ),
    )
