"""The warehouse itself: datasets, tables and views in one DuckDB file, with BigQuery's metadata beside them.

Everything that changes is one DuckDB transaction, so that a kill at any moment leaves the whole or nothing.
"""

# ruff: noqa: S608 - identifiers are quoted and come from checked names; values are parameters

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from sandbox.bigquery.errors import BigQueryError, invalid_query
from sandbox.bigquery.plans import prunes, scans
from sandbox.bigquery.translate import Statement, translate
from sandbox.bigquery.types import (
    Field,
    decoded,
    field_from_duck,
    json_structure,
    output_type,
    quoted,
    row,
    schema_from_api,
    schema_to_api,
)

MEMORY_LIMIT: Final = "400MB"
THREADS: Final = 2
_APPEND_TRIES: Final = 20
PAGE_ROWS: Final = 1000
"""Rows of a result that are handed on at a time."""
_FILE: Final = "_tallygate_warehouse_.duckdb"
"""DuckDB names the database by its file; no dataset may have that name."""
_SYSTEM: Final = "_tallygate_"
_MOST_DESCRIBED: Final = 512
"""Statements whose schema is kept in mind."""
_TABLE_NAME: Final = re.compile(r"^[\w \-]{1,1024}$")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement gave."""

    schema: tuple[Field, ...]
    rows: int
    affected: int | None
    """Rows changed, for DML."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table or a view."""

    dataset: str
    name: str
    body: Mapping[str, Any]
    """Its REST resource, without what is computed when it is read."""

    @property
    def schema(self) -> tuple[Field, ...]:
        """Its columns."""
        return schema_from_api(self.body.get("schema"))

    @property
    def view_query(self) -> str | None:
        """The GoogleSQL of a view."""
        view = self.body.get("view")
        return None if view is None else str(view["query"])

    @property
    def path(self) -> str:
        """Its name in DuckDB."""
        return f"{quoted(self.dataset)}.{quoted(self.name)}"


class Warehouse:
    """The data and its metadata. Thread-safe: each thread works on a connection of its own."""

    def __init__(self, directory: Path, project: str) -> None:
        self.project = project
        self._local = threading.local()
        self._lock = threading.RLock()
        self._shape = 0
        """Counts the changes of tables and views."""
        self._described: dict[str, tuple[int, tuple[Field, ...]]] = {}
        self._root = duckdb.connect(
            str(directory / _FILE),
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": THREADS,
                "python_enable_replacements": "false",
                "temp_directory": str(directory / "spill"),
                "preserve_insertion_order": "true",
            },
        )
        self._root.execute("SET GLOBAL TimeZone = 'UTC'")
        self._root.execute(f"CREATE SCHEMA IF NOT EXISTS {_SYSTEM}")
        self._root.execute(f"CREATE TABLE IF NOT EXISTS {_SYSTEM}.datasets (id VARCHAR, body VARCHAR)")
        self._root.execute(
            f"CREATE TABLE IF NOT EXISTS {_SYSTEM}.tables (dataset VARCHAR, name VARCHAR, body VARCHAR)"
        )
        self._root.execute(
            f"CREATE TABLE IF NOT EXISTS {_SYSTEM}.statements (job_id VARCHAR, affected BIGINT)"
        )
        self._root.execute(
            f"CREATE TABLE IF NOT EXISTS {_SYSTEM}.late "
            "(dataset VARCHAR, name VARCHAR, rows VARCHAR, due DOUBLE)"
        )
        self._read_next_due()
        datasets = self._root.execute(f"SELECT id, body FROM {_SYSTEM}.datasets").fetchall()
        tables = self._root.execute(f"SELECT dataset, name, body FROM {_SYSTEM}.tables").fetchall()
        self._datasets: dict[str, dict[str, Any]] = {id_: json.loads(body) for id_, body in datasets}
        self._tables: dict[Key, Table] = {(d, n): Table(d, n, json.loads(body)) for d, n, body in tables}

    def close(self) -> None:
        """Write everything into the file and let it go."""
        self._root.close()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """This thread's connection."""
        connection: duckdb.DuckDBPyConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._root.cursor()
        return connection

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction on this thread's connection: committed at the end, rolled back on an error."""
        connection = self.connection
        connection.execute("BEGIN")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            try:
                connection.execute("ROLLBACK")
            except duckdb.Error:
                self._local.connection = None  # DuckDB has ended the transaction itself; start afresh
            raise

    # --- datasets ----------------------------------------------------------------------------

    def datasets(self) -> list[dict[str, Any]]:
        """All datasets, by id."""
        return [self._datasets[id_] for id_ in sorted(self._datasets)]

    def dataset(self, dataset: str) -> dict[str, Any]:
        """One dataset's resource.

        Raises:
            BigQueryError: ``notFound``.
        """
        if dataset not in self._datasets:
            raise BigQueryError("notFound", f"Not found: Dataset {self.project}:{dataset}")
        return self._datasets[dataset]

    def create_dataset(self, dataset: str, body: dict[str, Any]) -> None:
        """Make a dataset.

        Raises:
            BigQueryError: ``duplicate``; ``invalid`` for a bad id.
        """
        if not dataset.replace("_", "a").isalnum() or dataset.lower() in ("main", "temp", "system", _SYSTEM):
            raise BigQueryError("invalid", f'Invalid dataset ID "{dataset}".')
        with self._lock:
            if dataset in self._datasets:
                raise BigQueryError("duplicate", f"Already Exists: Dataset {self.project}:{dataset}")
            with self.transaction() as connection:
                connection.execute(f"CREATE SCHEMA {quoted(dataset)}")
                connection.execute(
                    f"INSERT INTO {_SYSTEM}.datasets VALUES (?, ?)",
                    [dataset, json.dumps(body)],
                )
            self._datasets[dataset] = body

    def change_dataset(self, dataset: str, body: dict[str, Any]) -> None:
        """Replace a dataset's resource."""
        with self._lock:
            self.dataset(dataset)
            with self.transaction() as connection:
                connection.execute(
                    f"UPDATE {_SYSTEM}.datasets SET body = ? WHERE id = ?",
                    [json.dumps(body), dataset],
                )
            self._datasets[dataset] = body

    def delete_dataset(self, dataset: str, *, contents: bool) -> None:
        """Delete a dataset.

        Raises:
            BigQueryError: ``resourceInUse`` if it holds tables and ``contents`` is false.
        """
        with self._lock:
            self.dataset(dataset)
            inside = [table for table in self._tables.values() if table.dataset == dataset]
            if inside and not contents:
                message = f"Dataset {self.project}:{dataset} is still in use"
                raise BigQueryError("resourceInUse", message)
            with self.transaction() as connection:
                connection.execute(f"DROP SCHEMA {quoted(dataset)} CASCADE")
                connection.execute(f"DELETE FROM {_SYSTEM}.tables WHERE dataset = ?", [dataset])
                connection.execute(f"DELETE FROM {_SYSTEM}.late WHERE dataset = ?", [dataset])
                connection.execute(f"DELETE FROM {_SYSTEM}.datasets WHERE id = ?", [dataset])
            for table in inside:
                del self._tables[table.dataset, table.name]
            del self._datasets[dataset]
            self._shape += 1
        self._read_next_due()

    # --- tables and views --------------------------------------------------------------------

    def tables(self, dataset: str) -> list[Table]:
        """A dataset's tables and views, by name."""
        self.dataset(dataset)
        return [self._tables[key] for key in sorted(self._tables) if key[0] == dataset]

    def table(self, dataset: str, name: str) -> Table:
        """One table or view.

        Raises:
            BigQueryError: ``notFound``.
        """
        self.dataset(dataset)
        table = self._tables.get((dataset, name))
        if table is None:
            raise BigQueryError("notFound", f"Not found: Table {self.project}:{dataset}.{name}")
        return table

    def create_table(self, dataset: str, name: str, body: dict[str, Any]) -> Table:
        """Make a table or a view from its REST resource.

        Raises:
            BigQueryError: ``duplicate``; ``notFound`` (the dataset); ``invalid`` (its name or schema);
                ``invalidQuery`` (a view's statement).
        """
        if not _TABLE_NAME.match(name):
            raise BigQueryError("invalid", f'Invalid table ID "{name}".')
        with self._lock:
            self.dataset(dataset)
            if (dataset, name) in self._tables:
                raise BigQueryError("duplicate", f"Already Exists: Table {self.project}:{dataset}.{name}")
            table = Table(dataset, name, body)
            _check_partitioning(table)
            with self.transaction() as connection:
                table = self._define(connection, table)
                connection.execute(
                    f"INSERT INTO {_SYSTEM}.tables VALUES (?, ?, ?)",
                    [dataset, name, json.dumps(table.body)],
                )
            self._tables[dataset, name] = table
            self._shape += 1
        return table

    def _define(self, connection: duckdb.DuckDBPyConnection, table: Table) -> Table:
        """Make it in DuckDB; a view gets its schema."""
        if table.view_query is None:
            columns = ", ".join(_column(field) for field in table.schema)
            if not columns:
                raise BigQueryError("invalid", f"Table {table.name} needs a schema.")
            _run(connection, f"CREATE TABLE {table.path} ({columns})", {})
            return table
        if table.body["view"].get("useLegacySql"):
            raise BigQueryError("notImplemented", "Views in legacy SQL are not supported here.")
        statement = translate(table.view_query, self.project)
        if statement.kind != "SELECT":
            raise invalid_query("A view must be a query.")
        self.check_tables(statement)
        schema = self._describe(connection, statement.sql, {})
        columns = ", ".join(
            f"CAST({quoted(f.name)} AS {f.duck_type}) AS {quoted(f.name)}"
            if f.type in ("INTEGER", "NUMERIC") and not f.repeated
            else quoted(f.name)
            for f in schema
        )
        _run(
            connection,
            f"CREATE OR REPLACE VIEW {table.path} AS SELECT {columns} FROM ({statement.sql})",
            {},
        )
        described = {field.name: field.description for field in table.schema}
        schema = tuple(Field(f.name, f.type, f.mode, f.fields, described.get(f.name)) for f in schema)
        return Table(table.dataset, table.name, {**table.body, "schema": schema_to_api(schema)})

    def change_table(self, dataset: str, name: str, body: dict[str, Any]) -> Table:
        """Replace a table's resource: columns may be added, a view's statement changed.

        Raises:
            BigQueryError: ``invalid`` if a column would vanish or change its type.
        """
        with self._lock:
            old, new = self.table(dataset, name), Table(dataset, name, body)
            _check_partitioning(new)
            with self.transaction() as connection:
                if new.view_query is not None:
                    new = self._define(connection, new)
                else:
                    for change in _additions(old.path, old.schema, new.schema, name, ()):
                        _run(connection, change, {})
                self._store(connection, new)
                self._tables[dataset, name] = new
                try:
                    views = self._redefine_views(connection, {(dataset, name)})
                except BaseException:
                    self._tables[dataset, name] = old
                    raise
            self._tables.update({(view.dataset, view.name): view for view in views})
            self._shape += 1
            return self._tables[dataset, name]

    def _store(self, connection: duckdb.DuckDBPyConnection, table: Table) -> None:
        connection.execute(
            f"UPDATE {_SYSTEM}.tables SET body = ? WHERE dataset = ? AND name = ?",
            [json.dumps(table.body), table.dataset, table.name],
        )

    def _redefine_views(self, connection: duckdb.DuckDBPyConnection, changed: set[Key]) -> list[Table]:
        """DuckDB checks a view against the columns it had; BigQuery reads its statement anew."""
        redefined: list[Table] = []
        pending = {key: table for key, table in self._tables.items() if table.view_query is not None}
        while True:
            due = [
                key
                for key, view in pending.items()
                if translate(str(view.view_query), self.project).tables & changed and key not in changed
            ]
            if not due:
                return redefined
            for key in due:
                view = self._define(connection, pending.pop(key))
                self._store(connection, view)
                redefined.append(view)
                changed.add(key)

    def delete_table(self, dataset: str, name: str) -> None:
        """Delete a table or a view; views that read it stay, and fail when they are read."""
        with self._lock:
            table = self.table(dataset, name)
            kind = "TABLE" if table.view_query is None else "VIEW"
            with self.transaction() as connection:
                connection.execute(f"DROP {kind} {table.path}")
                for about in ("tables", "late"):
                    connection.execute(
                        f"DELETE FROM {_SYSTEM}.{about} WHERE dataset = ? AND name = ?",
                        [dataset, name],
                    )
            del self._tables[dataset, name]
            self._shape += 1
        self._read_next_due()

    def row_count(self, table: Table) -> int:
        """Rows of a table."""
        found = self.connection.execute(f"SELECT COUNT(*) FROM {table.path}").fetchone()
        assert found is not None
        return int(found[0])

    # --- statements --------------------------------------------------------------------------

    def check_tables(self, statement: Statement) -> None:
        """That the tables of a statement exist and that its target may be written.

        Raises:
            BigQueryError: ``notFound``, or ``invalidQuery`` for DML on a view.
        """
        for dataset, name in sorted(statement.tables):
            self.table(dataset, name)
        if statement.target is not None and self.table(*statement.target).view_query is not None:
            raise invalid_query(f"Views cannot be changed: {'.'.join(statement.target)}")

    def _describe(
        self, connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any]
    ) -> tuple[Field, ...]:
        # As a subquery, DuckDB would rename columns of the same name; DESCRIBE shows them as they are.
        names = [str(found[0]).lower() for found in _run(connection, f"DESCRIBE {sql}", values).fetchall()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise invalid_query(
                f"Duplicate column names in the result are not supported. Found duplicate(s): {twice}"
            )
        described = _run(connection, f"SELECT * FROM ({sql}) LIMIT 0", values).description
        return tuple(field_from_duck(column[0], column[1]) for column in described or ())

    def _schema(
        self, connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any], shape: int
    ) -> tuple[Field, ...]:
        """The schema of a statement's rows; the same as last time, while no table or view has changed.

        A translated statement casts its parameters to their types: their values change nothing.
        """
        known = self._described.get(sql)
        if known is not None and known[0] == shape:
            return known[1]
        schema = self._describe(connection, sql, values)
        if len(self._described) >= _MOST_DESCRIBED:
            self._described.clear()
        self._described[sql] = shape, schema
        return schema

    def query(
        self, statement: Statement, values: Mapping[str, Any], page: Callable[[list[dict[str, Any]]], None]
    ) -> Outcome:
        """Run a SELECT; ``page`` takes its rows, in wire form, some at a time."""
        self.check_tables(statement)
        self._check_partition_filters(statement, values)
        shape = self._shape
        with self.transaction() as connection:
            schema = self._schema(connection, statement.sql, values, shape)
            columns = ", ".join(f"CAST({quoted(f.name)} AS {output_type(f)})" for f in schema)
            found = _run(connection, f"SELECT {columns} FROM ({statement.sql})", values)
            rows = 0
            while chunk := _fetch(found):
                page([row(schema, values_) for values_ in chunk])
                rows += len(chunk)
        return Outcome(schema, rows, None)

    def change(
        self,
        statement: Statement,
        values: Mapping[str, Any],
        job_id: str,
        *,
        between: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run DML as one transaction that also notes the job's id, so that it happens once.

        ``between`` is called when the snapshot has been taken and nothing has been read or written yet.
        """
        self.check_tables(statement)
        self._check_partition_filters(statement, values)
        with self.transaction() as connection:
            connection.execute(f"SELECT 1 FROM {_SYSTEM}.statements LIMIT 0").fetchall()
            if between is not None:
                between()
            found = _fetch(_run(connection, statement.sql, values))
            affected = int(found[0][0])
            connection.execute(
                f"INSERT INTO {_SYSTEM}.statements VALUES (?, ?)",
                [job_id, affected],
            )
        return Outcome((), 0, affected)

    def affected_by(self, job_id: str) -> int | None:
        """Rows that a job's statement has changed, if it was committed."""
        found = self.connection.execute(
            f"SELECT affected FROM {_SYSTEM}.statements WHERE job_id = ?",
            [job_id],
        ).fetchone()
        return None if found is None else int(found[0])

    def append(self, table: Table, rows: Sequence[Mapping[str, Any]], due: float | None = None) -> None:
        """Append accepted rows (see ``types.accept_row``) in one transaction.

        With ``due`` (seconds since the epoch) they are durable at once and visible from then on.
        """
        if not rows:
            return
        for tries_left in reversed(range(_APPEND_TRIES)):
            try:
                self._append_once(table, rows, due)
                break
            except (BigQueryError, duckdb.TransactionException) as error:
                # DuckDB refuses an insert beside a change of the table; BigQuery takes both
                if not tries_left or not _is_conflict(error):
                    raise
        self._read_next_due()

    def _append_once(self, table: Table, rows: Sequence[Mapping[str, Any]], due: float | None) -> None:
        with self.transaction() as connection:
            if due is None:
                self._append(connection, table, json.dumps(list(rows)))
            else:
                connection.execute(
                    f"INSERT INTO {_SYSTEM}.late VALUES (?, ?, ?, ?)",
                    [table.dataset, table.name, json.dumps(list(rows)), due],
                )

    def release(self, now: float) -> None:
        """Show the late rows that are due."""
        if self.next_due is None or self.next_due > now:
            return
        with self._lock, self.transaction() as connection:
            late = connection.execute(
                f"SELECT dataset, name, rows FROM {_SYSTEM}.late WHERE due <= ? ORDER BY due",
                [now],
            ).fetchall()
            for dataset, name, rows in late:
                self._append(connection, self.table(dataset, name), rows)
            connection.execute(f"DELETE FROM {_SYSTEM}.late WHERE due <= ?", [now])
        self._read_next_due()

    def _read_next_due(self) -> None:
        found = self.connection.execute(f"SELECT MIN(due) FROM {_SYSTEM}.late").fetchone()
        self.next_due: float | None = None if found is None else found[0]

    def _append(self, connection: duckdb.DuckDBPyConnection, table: Table, rows: str) -> None:
        structure = json.dumps([{field.name: json_structure(field) for field in table.schema}])
        columns = ", ".join(quoted(field.name) for field in table.schema)
        picked = ", ".join(decoded(field, f"r.{quoted(field.name)}") for field in table.schema)
        _run(
            connection,
            f"INSERT INTO {table.path} ({columns}) "
            f"SELECT {picked} FROM (SELECT UNNEST(FROM_JSON($rows, '{structure}')) AS r)",
            {"rows": rows},
        )

    def listed(self, table: Table, start: int, count: int) -> list[dict[str, Any]]:
        """Rows of a table in the order of writing, in wire form."""
        if table.view_query is not None:
            raise BigQueryError("invalid", f"Cannot list a table of type VIEW: {table.dataset}.{table.name}")
        columns = ", ".join(f"CAST({quoted(f.name)} AS {output_type(f)})" for f in table.schema)
        found = self.connection.execute(
            f"SELECT {columns} FROM {table.path} ORDER BY rowid LIMIT ? OFFSET ?",
            [count, start],
        ).fetchall()
        return [row(table.schema, values) for values in found]

    # --- partition filters -------------------------------------------------------------------

    def plan(self, statement: Statement, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """DuckDB's plan of a statement, with every filter that it states (``EXPLAIN (FORMAT json)``)."""
        connection = self._root.cursor()
        # Else a filter that every row passes by the table's statistics would vanish from the plan.
        connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        found = _run(connection, f"EXPLAIN (FORMAT json) {statement.sql}", values).fetchall()
        connection.close()
        nodes: Sequence[Mapping[str, Any]] = json.loads(found[0][1])
        return nodes

    def _check_partition_filters(self, statement: Statement, values: Mapping[str, Any]) -> None:
        """What DuckDB's plan filters at the scan of a table is what BigQuery could prune by."""
        guarded = {
            key: column
            for key in self._sources(statement.tables)
            if (column := _required_partition_column(self._tables[key])) is not None
        }
        if not guarded:
            return
        for scan, filters in scans(self.plan(statement, values)):
            for (dataset, name), column in guarded.items():
                if scan.endswith(f".{dataset}.{name}") and not any(prunes(one, column) for one in filters):
                    raise invalid_query(
                        f"Cannot query over table '{dataset}.{name}' without a filter over column(s) "
                        f"'{column}' that can be used for partition elimination"
                    )

    def _sources(self, tables: frozenset[Key]) -> set[Key]:
        """The tables behind some tables and views."""
        found: set[Key] = set()
        for key in tables:
            table = self.table(*key)
            if table.view_query is None:
                found.add(key)
            else:
                found |= self._sources(translate(table.view_query, self.project).tables)
        return found


def _column(field: Field) -> str:
    required = " NOT NULL" if field.mode == "REQUIRED" else ""
    return f"{quoted(field.name)} {field.duck_type}{required}"


def _additions(
    path: str, old: Sequence[Field], new: Sequence[Field], table: str, inside: tuple[str, ...]
) -> Iterator[str]:
    """The ALTER statements that lead from one schema to a wider one."""
    later = {field.name.lower(): field for field in new}
    for field in old:
        other = later.pop(field.name.lower(), None)
        where = ".".join((*inside, field.name))
        if other is None:
            raise BigQueryError(
                "invalid",
                f"Provided Schema does not match Table {table}. Field {where} is missing in new schema",
            )
        if (other.type, other.repeated) != (field.type, field.repeated):
            raise BigQueryError(
                "invalid",
                f"Provided Schema does not match Table {table}. Field {where} has changed type or mode",
            )
        if other.mode == "REQUIRED" != field.mode:
            raise BigQueryError(
                "invalid",
                f"Provided Schema does not match Table {table}. "
                f"Field {where} has changed mode from NULLABLE to REQUIRED",
            )
        if field.mode == "REQUIRED" != other.mode and not inside:
            yield f"ALTER TABLE {path} ALTER COLUMN {quoted(field.name)} DROP NOT NULL"
        if field.type == "RECORD":
            if field.repeated and len(other.fields) != len(field.fields):
                raise BigQueryError(
                    "notImplemented", f"Adding fields to the repeated record {where} is not supported here."
                )
            yield from _additions(path, field.fields, other.fields, table, (*inside, field.name))
    for field in later.values():
        where = ".".join((*inside, field.name))
        if field.mode == "REQUIRED":
            raise BigQueryError(
                "invalid", f"Provided Schema does not match Table {table}. Cannot add required field {where}"
            )
        name = ".".join(quoted(part) for part in (*inside, field.name))
        yield f"ALTER TABLE {path} ADD COLUMN {name} {field.duck_type}"


def _check_partitioning(table: Table) -> None:
    partitioning = table.body.get("timePartitioning")
    if not partitioning or "field" not in partitioning:
        return
    columns = {field.name: field.type for field in table.schema}
    if columns.get(partitioning["field"]) not in ("TIMESTAMP", "DATE", "DATETIME"):
        raise BigQueryError(
            "invalid", f"The field specified for partitioning is no time column: {partitioning['field']}"
        )


def _required_partition_column(table: Table) -> str | None:
    partitioning = table.body.get("timePartitioning") or {}
    if not (table.body.get("requirePartitionFilter") or partitioning.get("requirePartitionFilter")):
        return None
    return str(partitioning["field"])


def _run(
    connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any]
) -> duckdb.DuckDBPyConnection:
    """Run a statement; DuckDB's errors become BigQuery's."""
    with _errors_of_bigquery():
        return connection.execute(sql, dict(values)) if values else connection.execute(sql)
    raise AssertionError("unreachable")


@contextmanager
def _errors_of_bigquery() -> Iterator[None]:
    try:
        yield
    except duckdb.TransactionException as error:
        raise invalid_query(
            f"Could not serialize access to a table due to concurrent update: {error}"
        ) from error
    except duckdb.ConstraintException as error:
        raise invalid_query(f"Required field cannot be null: {error}") from error
    except (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InternalException) as error:
        raise BigQueryError("internalError", str(error)) from error
    except duckdb.Error as error:
        raise invalid_query(str(error).split("\n\nLINE")[0]) from error


def _is_conflict(error: Exception) -> bool:
    """Whether a transaction failed because of another one: it may be tried again."""
    return isinstance(error, duckdb.TransactionException) or isinstance(
        error.__cause__, duckdb.TransactionException
    )


def _fetch(result: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    with _errors_of_bigquery():
        return result.fetchmany(PAGE_ROWS)
    raise AssertionError("unreachable")


def etag(body: Mapping[str, Any]) -> str:
    """A resource's entity tag."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:22]
