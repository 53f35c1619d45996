"""Query jobs: durable, each under an id of its own, run by the façade however its client fares."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.bigquery.errors import BigQueryError
from sandbox.bigquery.overlap import Overlap
from sandbox.bigquery.store import Outcome, Warehouse
from sandbox.bigquery.translate import Statement, translate
from sandbox.bigquery.types import (
    Field,
    field_from_parameter,
    parameter_value,
    schema_from_api,
    schema_to_api,
)
from sandbox.faults import Fault, FaultRegistry
from tallygate.clock import Clock

WORKERS: Final = 8
_JOB_ID: Final = re.compile(r"^[A-Za-z0-9_-]{1,1024}$")
_OUTLIVE_SECONDS: Final = 2.0
"""How long a job hit by ``job_continues_after_client_dies`` stays RUNNING before it does its work."""
_KNOWN_OPTIONS: Final = frozenset(
    {
        "query", "useLegacySql", "parameterMode", "queryParameters", "priority", "useQueryCache",
        "maximumBytesBilled", "maximumBillingTier", "writeIncrementalResults",
    }
)  # fmt: skip

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT UNIQUE NOT NULL,
  resource TEXT NOT NULL,
  done INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS pages (
  job_id TEXT NOT NULL, first_row INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (job_id, first_row)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands."""

    job_id: str
    resource: Mapping[str, Any]
    """Its REST resource, with ``_schema`` and ``_rows`` of a SELECT's result."""

    @property
    def done(self) -> bool:
        """Whether its state is DONE."""
        return bool(self.resource["status"]["state"] == "DONE")

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The ``ErrorProto`` of a job that failed."""
        error: Mapping[str, Any] | None = self.resource["status"].get("errorResult")
        return error

    @property
    def schema(self) -> tuple[Field, ...]:
        """Columns of its result."""
        return schema_from_api(self.resource.get("_schema"))

    @property
    def rows(self) -> int | None:
        """Rows of its result; None for DML."""
        return self.resource.get("_rows")

    def to_api(self) -> dict[str, Any]:
        """The REST resource."""
        return {key: value for key, value in self.resource.items() if not key.startswith("_")}


class Jobs:
    """All jobs, with their results."""

    def __init__(self, directory: Path, warehouse: Warehouse, clock: Clock, faults: FaultRegistry) -> None:
        self._warehouse = warehouse
        self._clock = clock
        self._faults = faults
        self._database = sqlite3.connect(
            directory / "jobs.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        self._lock = threading.Lock()
        self._dml = threading.Lock()
        self._overlap = Overlap()
        self._running: dict[str, Future[None]] = {}
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="job")
        self._resume()

    def _resume(self) -> None:
        """Go on with the jobs that were running when the process ended."""
        for job_id, resource in self._database.execute(
            "SELECT job_id, resource FROM jobs WHERE NOT done ORDER BY number"
        ).fetchall():
            self._database.execute("DELETE FROM pages WHERE job_id = ?", [job_id])
            self._start(Job(job_id, json.loads(resource)))

    def close(self) -> None:
        """Finish what runs."""
        self._executor.shutdown(wait=True)
        self._database.close()

    def _execute(self, sql: str, values: list[Any]) -> list[Any]:
        with self._lock:
            return self._database.execute(sql, values).fetchall()

    def _milliseconds(self) -> str:
        return str(int(self._clock.now().timestamp() * 1000))

    def insert(self, job_id: str, location: str, configuration: Mapping[str, Any]) -> Job:
        """Make a job and start it.

        Raises:
            BigQueryError: ``duplicate`` for an id that exists; ``invalid`` or ``notImplemented`` for options.
        """
        if not _JOB_ID.match(job_id):
            raise BigQueryError("invalid", f'Invalid job ID "{job_id}": letters, digits, "_" and "-" only.')
        _check_options(configuration)
        project = self._warehouse.project
        resource = {
            "kind": "bigquery#job",
            "id": f"{project}:{location}.{job_id}",
            "jobReference": {"projectId": project, "jobId": job_id, "location": location},
            "configuration": {"jobType": "QUERY", **configuration},
            "statistics": {"creationTime": self._milliseconds(), "startTime": self._milliseconds()},
            "status": {"state": "RUNNING"},
            "user_email": "sandbox@localhost",
        }
        try:
            self._execute(
                "INSERT INTO jobs (job_id, resource, done) VALUES (?, ?, 0)", [job_id, json.dumps(resource)]
            )
        except sqlite3.IntegrityError:
            message = f"Already Exists: Job {project}:{location}.{job_id}"
            raise BigQueryError("duplicate", message) from None
        job = Job(job_id, resource)
        self._start(job)
        return job

    def _start(self, job: Job) -> None:
        with self._lock:
            future = self._running[job.job_id] = self._executor.submit(self._run, job)
        future.add_done_callback(lambda _: self._running.pop(job.job_id, None))

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            BigQueryError: ``notFound``.
        """
        found = self._execute("SELECT resource FROM jobs WHERE job_id = ?", [job_id])
        if not found:
            raise BigQueryError("notFound", f"Not found: Job {self._warehouse.project}:{job_id}")
        return Job(job_id, json.loads(found[0][0]))

    def newest(self, start: int, count: int) -> list[Job]:
        """Jobs, the newest first."""
        found = self._execute(
            "SELECT job_id, resource FROM jobs ORDER BY number DESC LIMIT ? OFFSET ?", [count, start]
        )
        return [Job(job_id, json.loads(resource)) for job_id, resource in found]

    def running(self, job_id: str) -> Future[None] | None:
        """What completes when the job is DONE; None if it is."""
        return self._running.get(job_id)

    def rows(self, job: Job, start: int, count: int) -> list[dict[str, Any]]:
        """Rows ``start`` … of a job's result, in wire form, at most ``count``."""
        if count < 1:
            return []
        found = self._execute(
            "SELECT first_row, body FROM pages WHERE job_id = ? AND first_row < ? AND first_row >= "
            "COALESCE((SELECT MAX(first_row) FROM pages WHERE job_id = ? AND first_row <= ?), 0) "
            "ORDER BY first_row",
            [job.job_id, start + count, job.job_id, start],
        )
        rows = [one for _, body in found for one in json.loads(body)]
        skipped = start - (found[0][0] if found else start)
        return rows[skipped : skipped + count]

    # --- running -----------------------------------------------------------------------------

    def _run(self, job: Job) -> None:
        query = job.resource["configuration"]["query"]
        fault = self._faults.take("job_continues_after_client_dies", job_id=job.job_id)
        if fault is not None:
            time.sleep(float(fault.parameters.get("seconds", _OUTLIVE_SECONDS)))
        statement: Statement | None = None
        try:
            fields = tuple(
                field_from_parameter(p["name"], p["parameterType"])
                for p in query.get("queryParameters") or ()
            )
            statement = translate(query["query"], self._warehouse.project, fields)
            outcome = self._carry_out(job, statement, bound_values(statement, fields, query))
        except BigQueryError as error:
            self._finish(job, statement, error=error)
        except Exception as error:  # noqa: BLE001 - a job never stays RUNNING: the client would wait for ever
            self._finish(
                job, statement, error=BigQueryError("internalError", f"{type(error).__name__}: {error}")
            )
        else:
            self._finish(job, statement, outcome=outcome)

    def _carry_out(self, job: Job, statement: Statement, values: Mapping[str, Any]) -> Outcome:
        self._warehouse.release(self._clock.now().timestamp())
        if statement.kind == "SELECT":
            written = 0

            def keep(rows: list[dict[str, Any]]) -> None:
                nonlocal written
                self._execute("INSERT INTO pages VALUES (?, ?, ?)", [job.job_id, written, json.dumps(rows)])
                written += len(rows)

            return self._warehouse.query(statement, values, keep)
        affected = self._warehouse.affected_by(job.job_id)
        if affected is not None:
            return Outcome((), 0, affected)  # committed just before the process was killed
        assert statement.target is not None
        return self._change(job, statement, statement.target, values)

    def _change(
        self, job: Job, statement: Statement, target: tuple[str, str], values: Mapping[str, Any]
    ) -> Outcome:
        """DML, one after another; under ``snapshot_overlap`` an INSERT shares its snapshot with the next."""

        def take() -> Fault | None:
            if statement.kind != "INSERT":
                return None
            return self._faults.take("snapshot_overlap", table=".".join(target), job_id=job.job_id)

        with self._overlap.meeting(target, take) as meeting, nullcontext() if meeting else self._dml:
            return self._warehouse.change(
                statement, values, job.job_id, between=lambda: self._overlap.attend(target, meeting)
            )

    def _finish(
        self,
        job: Job,
        statement: Statement | None,
        *,
        outcome: Outcome | None = None,
        error: BigQueryError | None = None,
    ) -> None:
        query: dict[str, Any] = {"cacheHit": False}
        extra: dict[str, Any] = {}
        status: dict[str, Any] = {"state": "DONE"}
        if statement is not None:
            query["statementType"] = statement.kind
        if error is not None:
            status |= {"errorResult": error.proto(), "errors": [error.proto()]}
        if outcome is not None and outcome.affected is not None:
            assert statement is not None
            counted = {"INSERT": "insertedRowCount", "UPDATE": "updatedRowCount", "DELETE": "deletedRowCount"}
            query["numDmlAffectedRows"] = str(outcome.affected)
            query["dmlStats"] = {counted[statement.kind]: str(outcome.affected)}
        elif outcome is not None:
            extra = {"_schema": schema_to_api(outcome.schema), "_rows": outcome.rows}
        statistics = {**job.resource["statistics"], "endTime": self._milliseconds(), "query": query}
        resource = {**job.resource, **extra, "status": status, "statistics": statistics}
        self._execute(
            "UPDATE jobs SET resource = ?, done = 1 WHERE job_id = ?", [json.dumps(resource), job.job_id]
        )


def _check_options(configuration: Mapping[str, Any]) -> None:
    query: Mapping[str, Any] | None = configuration.get("query")
    if query is None or not query.get("query"):
        raise BigQueryError("notImplemented", "Only query jobs are supported here.")
    if configuration.get("dryRun"):
        raise BigQueryError("notImplemented", "Dry runs are not supported here.")
    if query.get("useLegacySql", True):
        raise BigQueryError("notImplemented", "Legacy SQL is not supported here; set useLegacySql to false.")
    if query.get("queryParameters") and str(query.get("parameterMode", "NAMED")).upper() != "NAMED":
        raise BigQueryError("notImplemented", "Only named query parameters are supported here.")
    unknown = sorted(key for key, value in query.items() if key not in _KNOWN_OPTIONS and value)
    if unknown:
        raise BigQueryError("notImplemented", f"Query options not supported here: {', '.join(unknown)}")


def bound_values(statement: Statement, fields: tuple[Field, ...], query: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the parameters in use, as the translated statement wants them."""
    given = {p["name"]: p.get("parameterValue") for p in query.get("queryParameters") or ()}
    return {
        field.name: _bound(field, parameter_value(field, given[field.name]))
        for field in fields
        if field.name in statement.parameters
    }


def _bound(field: Field, value: Any) -> Any:
    return json.dumps(value) if field.repeated or field.type == "RECORD" else value
