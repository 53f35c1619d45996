"""The REST face: paths, bodies and errors of BigQuery API v2, as far as the Python client uses them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.bigquery.errors import BigQueryError, error_body
from sandbox.bigquery.jobs import Job, Jobs
from sandbox.bigquery.store import Table, Warehouse, etag
from sandbox.bigquery.types import RowError, accept_row, schema_from_api, schema_to_api, with_float_timestamps
from sandbox.faults import Fault, FaultRegistry
from tallygate.clock import Clock, rfc3339

FAULTS: Final = frozenset(
    {
        "snapshot_overlap",
        "job_continues_after_client_dies",
        "late_visibility",
        "insert_all_partial",
        "error_500",
    }
)
DEFAULT_LOCATION: Final = "US"
MAX_PAGE: Final = 10_000
"""Rows of one answer at most; BigQuery's own limit is by bytes."""
_DEDUPLICATION_SECONDS: Final = 60.0
_LATE_SECONDS: Final = 30.0
_PROMPT_SECONDS: Final = 0.02
"""How long ``jobs.insert`` waits, so that a quick job is DONE in its first answer."""
_LONG_POLL_SECONDS: Final = 10.0

_QUERY_OPTIONS: Final = (
    "query", "useLegacySql", "parameterMode", "queryParameters", "defaultDataset", "maximumBytesBilled",
    "useQueryCache",
)  # fmt: skip
"""What ``jobs.query`` takes at its top level and ``jobs.insert`` inside ``configuration.query``."""

Answer = dict[str, Any]


class Facade:
    """Handlers of all operations."""

    def __init__(self, state: Path, clock: Clock, project: str) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.project = project
        self.clock = clock
        self.faults = FaultRegistry(FAULTS)
        self.warehouse = Warehouse(state, project)
        self.jobs = Jobs(state, self.warehouse, clock, self.faults)
        self._streaming = threading.Lock()
        self._seen: dict[tuple[str, str, str], float] = {}

    def close(self) -> None:
        """Finish the running jobs and close the files."""
        self.jobs.close()
        self.warehouse.close()

    # --- datasets ----------------------------------------------------------------------------

    def dataset_insert(self, request: Request, body: Answer) -> Answer:
        """``datasets.insert``."""
        name = str((body.get("datasetReference") or {}).get("datasetId", ""))
        now = self._milliseconds()
        self.warehouse.create_dataset(
            name,
            {
                **body,
                "kind": "bigquery#dataset",
                "id": f"{self.project}:{name}",
                "datasetReference": {"projectId": self.project, "datasetId": name},
                "location": body.get("location") or DEFAULT_LOCATION,
                "creationTime": now,
                "lastModifiedTime": now,
            },
        )
        return self._dataset(name)

    def _dataset(self, name: str) -> Answer:
        body = self.warehouse.dataset(name)
        return {**body, "etag": etag(body)}

    def dataset_get(self, request: Request, body: Answer) -> Answer:
        """``datasets.get``."""
        return self._dataset(request.path_params["dataset"])

    def dataset_list(self, request: Request, body: Answer) -> Answer:
        """``datasets.list``."""
        return {"kind": "bigquery#datasetList", **_page(request, "datasets", self.warehouse.datasets())}

    def dataset_patch(self, request: Request, body: Answer) -> Answer:
        """``datasets.patch`` and ``datasets.update``."""
        name = request.path_params["dataset"]
        old = self._dataset(name)
        _check_etag(request, old)
        kept = {key: old[key] for key in ("kind", "id", "datasetReference", "location", "creationTime")}
        old.pop("etag")
        self.warehouse.change_dataset(
            name, {**_merged(old, body), **kept, "lastModifiedTime": self._milliseconds()}
        )
        return self._dataset(name)

    def dataset_delete(self, request: Request, body: Answer) -> None:
        """``datasets.delete``."""
        contents = request.query_params.get("deleteContents", "false").lower() == "true"
        self.warehouse.delete_dataset(request.path_params["dataset"], contents=contents)

    # --- tables ------------------------------------------------------------------------------

    def table_insert(self, request: Request, body: Answer) -> Answer:
        """``tables.insert``: a table or a view."""
        dataset = request.path_params["dataset"]
        name = str((body.get("tableReference") or {}).get("tableId", ""))
        for key in (
            "externalDataConfiguration",
            "materializedView",
            "rangePartitioning",
            "snapshotDefinition",
        ):
            if body.get(key):
                raise BigQueryError("notImplemented", f"{key} is not supported here.")
        now = self._milliseconds()
        schema = schema_from_api(body.get("schema"))
        resource = {
            **body,
            "kind": "bigquery#table",
            "id": f"{self.project}:{dataset}.{name}",
            "tableReference": {"projectId": self.project, "datasetId": dataset, "tableId": name},
            "type": "VIEW" if body.get("view") else "TABLE",
            "schema": schema_to_api(schema),
            "creationTime": now,
            "lastModifiedTime": now,
        }
        return self._table(self.warehouse.create_table(dataset, name, resource))

    def _table(self, table: Table) -> Answer:
        location = self.warehouse.dataset(table.dataset)["location"]
        answer = {**table.body, "etag": etag(table.body), "location": location}
        if table.view_query is None:
            answer["numRows"] = str(self.warehouse.row_count(table))
        return answer

    def _of(self, request: Request) -> Table:
        return self.warehouse.table(request.path_params["dataset"], request.path_params["table"])

    def table_get(self, request: Request, body: Answer) -> Answer:
        """``tables.get``."""
        return self._table(self._of(request))

    def table_list(self, request: Request, body: Answer) -> Answer:
        """``tables.list``."""
        shown = (
            "kind",
            "id",
            "tableReference",
            "type",
            "creationTime",
            "timePartitioning",
            "clustering",
            "labels",
        )
        tables = [
            {key: table.body[key] for key in shown if key in table.body}
            for table in self.warehouse.tables(request.path_params["dataset"])
        ]
        return {"kind": "bigquery#tableList", "totalItems": len(tables), **_page(request, "tables", tables)}

    def table_patch(self, request: Request, body: Answer) -> Answer:
        """``tables.patch`` and ``tables.update``."""
        old = self._of(request)
        _check_etag(request, {"etag": etag(old.body)})
        kept = {key: old.body[key] for key in ("kind", "id", "tableReference", "type", "creationTime")}
        merged = {**_merged(old.body, body), **kept, "lastModifiedTime": self._milliseconds()}
        merged["schema"] = schema_to_api(schema_from_api(merged.get("schema")))
        if ("view" in merged) != ("view" in old.body):
            raise BigQueryError("invalid", "A table can't become a view, nor a view a table.")
        return self._table(self.warehouse.change_table(old.dataset, old.name, merged))

    def table_delete(self, request: Request, body: Answer) -> None:
        """``tables.delete``."""
        self.warehouse.delete_table(request.path_params["dataset"], request.path_params["table"])

    # --- rows --------------------------------------------------------------------------------

    def insert_all(self, request: Request, body: Answer) -> Answer:
        """``tabledata.insertAll``: visible at once; an ``insertId`` seen lately is not written again."""
        table = self._of(request)
        if table.view_query is not None:
            raise BigQueryError("invalid", f"Cannot add rows to a table of type VIEW: {table.name}")
        rows = body.get("rows") or []
        if not rows:
            raise BigQueryError("required", "No rows present in the request.")
        good, errors = self._accepted(table, rows, ignore_unknown=bool(body.get("ignoreUnknownValues")))
        if errors and not body.get("skipInvalidRows"):
            errors += [(number, "stopped", "", "") for number, _ in good]
            good = []
        name = f"{table.dataset}.{table.name}"
        partial = self.faults.take("insert_all_partial", table=name)
        if partial is not None:
            kept = int(len(good) * (1 - float(partial.parameters.get("share", 0.5))))
            errors += [
                (number, "backendError", "", "The row could not be written.") for number, _ in good[kept:]
            ]
            good = good[:kept]
        late = self.faults.take("late_visibility", table=name)
        with self._streaming:
            self._stream(table, [(rows[number].get("insertId"), one) for number, one in good], late)
        answer: Answer = {"kind": "bigquery#tableDataInsertAllResponse"}
        if errors:
            answer["insertErrors"] = [
                {
                    "index": number,
                    "errors": [{"reason": reason, "location": where, "debugInfo": "", "message": message}],
                }
                for number, reason, where, message in sorted(errors)
            ]
        return answer

    def _accepted(
        self, table: Table, rows: list[Any], *, ignore_unknown: bool
    ) -> tuple[list[tuple[int, Answer]], list[tuple[int, str, str, str]]]:
        schema = table.schema
        good: list[tuple[int, Answer]] = []
        errors: list[tuple[int, str, str, str]] = []
        for number, one in enumerate(rows):
            try:
                good.append((number, accept_row(schema, one.get("json"), ignore_unknown=ignore_unknown)))
            except RowError as error:
                errors.append((number, "invalid", error.location, error.message))
        return good, errors

    def _stream(self, table: Table, rows: list[tuple[str | None, Answer]], late: Fault | None) -> None:
        now = time.monotonic()
        self._seen = {key: at for key, at in self._seen.items() if now - at < _DEDUPLICATION_SECONDS}
        fresh: list[Answer] = []
        seen: dict[tuple[str, str, str], float] = {}
        for insert_id, one in rows:
            key = (table.dataset, table.name, insert_id or "")
            if insert_id and (key in self._seen or key in seen):
                continue
            seen[key] = now
            fresh.append(one)
        due = None
        if late is not None:
            due = self.clock.now().timestamp() + float(late.parameters.get("seconds", _LATE_SECONDS))
        self.warehouse.append(table, fresh, due)
        self._seen.update(seen)

    def table_data(self, request: Request, body: Answer) -> Answer:
        """``tabledata.list``."""
        self.warehouse.release(self.clock.now().timestamp())
        table = self._of(request)
        if request.query_params.get("selectedFields"):
            raise BigQueryError("notImplemented", "selectedFields is not supported here.")
        start = _whole(request.query_params, "pageToken", "startIndex")
        count = min(_whole(request.query_params, "maxResults", default=MAX_PAGE), MAX_PAGE)
        total = self.warehouse.row_count(table)
        rows = self.warehouse.listed(table, start, count)
        if not _int64_timestamps(request.query_params):
            rows = [with_float_timestamps(table.schema, one) for one in rows]
        answer: Answer = {"kind": "bigquery#tableDataList", "totalRows": str(total), "rows": rows}
        if start + len(rows) < total and rows:
            answer["pageToken"] = str(start + len(rows))
        return answer

    # --- jobs --------------------------------------------------------------------------------

    async def job_insert(self, request: Request, body: Answer) -> Answer:
        """``jobs.insert``."""
        reference = body.get("jobReference") or {}
        job_id = reference.get("jobId") or f"job_{uuid.uuid4().hex}"
        location = reference.get("location") or DEFAULT_LOCATION
        job = await run_in_threadpool(self.jobs.insert, job_id, location, body.get("configuration") or {})
        return (await self._settled(job, _PROMPT_SECONDS)).to_api()

    async def _settled(self, job: Job, seconds: float) -> Job:
        """The job when it is DONE, or after ``seconds``."""
        running = self.jobs.running(job.job_id)
        if running is not None:
            await asyncio.wait([asyncio.wrap_future(running)], timeout=seconds)
        return self.jobs.get(job.job_id)

    def job_get(self, request: Request, body: Answer) -> Answer:
        """``jobs.get``."""
        return self.jobs.get(request.path_params["job"]).to_api()

    def job_list(self, request: Request, body: Answer) -> Answer:
        """``jobs.list``, the newest first."""
        start = _whole(request.query_params, "pageToken")
        count = min(_whole(request.query_params, "maxResults", default=50), 1000)
        jobs = self.jobs.newest(start, count + 1)
        answer: Answer = {
            "kind": "bigquery#jobList",
            "jobs": [{**job.to_api(), "state": job.resource["status"]["state"]} for job in jobs[:count]],
        }
        if len(jobs) > count:
            answer["nextPageToken"] = str(start + count)
        return answer

    async def job_query(self, request: Request, body: Answer) -> Answer:
        """``jobs.query``: the same ``requestId`` is the same job."""
        configuration = {
            "query": {key: body[key] for key in _QUERY_OPTIONS if key in body},
            **{key: body[key] for key in ("dryRun", "labels") if body.get(key)},
        }
        request_id = body.get("requestId") or uuid.uuid4().hex
        job_id = f"job_{request_id}"
        location = body.get("location") or DEFAULT_LOCATION
        try:
            job = await run_in_threadpool(self.jobs.insert, job_id, location, configuration)
        except BigQueryError as error:
            if error.reason != "duplicate":
                raise
            job = self.jobs.get(job_id)
        wait = min(_whole(body, "timeoutMs", default=10_000) / 1000, _LONG_POLL_SECONDS)
        job = await self._settled(job, wait)
        formats = body.get("formatOptions") or {}
        int64 = str(formats.get("useInt64Timestamp", "false")).lower() == "true"
        answer = await run_in_threadpool(
            self._results, job, 0, _whole(body, "maxResults", default=MAX_PAGE), int64
        )
        return {"kind": "bigquery#queryResponse", **answer}

    async def query_results(self, request: Request, body: Answer) -> Answer:
        """``jobs.getQueryResults``: waits for the job, up to ``timeoutMs``."""
        query = request.query_params
        wait = min(_whole(query, "timeoutMs", default=10_000) / 1000, _LONG_POLL_SECONDS)
        job = await self._settled(self.jobs.get(request.path_params["job"]), wait)
        start = _whole(query, "pageToken", "startIndex")
        answer = await run_in_threadpool(
            self._results, job, start, _whole(query, "maxResults", default=MAX_PAGE), _int64_timestamps(query)
        )
        return {"kind": "bigquery#getQueryResultsResponse", **answer}

    def _results(self, job: Job, start: int, count: int, int64: bool) -> Answer:
        answer: Answer = {"jobReference": job.resource["jobReference"], "jobComplete": job.done}
        if not job.done:
            return answer
        if job.error is not None:
            raise BigQueryError(job.error["reason"], job.error["message"], location=job.error.get("location"))
        statistics = job.resource["statistics"]["query"]
        answer["cacheHit"] = False
        if job.rows is None:
            answer |= {key: statistics[key] for key in ("numDmlAffectedRows", "dmlStats")}
            return answer
        rows = self.jobs.rows(job, start, min(count, MAX_PAGE))
        if not int64:
            schema = job.schema
            rows = [with_float_timestamps(schema, one) for one in rows]
        answer |= {"schema": job.resource["_schema"], "totalRows": str(job.rows)}
        if rows:
            answer["rows"] = rows
        if start + len(rows) < job.rows:
            answer["pageToken"] = str(start + len(rows))
        return answer

    # --- sandbox -----------------------------------------------------------------------------

    def _milliseconds(self) -> str:
        return str(int(self.clock.now().timestamp() * 1000))

    async def health(self, request: Request) -> Response:
        """``GET /_sandbox/health``."""
        return JSONResponse({})

    async def next(self, request: Request) -> Response:
        """``GET /_sandbox/next``: when late rows are due."""
        due = self.warehouse.next_due
        return JSONResponse({"at": None if due is None else rfc3339(datetime.fromtimestamp(due, UTC))})

    async def tick(self, request: Request) -> Response:
        """``POST /_sandbox/tick``: shows the late rows that are due."""
        await run_in_threadpool(self.warehouse.release, self.clock.now().timestamp())
        return JSONResponse({})


def _whole(given: Mapping[str, Any], *names: str, default: int = 0) -> int:
    """The first of some numbers that is given.

    Raises:
        BigQueryError: ``invalid`` for anything but a whole number ≥ 0.
    """
    for name in names:
        text = str(given.get(name) if given.get(name) is not None else "")
        if text and not (text.isascii() and text.isdigit()):
            raise BigQueryError("invalid", f"Invalid value for {name}: {text}")
        if text:
            return int(text)
    return default


def _int64_timestamps(query: Mapping[str, str]) -> bool:
    return query.get("formatOptions.useInt64Timestamp", "false").lower() == "true"


def _page(request: Request, key: str, items: list[Answer]) -> Answer:
    start = _whole(request.query_params, "pageToken")
    count = _whole(request.query_params, "maxResults", default=1000)
    answer: Answer = {key: items[start : start + count]}
    if start + count < len(items):
        answer["nextPageToken"] = str(start + count)
    return answer


def _merged(old: Mapping[str, Any], change: Mapping[str, Any]) -> Answer:
    """A resource after a patch: null takes a property away."""
    merged = {**old, **change}
    return {key: value for key, value in merged.items() if value is not None and key != "etag"}


def _check_etag(request: Request, body: Mapping[str, Any]) -> None:
    wanted = request.headers.get("if-match")
    if wanted is not None and wanted != body["etag"]:
        raise BigQueryError("conditionNotMet", "Precondition Failed")


Handler = Callable[[Request, Answer], Answer | Awaitable[Answer] | None]


def create_app(state: Path, clock: Clock, project: str) -> Starlette:
    """The façade as an ASGI application."""
    facade = Facade(state, clock, project)
    base = "/bigquery/v2/projects/{project}"
    dataset, table = f"{base}/datasets/{{dataset}}", f"{base}/datasets/{{dataset}}/tables/{{table}}"
    operations: list[tuple[str, str, str, Handler]] = [
        ("GET", f"{base}/datasets", "datasets.list", facade.dataset_list),
        ("POST", f"{base}/datasets", "datasets.insert", facade.dataset_insert),
        ("GET", dataset, "datasets.get", facade.dataset_get),
        ("PATCH", dataset, "datasets.patch", facade.dataset_patch),
        ("PUT", dataset, "datasets.patch", facade.dataset_patch),
        ("DELETE", dataset, "datasets.delete", facade.dataset_delete),
        ("GET", f"{dataset}/tables", "tables.list", facade.table_list),
        ("POST", f"{dataset}/tables", "tables.insert", facade.table_insert),
        ("GET", table, "tables.get", facade.table_get),
        ("PATCH", table, "tables.patch", facade.table_patch),
        ("PUT", table, "tables.patch", facade.table_patch),
        ("DELETE", table, "tables.delete", facade.table_delete),
        ("POST", f"{table}/insertAll", "tabledata.insertAll", facade.insert_all),
        ("GET", f"{table}/data", "tabledata.list", facade.table_data),
        ("GET", f"{base}/jobs", "jobs.list", facade.job_list),
        ("POST", f"{base}/jobs", "jobs.insert", facade.job_insert),
        ("GET", f"{base}/jobs/{{job}}", "jobs.get", facade.job_get),
        ("POST", f"{base}/queries", "jobs.query", facade.job_query),
        ("GET", f"{base}/queries/{{job}}", "jobs.getQueryResults", facade.query_results),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> Any:
        yield
        await run_in_threadpool(facade.close)

    return Starlette(
        routes=[
            *(
                Route(path, _endpoint(facade, name, handler), methods=[verb])
                for verb, path, name, handler in operations
            ),
            *facade.faults.routes(),
            Route("/_sandbox/health", facade.health),
            Route("/_sandbox/next", facade.next),
            Route("/_sandbox/tick", facade.tick, methods=["POST"]),
            Route("/{path:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
        lifespan=lifespan,
    )


def _endpoint(facade: Facade, operation: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        fault = facade.faults.take("error_500", operation=operation)
        if fault is not None and not fault.parameters.get("after"):
            return _backend_error()
        answer = await _answer(facade, handler, request)
        if fault is not None:
            return _backend_error()
        return answer

    return endpoint


def _backend_error() -> Response:
    proto = {"reason": "backendError", "message": "Injected by the sandbox: error_500"}
    return JSONResponse(error_body(500, proto), status_code=500)


async def _answer(facade: Facade, handler: Handler, request: Request) -> Response:
    try:
        if request.path_params["project"] != facade.project:
            raise BigQueryError("notFound", f"Not found: Project {request.path_params['project']}")
        body = json.loads(await request.body() or b"{}")
        if asyncio.iscoroutinefunction(handler):
            result = await handler(request, body)
        else:
            result = await run_in_threadpool(handler, request, body)
    except BigQueryError as error:
        return JSONResponse(error.body(), status_code=error.status)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        proto = {"reason": "invalid", "message": f"Invalid request: {type(error).__name__}: {error}"}
        return JSONResponse(error_body(400, proto), status_code=400)
    return Response(status_code=204) if result is None else JSONResponse(result)


async def _unknown(request: Request) -> Response:
    proto = {"reason": "notFound", "message": f"Not found: {request.method} {request.url.path}"}
    return JSONResponse(error_body(404, proto), status_code=404)
