"""One .sql file in three engines: Google's analyzer, its reference evaluator, DuckDB as the façade runs it.

A *case* gives small tables and parameters for one .sql file.
``tests/sql/cases.py`` exports ``CASES: tuple[Case, ...]``; ``tests/sql/test_engines.py`` runs each in all
engines and compares the answers.

    Case(
        name="a repeated line counts once",
        sql="usage_clean.sql",                       # file name, unique over both SQL folders
        parameters={"now": ("TIMESTAMP", "2026-01-01T01:00:00Z"),
                    "rows": ("ARRAY<STRUCT<id STRING, n INT64>>", [{"id": "u1:…", "n": 1}])},
        tables={"usage_raw.run_googleapis_com_stdout": [{...}, {...}], "ledger.billing_segments": [{...}]},
        expected=[{"request_id": "r1", "input_tokens": 3}],
    )

Values in rows and parameters: STRING ``str``, INT64 ``int``, FLOAT64 ``float`` or ``int``, BOOL ``bool``,
NUMERIC ``str`` or ``Decimal``, TIMESTAMP an RFC 3339 ``str`` or an aware ``datetime``, DATE ``date``,
STRUCT ``dict`` (a missing field is NULL), ARRAY ``list``, NULL ``None``.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import wasmtime
from zetasql.core.wasm_client import get_tzinfo_dir
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2
from zetasql.wasi._pb2.zetasql.proto import options_pb2 as zetasql_options_pb2
from zetasql.wasi._pb2.zetasql.proto import simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public_options_pb2
from zetasql.wasi._pb2.zetasql.public import type_pb2, value_pb2
from zetasql.wasi._pb2.zetasql.resolved_ast import resolved_node_kind_pb2

from sandbox.bigquery.errors import BigQueryError
from sandbox.bigquery.jobs import bound_values
from sandbox.bigquery.store import Warehouse
from sandbox.bigquery.translate import translate
from sandbox.bigquery.types import Field, accept_row, field_from_api, schema_to_api
from sandbox.warehouse import LEDGER, MODULE, RAW, table_schema, table_settings, views
from tallygate.metering.warehouse import filled

STATEMENTS: Final = MODULE.parent.parent / "tallygate" / "metering" / "sql"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEDGER_NAMES: Final = re.compile(rf"`{LEDGER}\.(\w+)`")
_INSERT: Final = re.compile(r"^INSERT INTO `([\w.]+)`\s*\(([^)]*)\)", re.MULTILINE)
"""The target of an INSERT and the columns that it names; the rest of the text is a query."""
_ANALYSED: Final[set[tuple[str, tuple[tuple[str, str], ...]]]] = set()
_KINDS: Final = {name.removeprefix("TYPE_"): number for name, number in type_pb2.TypeKind.items()}
_GOOGLE_NAMES: Final = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
_PROTO_FIELDS: Final = {
    "STRING": "string_value",
    "INTEGER": "int64_value",
    "FLOAT": "double_value",
    "BOOLEAN": "bool_value",
    "BYTES": "bytes_value",
}
_FEATURES: Final = """
ADDITIONAL_STRING_FUNCTIONS ALLOW_DASHES_IN_TABLE_NAME ALLOW_MISSING_PATH_EXPRESSION_IN_ALTER_DDL
ALLOW_REGEXP_EXTRACT_OPTIONALS ALTER_COLUMN_SET_DATA_TYPE ALTER_TABLE_RENAME_COLUMN ANALYTIC_FUNCTIONS
ANNOTATION_FRAMEWORK ANONYMIZATION BIGNUMERIC_TYPE BY_NAME CASE_STMT CBRT_FUNCTIONS CIVIL_TIME
COLLATION_SUPPORT COLUMN_DEFAULT_VALUE CONCAT_MIXED_TYPES CORRESPONDING CORRESPONDING_FULL
CREATE_EXTERNAL_TABLE_WITH_CONNECTION CREATE_EXTERNAL_TABLE_WITH_PARTITION_COLUMNS
CREATE_EXTERNAL_TABLE_WITH_TABLE_ELEMENT_LIST CREATE_MATERIALIZED_VIEW_CLUSTER_BY
CREATE_MATERIALIZED_VIEW_PARTITION_BY CREATE_SNAPSHOT_TABLE CREATE_TABLE_AS_SELECT_COLUMN_LIST
CREATE_TABLE_CLONE CREATE_TABLE_CLUSTER_BY CREATE_TABLE_COPY CREATE_TABLE_FIELD_ANNOTATIONS
CREATE_TABLE_FUNCTION CREATE_TABLE_LIKE CREATE_TABLE_NOT_NULL CREATE_TABLE_PARTITION_BY
CREATE_VIEWS_WITH_COLUMN_OPTIONS CREATE_VIEW_WITH_COLUMN_LIST DATE_ARITHMETICS DATE_TIME_CONSTRUCTORS
DECIMAL_ALIAS DISABLE_FLOAT32 DML_UPDATE_WITH_JOIN ENCRYPTION EXTENDED_DATE_TIME_SIGNATURES
EXTENDED_GEOGRAPHY_PARSERS FOREIGN_KEYS FORMAT_IN_CAST FOR_IN GEOGRAPHY GROUPING_BUILTIN GROUPING_SETS
GROUP_BY_ALL GROUP_BY_ARRAY GROUP_BY_ROLLUP GROUP_BY_STRUCT HAVING_IN_AGGREGATE INTERVAL_TYPE
INVERSE_TRIG_FUNCTIONS IS_DISTINCT JSON_ARRAY_FUNCTIONS JSON_ARRAY_VALUE_EXTRACTION_FUNCTIONS
JSON_CONSTRUCTOR_FUNCTIONS JSON_KEYS_FUNCTION JSON_LAX_VALUE_EXTRACTION_FUNCTIONS
JSON_MORE_VALUE_EXTRACTION_FUNCTIONS JSON_MUTATOR_FUNCTIONS JSON_TYPE JSON_VALUE_EXTRACTION_FUNCTIONS
LIKE_ANY_SOME_ALL LIKE_ANY_SOME_ALL_ARRAY LIMIT_IN_AGGREGATE NAMED_ARGUMENTS NULLS_FIRST_LAST_IN_ORDER_BY
NULL_HANDLING_MODIFIER_IN_AGGREGATE NULL_HANDLING_MODIFIER_IN_ANALYTIC NUMERIC_TYPE
OMIT_INSERT_COLUMN_LIST ORDER_BY_IN_AGGREGATE PARAMETERIZED_TYPES PARAMETERS_IN_GRANTEE_LIST PIPES PIVOT
QUALIFY RANGE_TYPE REMOTE_FUNCTION REPEAT ROUND_WITH_ROUNDING_MODE SAFE_FUNCTION_CALL SCRIPT_LABEL
SELECT_STAR_EXCEPT_REPLACE TABLESAMPLE TABLE_VALUED_FUNCTIONS TEMPLATE_FUNCTIONS TIME_BUCKET_FUNCTIONS
UNENFORCED_PRIMARY_KEYS UNNEST_AND_FLATTEN_ARRAYS UNPIVOT WEEK_WITH_WEEKDAY WITH_EXPRESSION
WITH_GROUP_ROWS WITH_ON_SUBQUERY WITH_RECURSIVE
"""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Small tables and parameters for one .sql file, and the answer if it is known."""

    name: str
    """A sentence; unique per file."""
    sql: str
    """The file's name, for example ``usage_clean.sql``: a view or a statement."""
    parameters: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    """Name without @ → (GoogleSQL type, value). A view has none."""
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """``dataset.table`` (datasets ``usage_raw`` and ``ledger``) → rows; tables not named are empty.

    Views are never given rows: they are computed from the tables, by each engine for itself.
    """
    expected: Sequence[Mapping[str, Any]] | None = None
    """A view or SELECT: its rows. A DML statement: the rows of its target table afterwards.

    Order does not matter. Only the columns that the expected rows name are compared (all rows name the same
    ones). None: the engines are only compared with each other, on all columns.
    """


# --- the .sql files -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A view or a statement of the warehouse."""

    path: Path
    view: bool

    @property
    def name(self) -> str:
        """The file's name, by which a case names it."""
        return self.path.name

    @property
    def text(self) -> str:
        """GoogleSQL, with the datasets filled in."""
        return filled(self.path.read_text(), raw=RAW, ledger=LEDGER)


def sql_files() -> dict[str, SqlFile]:
    """All .sql files by name: views in the order in which they can be made, then statements."""
    files = [SqlFile(MODULE / "sql" / f"{name}.sql", view=True) for name in views()]
    files += [SqlFile(path, view=False) for path in sorted(STATEMENTS.glob("*.sql"))]
    named = {file.name: file for file in files}
    assert len(named) == len(files), "two .sql files have one name"
    return named


def schemas() -> dict[str, tuple[Field, ...]]:
    """The columns of every table, by ``dataset.table``."""
    return {
        f"{dataset}.{table}": tuple(field_from_api(field) for field in table_schema(table))
        for dataset, tables in table_settings().items()
        for table in tables
    }


class EngineError(AssertionError):
    """An engine refused a file; the message names both."""

    def __init__(self, engine: str, sql: str, message: str) -> None:
        super().__init__(f"{sql}: {engine}: {message}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine gave: columns with their types, and rows as normal values."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


# --- types ----------------------------------------------------------------------------------


def parse_type(name: str, text: str) -> Field:
    """A GoogleSQL type, for example ``ARRAY<STRUCT<a STRING, n INT64>>``, as a field called ``name``."""
    text = text.strip()
    kind, _, inner = text.partition("<")
    if kind.upper() == "ARRAY":
        element = parse_type(name, inner.removesuffix(">"))
        return Field(name, element.type, "REPEATED", element.fields)
    if kind.upper() == "STRUCT":
        parts = (part.strip().split(" ", 1) for part in _split(inner.removesuffix(">")))
        return Field(name, "RECORD", fields=tuple(parse_type(part[0], part[1]) for part in parts))
    return field_from_api({"name": name, "type": text})


def _split(text: str) -> Iterator[str]:
    """The parts between the commas that are not inside angle brackets."""
    depth, start = 0, 0
    for position, character in enumerate(text):
        depth += (character == "<") - (character == ">")
        if character == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    yield text[start:]


def type_text(field: Field) -> str:
    """The GoogleSQL name of a field's type."""
    if field.type == "RECORD":
        inner = "STRUCT<" + ", ".join(f"{f.name} {type_text(f)}" for f in field.fields) + ">"
    else:
        inner = _GOOGLE_NAMES.get(field.type, field.type)
    return f"ARRAY<{inner}>" if field.repeated else inner


def _proto_type(field: Field) -> Any:
    if field.repeated:
        array = type_pb2.TypeProto(type_kind=_KINDS["ARRAY"])
        array.array_type.element_type.CopyFrom(
            _proto_type(Field(field.name, field.type, fields=field.fields))
        )
        return array
    if field.type == "RECORD":
        struct = type_pb2.TypeProto(type_kind=_KINDS["STRUCT"])
        for child in field.fields:
            struct.struct_type.field.add(field_name=child.name, field_type=_proto_type(child))
        return struct
    google = _GOOGLE_NAMES.get(field.type, field.type)
    return type_pb2.TypeProto(type_kind=_KINDS["DOUBLE" if google == "FLOAT64" else google])


def _field_of(name: str, type_: Any) -> Field:
    kind = type_pb2.TypeKind.Name(type_.type_kind).removeprefix("TYPE_")
    if kind == "ARRAY":
        element = _field_of(name, type_.array_type.element_type)
        return Field(name, element.type, "REPEATED", element.fields)
    if kind == "STRUCT":
        return Field(
            name,
            "RECORD",
            fields=tuple(_field_of(f.field_name, f.field_type) for f in type_.struct_type.field),
        )
    return field_from_api({"name": name or "unnamed", "type": "FLOAT64" if kind == "DOUBLE" else kind})


# --- values ---------------------------------------------------------------------------------


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(moment, datetime)
    assert moment.tzinfo is not None, f"timestamp without offset: {value}"
    return moment.astimezone(UTC)


def _to_proto(field: Field, value: Any) -> Any:
    proto = value_pb2.ValueProto()
    if field.repeated:
        proto.array_value.SetInParent()
        element = Field(field.name, field.type, fields=field.fields)
        proto.array_value.element.extend(_to_proto(element, one) for one in value or ())
    elif value is None:
        pass
    elif field.type == "RECORD":
        unknown = set(value) - {child.name for child in field.fields}
        assert not unknown, f"no such field in {field.name}: {', '.join(sorted(unknown))}"
        proto.struct_value.SetInParent()
        proto.struct_value.field.extend(_to_proto(child, value.get(child.name)) for child in field.fields)
    elif field.type == "TIMESTAMP":
        seconds, rest = divmod((_moment(value) - _EPOCH) // timedelta(microseconds=1), 10**6)
        proto.timestamp_value.seconds, proto.timestamp_value.nanos = seconds, rest * 1000
    elif field.type == "DATE":
        proto.date_value = (value - _EPOCH.date()).days
    elif field.type == "NUMERIC":
        scaled = int(Decimal(str(value)).scaleb(9))
        size = max(1, (scaled.bit_length() + 8) // 8)
        proto.numeric_value = scaled.to_bytes(size, "little", signed=True)
    else:
        setattr(proto, _PROTO_FIELDS[field.type], value)
    return proto


def _from_proto(field: Field, proto: Any) -> Any:
    kind = proto.WhichOneof("value")
    if field.repeated:
        element = Field(field.name, field.type, fields=field.fields)
        return [_from_proto(element, one) for one in proto.array_value.element]
    if kind is None:
        return None
    if field.type == "RECORD":
        pairs = zip(field.fields, proto.struct_value.field, strict=True)
        return {child.name: _from_proto(child, one) for child, one in pairs}
    if field.type == "TIMESTAMP":
        stamp = proto.timestamp_value
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    if field.type == "DATE":
        return _EPOCH.date() + timedelta(days=proto.date_value)
    if field.type == "NUMERIC":
        return Decimal(int.from_bytes(proto.numeric_value, "little", signed=True)).scaleb(-9)
    return getattr(proto, kind)


def _from_wire(field: Field, value: Any) -> Any:
    """A cell of the façade's answer."""
    if field.repeated:
        element = Field(field.name, field.type, fields=field.fields)
        return [_from_wire(element, one["v"]) for one in value]
    if value is None:
        return None
    if field.type == "RECORD":
        pairs = zip(field.fields, value["f"], strict=True)
        return {child.name: _from_wire(child, one["v"]) for child, one in pairs}
    return _FROM_WIRE[field.type](value)


_FROM_WIRE: Final[dict[str, Callable[[str], Any]]] = {
    "STRING": str,
    "INTEGER": int,
    "FLOAT": float,
    "BOOLEAN": lambda text: text == "true",
    "NUMERIC": Decimal,
    "TIMESTAMP": lambda text: _EPOCH + timedelta(microseconds=int(text)),
    "DATE": date.fromisoformat,
}


def _json_ready(value: Any) -> Any:
    """A case's value as a client would stream it."""
    if isinstance(value, Mapping):
        return {name: _json_ready(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(one) for one in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def normal(field: Field, value: Any) -> Any:
    """A value of a case in the form in which engines' answers are compared."""
    return _from_proto(field, _to_proto(field, value))


# --- Google's analyzer and evaluator --------------------------------------------------------


class SqlError(Exception):
    """Google's analyzer or evaluator refused a statement."""


class GoogleSql:
    """Google's own GoogleSQL, compiled to WebAssembly (package ``zetasql``), with its compiled form cached.

    Compiling takes up to a minute, once per machine and version; loading the cached form a tenth of a second.
    """

    def __init__(self) -> None:
        source = Path(get_wasm_path())
        config = wasmtime.Config()
        config.shared_memory = True
        self._engine = wasmtime.Engine(config)
        cached = _cache() / f"zetasql-{version('zetasql')}-wasmtime-{version('wasmtime')}.cwasm"
        if cached.exists():
            self._module = wasmtime.Module.deserialize_file(self._engine, str(cached))
        else:
            self._module = wasmtime.Module.from_file(self._engine, str(source))
            written = cached.with_suffix(f".{os.getpid()}")
            written.write_bytes(self._module.serialize())
            written.replace(cached)
        self._start()

    def _start(self) -> None:
        """A fresh instance: one in which a check has failed is of no further use."""
        wasi = wasmtime.WasiConfig()
        wasi.preopen_dir(str(get_tzinfo_dir()), "/usr/share/zoneinfo")
        self._store = wasmtime.Store(self._engine)
        self._store.set_wasi(wasi)
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        instance: Any = linker.instantiate(self._store, self._module)
        self._exports = instance.exports(self._store)
        self._exports["_initialize"](self._store)

    def _address(self, pointer: int) -> int:
        memory: Any = self._exports["memory"]
        try:
            base = memory.data_ptr()
        except TypeError:  # an unshared memory wants its store
            base = memory.data_ptr(self._store)
        return ctypes.addressof(base.contents) + (pointer & 0xFFFFFFFF)

    def call(self, operation: str, request: Any, response: Any) -> Any:
        """One call of its local service.

        Raises:
            SqlError: with the analyzer's or the evaluator's message.
        """
        data, exports, store = request.SerializeToString(), self._exports, self._store
        size = exports["wasm_malloc"](store, 4)
        pointer = exports["wasm_malloc"](store, max(1, len(data)))
        ctypes.memmove(self._address(pointer), data, len(data))
        try:
            answer = exports[f"ZetaSqlLocalService_{operation}"](store, pointer, len(data), size)
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            self._start()
            raise SqlError(f"aborted: {str(error).splitlines()[0]}") from None
        if answer == 0:
            length = exports["wasm_get_last_error_size"](store)
            message = ctypes.string_at(self._address(exports["wasm_get_last_error"](store)), length).decode()
            self._free(size, pointer)
            raise SqlError(message)
        length = int.from_bytes(ctypes.string_at(self._address(size), 4), "little")
        out = ctypes.string_at(self._address(answer), length)
        self._free(size, pointer, answer)
        return response.FromString(out)

    def _free(self, *pointers: int) -> None:
        for pointer in pointers:
            self._exports["wasm_free"](self._store, pointer)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(base) if base else Path.home() / ".cache") / "tallygate"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@lru_cache(maxsize=1)
def google() -> GoogleSql:
    """The one instance of a process."""
    return GoogleSql()


@lru_cache(maxsize=1)
def _language() -> Any:
    """GoogleSQL as BigQuery has it: the features that Google's own tools list for it, and later ones."""
    options = zetasql_options_pb2.LanguageOptionsProto(
        name_resolution_mode=public_options_pb2.NAME_RESOLUTION_DEFAULT,
        product_mode=public_options_pb2.PRODUCT_EXTERNAL,
    )
    known = public_options_pb2.LanguageFeature
    for name in _FEATURES.split():
        spellings = (f"FEATURE_{name}", *(f"FEATURE_V_1_{minor}_{name}" for minor in (1, 2, 3, 4)))
        options.enabled_language_features.append(
            next(known.Value(spelling) for spelling in spellings if spelling in known.keys())  # noqa: SIM118
        )
    for name in ("QUERY", "INSERT", "UPDATE", "DELETE", "CREATE_VIEW"):
        options.supported_statement_kinds.append(
            resolved_node_kind_pb2.ResolvedNodeKind.Value(f"RESOLVED_{name}_STMT")
        )
    options.reserved_keywords.append("QUALIFY")
    return options


Tables = Mapping[str, tuple[tuple[Field, ...], Sequence[Row]]]
"""``dataset.table`` → its columns and rows."""
Parameters = Mapping[str, tuple[str, Any]]


def _options(parameters: Parameters) -> Any:
    options = zetasql_options_pb2.AnalyzerOptionsProto(
        language_options=_language(),
        error_message_mode=public_options_pb2.ERROR_MESSAGE_ONE_LINE,
        default_timezone="UTC",
        prune_unused_columns=False,
    )
    for name, (text, _) in parameters.items():
        options.query_parameters.add(name=name, type=_proto_type(parse_type(name, text)))
    return options


def _catalog(tables: Tables) -> Any:
    catalog = simple_catalog_pb2.SimpleCatalogProto(name="bigquery")
    catalog.builtin_function_options.language_options.CopyFrom(_language())
    for number, (path, (fields, _)) in enumerate(tables.items(), 1):
        table = catalog.table.add(name=path, full_name=path, serialization_id=number)
        for one in fields:
            table.column.add(name=one.name, type=_proto_type(one), is_writable_column=True)
    return catalog


def _filled(request: Any, tables: Tables, parameters: Parameters) -> Any:
    for path, (fields, rows) in tables.items():
        content = request.table_content[path]
        content.table_data.SetInParent()
        for one in rows:
            content.table_data.row.add().cell.extend(
                _to_proto(field, one.get(field.name)) for field in fields
            )
    for name, (text, value) in parameters.items():
        request.params.add(name=name, value=_to_proto(parse_type(name, text), value))
    return request


def analyse(sql: str, tables: Tables, parameters: Parameters) -> None:
    """Check a statement against the tables' columns.

    Raises:
        SqlError: with line and column.
    """
    request = local_service_pb2.AnalyzeRequest(
        options=_options(parameters), simple_catalog=_catalog(tables), sql_statement=sql
    )
    google().call("Analyze", request, local_service_pb2.AnalyzeResponse)


def evaluate(sql: str, tables: Tables, parameters: Parameters) -> tuple[tuple[Field, ...], list[Row]]:
    """The answer to a query by Google's reference evaluator."""
    request = local_service_pb2.EvaluateQueryRequest(
        sql=sql, options=_options(parameters), simple_catalog=_catalog(tables)
    )
    answer = google().call(
        "EvaluateQuery", _filled(request, tables, parameters), local_service_pb2.EvaluateQueryResponse
    )
    fields = tuple(_field_of(column.name, column.type) for column in answer.prepared.columns)
    rows: list[Row] = [
        {field.name: _from_proto(field, cell) for field, cell in zip(fields, one.cell, strict=True)}
        for one in answer.content.table_data.row
    ]
    return fields, rows


# --- a case in each engine ------------------------------------------------------------------


def case_tables(case: Case) -> dict[str, tuple[tuple[Field, ...], Sequence[Row]]]:
    """All tables of the warehouse, with the case's rows."""
    known = schemas()
    unknown = set(case.tables) - set(known)
    assert not unknown, f"{case.sql}: {case.name}: no such table: {', '.join(sorted(unknown))}"
    for path, rows in case.tables.items():
        columns = {field.name for field in known[path]}
        odd = {name for one in rows for name in one} - columns
        assert not odd, f"{case.sql}: {case.name}: {path} has no column {', '.join(sorted(odd))}"
    return {path: (fields, case.tables.get(path, ())) for path, fields in known.items()}


def _views_read(text: str, files: Mapping[str, SqlFile]) -> list[SqlFile]:
    """The views behind a statement, in the order in which they can be computed."""
    needed: set[str] = set()
    pending = [text]
    while pending:
        read = {f"{name}.sql" for name in _LEDGER_NAMES.findall(pending.pop())} & set(files)
        pending += [files[name].text for name in read - needed]
        needed |= read
    return [file for file in files.values() if file.view and file.name in needed]


def by_google(case: Case) -> Answer:
    """The case's answer by the analyzer and the reference evaluator.

    Raises:
        EngineError: if either refuses the file or a view behind it.
    """
    files = sql_files()
    file, tables = files[case.sql], case_tables(case)
    for view in _views_read(file.text, files):
        tables[f"{LEDGER}.{view.path.stem}"] = _evaluated(view.name, view.text, tables, {})
    insert = _INSERT.search(file.text)
    if insert is None:
        return _answer(*_evaluated(file.name, file.text, tables, case.parameters))
    return _after(insert, file, tables, case.parameters)


def _after(insert: re.Match[str], file: SqlFile, tables: Tables, parameters: Parameters) -> Answer:
    """The rows of an INSERT's target afterwards.

    The whole statement is analysed; its query is evaluated alone, because the evaluator takes no WITH in DML.
    """
    _analysed(file.name, file.text, tables, parameters)
    fields, before = tables[insert[1]]
    columns = [name.strip(" `\n") for name in insert[2].split(",")]
    _, added = _evaluated(file.name, file.text[insert.end() :], tables, parameters)
    rows = [dict(zip(columns, one.values(), strict=True)) for one in added]
    whole = [{f.name: normal(f, one.get(f.name)) for f in fields} for one in [*before, *rows]]
    return _answer(fields, whole)


def _evaluated(
    name: str, text: str, tables: Tables, parameters: Parameters
) -> tuple[tuple[Field, ...], list[Row]]:
    _analysed(name, text, tables, parameters)
    try:
        return evaluate(text, tables, parameters)
    except SqlError as error:
        raise EngineError("Google's evaluator", name, str(error)) from None


def _analysed(name: str, text: str, tables: Tables, parameters: Parameters) -> None:
    """Once for each text and types: the tables' columns are the same in all cases."""
    key = (text, tuple((parameter, type_) for parameter, (type_, _) in parameters.items()))
    if key in _ANALYSED:
        return
    try:
        analyse(text, tables, parameters)
    except SqlError as error:
        raise EngineError("Google's analyzer", name, str(error)) from None
    _ANALYSED.add(key)


def _answer(fields: Sequence[Field], rows: Sequence[Row]) -> Answer:
    return Answer(tuple((field.name, type_text(field)) for field in fields), tuple(rows))


class DuckDb:
    """The façade's engine: its own tables, views and translation, without HTTP."""

    def __init__(self, directory: Path) -> None:
        self.warehouse = Warehouse(directory, "sandbox")
        for dataset in (RAW, LEDGER):
            self.warehouse.create_dataset(dataset, {})
        for path in schemas():
            dataset, name = path.split(".")
            self.warehouse.create_table(dataset, name, self.table_body(path))
        self._views: set[str] = set()
        self._jobs = 0

    def table_body(self, path: str) -> dict[str, Any]:
        """The resource of ``dataset.table``."""
        return {"schema": schema_to_api(schemas()[path])}

    def close(self) -> None:
        """Let the file go."""
        self.warehouse.close()

    def answer(self, case: Case) -> Answer:
        """The case's answer.

        Raises:
            EngineError: if the translation or DuckDB refuses the file or a view behind it.
        """
        files = sql_files()
        file = files[case.sql]
        self._fill(case)
        for view in [*_views_read(file.text, files), *([file] if file.view else [])]:
            self._make_view(view)
        text = f"SELECT * FROM `{LEDGER}.{file.path.stem}` AS v" if file.view else file.text  # noqa: S608
        try:
            schema, rows = self.run(text, case.parameters)
        except BigQueryError as error:
            raise EngineError("DuckDB", file.name, error.message) from None
        return _answer(schema, rows)

    def _make_view(self, view: SqlFile) -> None:
        if view.name in self._views:
            return
        try:
            self.warehouse.create_table(LEDGER, view.path.stem, {"view": {"query": view.text}})
        except BigQueryError as error:
            raise EngineError("DuckDB", view.name, error.message) from None
        self._views.add(view.name)

    def _fill(self, case: Case) -> None:
        for path, (fields, rows) in case_tables(case).items():
            table = self.warehouse.table(*path.split("."))
            self.warehouse.connection.execute(f"DELETE FROM {table.path}")  # noqa: S608
            self.warehouse.append(table, [accept_row(fields, _json_ready(one)) for one in rows])

    def run(self, sql: str, parameters: Parameters) -> tuple[tuple[Field, ...], list[Row]]:
        """Run a statement: the answer to a query; for DML, the rows of its target afterwards."""
        fields = tuple(parse_type(name, text) for name, (text, _) in parameters.items())
        statement = translate(sql, "sandbox", fields)
        given = {"queryParameters": [_parameter(f, parameters[f.name][1]) for f in fields]}
        values = bound_values(statement, fields, given)
        if statement.kind != "SELECT":
            assert statement.target is not None
            self._jobs += 1
            self.warehouse.change(statement, values, f"job-{self._jobs}")
            table = self.warehouse.table(*statement.target)
            schema, wire = table.schema, self.warehouse.listed(table, 0, 10_000)
        else:
            wire = []
            schema = self.warehouse.query(statement, values, wire.extend).schema
        return schema, [
            {field.name: _from_wire(field, cell["v"]) for field, cell in zip(schema, one["f"], strict=True)}
            for one in wire
        ]


def _parameter(field: Field, value: Any) -> dict[str, Any]:
    """A query parameter's value as the client sends it."""
    return {"name": field.name, "parameterValue": _parameter_value(field, value)}


def _parameter_value(field: Field, value: Any) -> dict[str, Any]:
    if field.repeated:
        element = Field(field.name, field.type, fields=field.fields)
        return {"arrayValues": [_parameter_value(element, one) for one in value]}
    if value is None:
        return {"value": None}
    if field.type == "RECORD":
        return {"structValues": {f.name: _parameter_value(f, value.get(f.name)) for f in field.fields}}
    ready = _json_ready(value)
    return {"value": str(ready).lower() if isinstance(ready, bool) else str(ready)}


def same_rows(one: Sequence[Row], other: Sequence[Row]) -> bool:
    """Whether two answers hold the same rows, in any order."""
    return sorted(map(repr, map(_canonical, one))) == sorted(map(repr, map(_canonical, other)))


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(name, _canonical(one)) for name, one in value.items()]
    if isinstance(value, list):
        return [_canonical(one) for one in value]
    if isinstance(value, Decimal):
        return f"NUMERIC {value.normalize() + 0:f}"
    return value + 0.0 if isinstance(value, float) else value


def expected_rows(case: Case, answer: Answer) -> list[Row]:
    """The case's expected rows with values in the form of an answer's."""
    assert case.expected is not None
    types = {name: parse_type(name, text) for name, text in answer.columns}
    unknown = {name for one in case.expected for name in one} - set(types)
    assert not unknown, f"{case.sql}: {case.name}: the answer has no column {', '.join(sorted(unknown))}"
    return [{name: normal(types[name], value) for name, value in one.items()} for one in case.expected]


def only(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """The rows with some of their columns."""
    return [{name: one[name] for name in columns} for one in rows]
