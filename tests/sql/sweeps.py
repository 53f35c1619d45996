"""What the scheduled runs read of the warehouse, and what that costs: ``python -m tests.sql.sweeps``.

Each run of the reporter and of the reconciler is carried out on a small warehouse of recorded lines. Every
statement that it submits is planned by DuckDB, which says which columns and which partitions of a table it
reads. That is what BigQuery's on-demand price counts; the rows are then scaled up.

A column that a statement reads several times is counted once, with the longest stretch of partitions. That
BigQuery's planner finds as much as DuckDB's is assumed: docs/gotchas.md.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import duckdb
import sqlglot
from croniter import croniter
from sqlglot import exp
from sqlglot.errors import SqlglotError

from delivery.costs import PRICES
from sandbox.bigquery.jobs import bound_values
from sandbox.bigquery.store import Warehouse as Store
from sandbox.bigquery.translate import translate
from sandbox.bigquery.types import field_from_parameter
from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID, REPOSITORY
from sandbox.router.entries import Origin, entry_of_output
from sandbox.router.rows import row_values
from sandbox.warehouse import table_schema, table_settings
from tallygate.clock import rfc3339
from tallygate.metering.window import OLDEST_RANGE
from tallygate.reconciliation.reconcile import reconcile
from tests.sql.cases import COST, INPUT, OUTPUT, item, segment
from tests.support.stage import Stage, hosts, stage

TENANTS: Final = 1000
METERS: Final = 3
RUNS_AN_HOUR: Final = 12
"""Of the reporter: as many rows can be sealed for a tenant's hour and meter."""
NOTES: Final = 3
"""On the delivery of a row: sending, sent, confirmed."""
LEAST: Final = 10 * 2**20
"""Bytes that BigQuery bills for each table that a query names."""
VOLUMES: Final = (10_000_000, 864_000_000)
"""Requests a day: the second is 10,000 a second."""
_TIB: Final = 2**40
_DAY: Final = timedelta(days=1)
_BEGIN: Final = datetime(2026, 3, 10, 12, tzinfo=UTC)
_RECORDED: Final = REPOSITORY / "tests/data/usage_events/v1.jsonl"
_SCHEDULE: Final = REPOSITORY / "modules/scheduler/jobs.json"
_STDOUT: Final = f"{DATASET_RAW}.run_googleapis_com_stdout"
_REQUESTS: Final = f"{DATASET_RAW}.run_googleapis_com_requests"
_REPORTER: Final = "usage_reporter"
_FUNCTIONS: Final = (_REPORTER, "usage_reconciler")
_DAILY: Final = "usage-reconciler-daily"
_WEEKLY: Final = f"{_DAILY}, once a week"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Partitions, by how long ago they were."""

    since: timedelta
    until: timedelta

    def with_(self, other: Stretch) -> Stretch:
        """Both, and what is between them."""
        return Stretch(max(self.since, other.since), min(self.until, other.until))

    def days(self, at: datetime) -> float:
        """How many days of rows a run at a moment reads: whole partitions, of today what is there."""
        first, end = _midnight(at - self.since), min(at, _midnight(at - self.until) + _DAY)
        return max(0.0, (end - first) / _DAY)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a statement reads."""

    width: float
    """Bytes in an average row."""
    stretch: Stretch


@dataclass(frozen=True, slots=True)
class Reading:
    """What one statement reads of one table."""

    table: str
    """``dataset.name``."""
    columns: Mapping[str, Column]

    def size(self, requests: int, at: datetime) -> float:
        """Bytes, for a run at a moment of a day of so many requests."""
        return sum(one.width * _rows(self.table, one.stretch, requests, at) for one in self.columns.values())


@dataclass(frozen=True, slots=True)
class Job:
    """A scheduled job, and its statements: each as what it reads."""

    name: str
    cron: str
    statements: tuple[tuple[Reading, ...], ...]
    every: int = 1
    """It reads this only every so many days."""

    def times(self) -> list[datetime]:
        """When it runs on some day."""
        midnight = datetime(2026, 3, 11, tzinfo=UTC)
        ticks = croniter(self.cron, midnight - timedelta(microseconds=1)).all_next(datetime)
        return list(takewhile(lambda at: at < midnight + _DAY, ticks))

    def bytes_a_day(self, requests: int) -> float:
        """What is billed for it on a day of so many requests."""
        total = 0.0
        for at in self.times():
            for statement in self.statements:
                for reading in statement:
                    total += max(reading.size(requests, at), LEAST)
        return total / self.every

    def least_a_day(self) -> float:
        """What is billed for it where the tables are small."""
        return len(self.times()) * sum(map(len, self.statements)) * LEAST / self.every


def rows_a_day(requests: int) -> dict[str, float]:
    """How many rows a day adds to the tables that grow; one line in a hundred comes twice."""
    deltas = TENANTS * METERS * 24 * RUNS_AN_HOUR
    return {
        _STDOUT: 2.02 * requests,
        _REQUESTS: requests,
        f"{DATASET_LEDGER}.meter_deltas": deltas,
        f"{DATASET_LEDGER}.meter_deliveries": NOTES * deltas,
        f"{DATASET_LEDGER}.reconciliations": TENANTS * METERS * 24,
    }


def _rows(table: str, stretch: Stretch, requests: int, at: datetime) -> float:
    """Rows that a run at a moment reads; a table that does not grow has two a tenant."""
    a_day = rows_a_day(requests).get(table)
    return 2 * TENANTS if a_day is None else a_day * stretch.days(at)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


# --- what the runs read ----------------------------------------------------------------------


def jobs() -> list[Job]:
    """The scheduled jobs of the reporter and the reconciler, each carried out once."""
    schedule = json.loads(_SCHEDULE.read_text())
    with tempfile.TemporaryDirectory() as folder, hosts() as on:
        submitted: dict[str, list[tuple[datetime, Mapping[str, Any]]]] = {}
        with stage(Path(folder), on.bigquery, on.stripe, _BEGIN - timedelta(hours=3)) as here:
            _subscribe(here)
            names = [name for name, job in schedule.items() if job["function"] in _FUNCTIONS]
            for name in names:
                submitted[name] = _submitted(here, schedule[name])
            here.advance(seconds=8 * _DAY.total_seconds())
            submitted[_WEEKLY] = _submitted(here, schedule[_DAILY], runs=1)
        store = Store(Path(folder) / "bigquery", PROJECT_ID)
        try:
            found = {
                name: [_readings(store, query, moment) for moment, query in given]
                for name, given in submitted.items()
            }
        finally:
            store.close()
    weekly = [statement for statement in found.pop(_WEEKLY) if _reaches_far(statement)]
    jobs_ = [Job(name, schedule[name]["cron"], tuple(found[name])) for name in names]
    return [*jobs_, Job(_WEEKLY, schedule[_DAILY]["cron"], tuple(weekly), every=7)]


def _reaches_far(statement: Iterable[Reading]) -> bool:
    """Whether it reads lines of more than a hundred days ago."""
    return any(
        one.stretch.since > 100 * _DAY
        for reading in statement
        for one in reading.columns.values()
        if reading.table == _STDOUT
    )


def _submitted(
    here: Stage, job: Mapping[str, Any], runs: int = 2
) -> list[tuple[datetime, Mapping[str, Any]]]:
    """The queries of the last of some runs, half an hour apart, and when it was."""
    depth = job["body"]["depth"]
    for _ in range(runs):
        here.advance(seconds=1800)
        _write_lines(here)
        known = {one.job_id for one in here.client.list_jobs()}
        run = (
            here.report(depth=depth) if job["function"] == _REPORTER else reconcile(here.reconciler(), depth)
        )
        assert run.error is None, run.error
    new = [one for one in here.client.list_jobs() if one.job_id not in known]
    return [(here.now, one._properties["configuration"]["query"]) for one in new]


def _subscribe(here: Stage) -> None:
    """The recorded lines' tenant, with a price for three meters."""
    customer = here.customer("corvus")
    begin = rfc3339(here.now - _DAY)
    here.insert(
        f"{DATASET_LEDGER}.billing_segments",
        segment(
            tenant_id="corvus",
            stripe_customer=customer,
            items=[item(meter) for meter in (INPUT, OUTPUT, COST)],
            period_start=begin,
            valid_from=begin,
        ),
    )


def _write_lines(here: Stage) -> None:
    """Recorded lines as they are delivered, of requests of this moment."""
    columns = {column["name"] for column in table_schema("run_googleapis_com_stdout")}
    origin = Origin(PROJECT_ID, "stdout", "instance-1")
    rows, moment = [], rfc3339(here.now - timedelta(minutes=2))
    stamp = f"{int(here.now.timestamp()):032x}"
    for number, text in enumerate(_RECORDED.read_text().splitlines()):
        line = json.loads(text)
        line |= {"time": moment, "timestamp": moment, "tenant_id": "corvus"}
        old = line["request_id"]
        new = f"{stamp[8:]}{old[:8]}"
        text = json.dumps(line).replace(old, new)
        entry = entry_of_output(text.encode(), origin, f"minted-{number}", here.now)
        rows.append({name: value for name, value in row_values(entry).items() if name in columns})
    for table, lines in ((_STDOUT, rows), (_REQUESTS, [_request(row) for row in rows if "trace" in row])):
        whole = here.client.get_table(f"{PROJECT_ID}.{table}")
        none = [None] * len(lines)
        errors = here.client.insert_rows_json(whole, lines, row_ids=none, ignore_unknown_values=True)
        assert errors == [], errors


def _request(row: Mapping[str, Any]) -> dict[str, Any]:
    """The platform's entry of a line's request."""
    request = {
        "requestMethod": "POST",
        "requestUrl": "https://gateway.example.com/v1/chat/completions",
        "status": 200,
    }
    entry = {name: row[name] for name in ("timestamp", "receiveTimestamp", "insertId", "trace")}
    return entry | {
        "logName": f"projects/{PROJECT_ID}/logs/run.googleapis.com%2Frequests",
        "httpRequest": request,
    }


def _readings(store: Store, query: Mapping[str, Any], now: datetime) -> tuple[Reading, ...]:
    """What a statement reads, by table."""
    given = query.get("queryParameters") or ()
    fields = tuple(field_from_parameter(one["name"], one["parameterType"]) for one in given)
    statement = translate(query["query"], PROJECT_ID, fields)
    plan = store.plan(statement, bound_values(statement, fields, query))
    read: dict[str, dict[str, Stretch]] = defaultdict(dict)
    for table, columns, filters in _scans(plan):
        if table.startswith("_tallygate_"):
            continue
        stretch = _stretch(table, filters, now)
        for column in _fields(columns, statement.sql):
            read[table][column] = stretch.with_(read[table].get(column, stretch))
    return tuple(
        Reading(
            table,
            {
                name: Column(_width(store.connection, table, name), one)
                for name, one in sorted(stretches.items())
            },
        )
        for table, stretches in sorted(read.items())
    )


def _fields(columns: set[str], sql: str) -> Iterator[str]:
    """The columns; of a record that DuckDB takes whole only the fields that the statement names."""
    for column in columns:
        named = set(re.findall(rf'"{column}"\."(\w+)"', sql))
        yield from (f"{column}.{one}" for one in named) if named else (column,)


def _scans(nodes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, set[str], list[str]]]:
    """Table, columns and filters of each scan of a plan."""
    for node in nodes:
        extra = node.get("extra_info") or {}
        if node["name"].strip() == "SEQ_SCAN":
            filters = _listed(extra.get("Filters"))
            read = {column for column in _listed(extra.get("Projections")) if column}
            for one in filters:
                read |= _columns(one)
            yield str(extra["Table"]).split(".", 1)[1], read, filters
        yield from _scans(node.get("children") or ())


def _listed(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value]) if one]


def _parsed(filter_: str) -> exp.Expr | None:
    """A filter of the plan; None for what DuckDB derives while it runs."""
    try:
        return sqlglot.parse_one(filter_.removeprefix("optional:"), read="duckdb")
    except SqlglotError:
        return None


def _columns(filter_: str) -> set[str]:
    tree = _parsed(filter_)
    return {column.sql().replace('"', "") for column in tree.find_all(exp.Column)} if tree else set()


def _stretch(table: str, filters: Sequence[str], now: datetime) -> Stretch:
    """What the filters on the partition column leave."""
    dataset, name = table.split(".")
    column = table_settings()[dataset][name]["partition_field"]
    bounds: dict[bool, list[datetime]] = {True: [now - OLDEST_RANGE], False: [now]}
    for text in filters:
        tree = None if text.startswith("optional:") else _parsed(text)
        for test in tree.find_all(exp.GTE, exp.GT, exp.LT, exp.LTE) if tree else ():
            literal = test.expression.find(exp.Literal)
            if test.this.name == column and literal is not None:
                moment = datetime.fromisoformat(literal.this).astimezone(UTC)
                bounds[isinstance(test, (exp.GTE, exp.GT))].append(moment)
    return Stretch(now - max(bounds[True]), now - min(bounds[False]))


def _width(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> float:
    """Bytes in an average row: a text's 2 and its UTF-8, a number's or a time's 8, none of a NULL."""
    path = ".".join(f'"{part}"' for part in column.split("."))
    kind, size = f"TYPEOF({path})", f"STRLEN(CAST({path} AS VARCHAR))"
    found = connection.execute(
        f"SELECT AVG(CASE WHEN {path} IS NULL THEN 0 WHEN {kind} = 'VARCHAR' THEN 2 + {size} "  # noqa: S608 - names of the plan
        f"WHEN {kind} = 'BOOLEAN' THEN 1 WHEN {kind} LIKE 'STRUCT%' THEN {size} ELSE 8 END) FROM {table}"
    ).fetchone()
    return float((found and found[0]) or 0)


# --- the page --------------------------------------------------------------------------------


def page(found: Sequence[Job]) -> str:
    """The table of docs/costs.md."""
    head = ["run", "times a day"]
    for volume in VOLUMES:
        head += [f"TiB at {volume // 10**6} million requests", "USD"]
    rows = [[job.name, "" if job.every > 1 else str(len(job.times())), *_cells([job])] for job in found]
    rows.append(["**all**", "", *(f"**{cell}**" for cell in _cells(found))])
    least = sum(job.least_a_day() for job in found)
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    said = f"The least of 10 MB for each table of a query alone: {_tib(least)} TiB, {usd(least)} USD a day."
    return "\n".join([*lines, "", said])


def _cells(found: Sequence[Job]) -> list[str]:
    cells = []
    for volume in VOLUMES:
        size = sum(job.bytes_a_day(volume) for job in found)
        cells += [_tib(size), usd(size)]
    return cells


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tib(size: float) -> str:
    return f"{size / _TIB:.2f}"


def usd(size: float) -> str:
    """What reading so many bytes costs."""
    price = Decimal(PRICES["bigquery_read_tib"])
    return str((price * Decimal(size) / _TIB).quantize(Decimal("0.01")))


if __name__ == "__main__":
    print(page(jobs()))
