"""BigQuery's types: in DuckDB, in JSON on the wire, and in rows that are streamed in.

A ``Field`` is one entry of a table schema or of a result's schema.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from sandbox.bigquery.errors import BigQueryError

NUMERIC_SCALE: Final = 9
_EXACT: Final = Context(prec=38, traps=[Inexact, InvalidOperation])
INT64_RANGE: Final = range(-(2**63), 2**63)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - DuckDB's TIMESTAMP is naive; it holds UTC here
_NAME: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,299}$")

LEGACY_NAMES: Final = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
    "DECIMAL": "NUMERIC",
}
"""The REST API names some types by their legacy SQL names, in answers always."""

DUCK_TYPES: Final = {
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "NUMERIC": f"DECIMAL(38,{NUMERIC_SCALE})",
    "TIMESTAMP": "TIMESTAMPTZ",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or a field of a STRUCT."""

    name: str
    type: str
    """By its name in the REST API: ``INTEGER``, ``RECORD`` …"""
    mode: str = "NULLABLE"
    fields: tuple[Field, ...] = ()
    description: str | None = None

    @property
    def repeated(self) -> bool:
        """Whether it is an ARRAY."""
        return self.mode == "REPEATED"

    @property
    def element_type(self) -> str:
        """Its DuckDB type, without the array."""
        if self.type != "RECORD":
            return DUCK_TYPES[self.type]
        return "STRUCT(" + ", ".join(f"{quoted(f.name)} {f.duck_type}" for f in self.fields) + ")"

    @property
    def duck_type(self) -> str:
        """Its DuckDB type."""
        return self.element_type + ("[]" if self.repeated else "")

    def to_api(self) -> dict[str, Any]:
        """As the REST API writes it."""
        body: dict[str, Any] = {"name": self.name, "type": self.type, "mode": self.mode}
        if self.fields:
            body["fields"] = [field.to_api() for field in self.fields]
        if self.description:
            body["description"] = self.description
        return body


def quoted(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def field_from_api(body: Mapping[str, Any]) -> Field:
    """One field of a REST schema.

    Raises:
        BigQueryError: for a bad name or a type that the façade does not know.
    """
    name, type_ = str(body.get("name", "")), str(body.get("type", "")).upper()
    if not _NAME.match(name):
        raise BigQueryError("invalid", f'Invalid field name "{name}".')
    type_ = LEGACY_NAMES.get(type_, type_)
    if type_ != "RECORD" and type_ not in DUCK_TYPES:
        raise BigQueryError("notImplemented", f"Field {name} has type {type_}, which is not supported here.")
    mode = str(body.get("mode") or "NULLABLE").upper()
    if mode not in ("NULLABLE", "REQUIRED", "REPEATED"):
        raise BigQueryError("invalid", f"Invalid mode {mode} for field {name}.")
    fields = _fields_from_api(body.get("fields") or ())
    if (type_ == "RECORD") != bool(fields):
        raise BigQueryError("invalid", f"Field {name} is type {type_} and has {len(fields)} fields.")
    return Field(name, type_, mode, fields, body.get("description") or None)


def schema_from_api(body: Mapping[str, Any] | None) -> tuple[Field, ...]:
    """The fields of a REST schema.

    Raises:
        BigQueryError: for a field that is unknown, badly named or there twice.
    """
    return _fields_from_api((body or {}).get("fields") or ())


def _fields_from_api(bodies: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    fields = tuple(field_from_api(body) for body in bodies)
    names = [field.name.lower() for field in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BigQueryError("invalid", f"Field {twice} already exists in schema")
    return fields


def schema_to_api(schema: Sequence[Field]) -> dict[str, Any]:
    """A REST schema."""
    return {"fields": [field.to_api() for field in schema]}


def field_from_parameter(name: str, type_: Mapping[str, Any]) -> Field:
    """The type of a query parameter (``QueryParameterType``), as a field."""
    kind = str(type_.get("type", "")).upper()
    if kind == "ARRAY":
        element = field_from_parameter(name, type_["arrayType"])
        if element.repeated:
            raise BigQueryError("invalid", f"Parameter {name}: an array of arrays is not supported.")
        return Field(name, element.type, "REPEATED", element.fields)
    if kind == "STRUCT":
        fields = tuple(field_from_parameter(f["name"], f["type"]) for f in type_["structTypes"])
        return Field(name, "RECORD", fields=fields)
    return field_from_api({"name": name, "type": kind})


def field_from_duck(name: str, type_: Any) -> Field:
    """A column of a DuckDB result as BigQuery would type it; ``type_`` is a ``DuckDBPyType``.

    Raises:
        BigQueryError: for a type that BigQuery would not have here.
    """
    kind = type_.id
    if kind == "list":
        element = field_from_duck(name, type_.children[0][1])
        if element.repeated:
            raise BigQueryError("invalidQuery", f"Column {name}: array of arrays.", location="query")
        return Field(name, element.type, "REPEATED", element.fields)
    if kind == "struct":
        return Field(name, "RECORD", fields=tuple(field_from_duck(n, child) for n, child in type_.children))
    scalar = _SCALARS.get(kind)
    if scalar is None:
        raise BigQueryError("notImplemented", f"Column {name} has DuckDB type {type_}, unknown to BigQuery.")
    return Field(name, scalar)


_SCALARS: Final = {
    "boolean": "BOOLEAN",
    **dict.fromkeys(
        (
            "tinyint",
            "smallint",
            "integer",
            "bigint",
            "hugeint",
            "utinyint",
            "usmallint",
            "uinteger",
            "ubigint",
        ),
        "INTEGER",
    ),
    "double": "FLOAT",
    "float": "FLOAT",
    "decimal": "NUMERIC",
    "varchar": "STRING",
    "blob": "BYTES",
    "date": "DATE",
    "timestamp": "DATETIME",
    "timestamp with time zone": "TIMESTAMP",
    "sqlnull": "INTEGER",  # BigQuery types an untyped NULL as INT64
    '"null"': "INTEGER",
    "null": "INTEGER",
}


def output_type(field: Field) -> str:
    """The DuckDB type that a result column is read through: instants as naive UTC, integers as INT64."""
    element = {"TIMESTAMP": "TIMESTAMP"}.get(field.type) or (
        "STRUCT(" + ", ".join(f"{quoted(f.name)} {output_type(f)}" for f in field.fields) + ")"
        if field.type == "RECORD"
        else DUCK_TYPES[field.type]
    )
    return element + ("[]" if field.repeated else "")


# --- values of results, as JSON -------------------------------------------------------------


def cell(field: Field, value: Any) -> dict[str, Any]:
    """One cell of a result row, ``{"v": …}``; instants are integer microseconds (text)."""
    if field.repeated:
        return {"v": [{"v": _wire(field, element)} for element in value or ()]}
    return {"v": _wire(field, value)}


def row(schema: Sequence[Field], values: Sequence[Any]) -> dict[str, Any]:
    """One result row, ``{"f": [{"v": …}]}``."""
    return {"f": [cell(field, value) for field, value in zip(schema, values, strict=True)]}


def with_float_timestamps(schema: Sequence[Field], body: dict[str, Any]) -> dict[str, Any]:
    """The row as BigQuery writes it without ``useInt64Timestamp``: instants as seconds in floating point."""
    cells = []
    for field, one in zip(schema, body["f"], strict=True):
        value = one["v"]
        if field.repeated:
            cells.append({"v": [{"v": _floated(field, element["v"])} for element in value]})
        else:
            cells.append({"v": _floated(field, value)})
    return {"f": cells}


def _floated(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.type == "RECORD":
        return with_float_timestamps(field.fields, value)
    if field.type == "TIMESTAMP":
        return repr(int(value) / 1e6)
    return value


def _wire(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.type == "RECORD":
        return row(field.fields, [value[f.name] for f in field.fields])
    return _TO_TEXT[field.type](value)


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _numeric_text(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


_TO_TEXT: Final[dict[str, Callable[[Any], str]]] = {
    "STRING": str,
    "INTEGER": lambda value: str(int(value)),
    "FLOAT": _float_text,
    "BOOLEAN": lambda value: "true" if value else "false",
    "NUMERIC": _numeric_text,
    "BYTES": lambda value: base64.b64encode(value).decode(),
    "DATE": date.isoformat,
    "DATETIME": datetime.isoformat,
    "TIMESTAMP": lambda value: str((value - _NAIVE_EPOCH) // timedelta(microseconds=1)),
}


# --- values that come in: streamed rows and parameters --------------------------------------


class RowError(Exception):
    """A value that does not fit its column."""

    def __init__(self, location: str, message: str) -> None:
        super().__init__(message)
        self.location = location
        self.message = message


def accept_row(schema: Sequence[Field], body: Any, *, ignore_unknown: bool = False) -> dict[str, Any]:
    """A streamed row as JSON that DuckDB reads with the columns' types.

    Field names are matched without regard to case, as BigQuery does.

    Raises:
        RowError: for an unknown field, a missing required one or a value of another type.
    """
    if not isinstance(body, Mapping):
        raise RowError("", "This row is not a record.")
    return _accept_fields(schema, body, "", ignore_unknown)


def _accept_fields(
    schema: Sequence[Field], body: Mapping[str, Any], path: str, ignore_unknown: bool
) -> dict[str, Any]:
    by_name = {field.name.lower(): field for field in schema}
    given = {name.lower(): value for name, value in body.items()}
    unknown = next((name for name in body if name.lower() not in by_name), None)
    if unknown is not None and not ignore_unknown:
        raise RowError(f"{path}{unknown}", f"no such field: {path}{unknown}.")
    return {
        field.name: _accept_field(field, given.get(key), f"{path}{field.name}", ignore_unknown)
        for key, field in by_name.items()
    }


def _accept_field(field: Field, value: Any, path: str, ignore_unknown: bool) -> Any:
    if value is None:
        if field.mode == "REQUIRED":
            raise RowError(path, f"Missing required field: {path}.")
        return [] if field.repeated else None
    if not field.repeated:
        return _accept_one(field, value, path, ignore_unknown)
    if not isinstance(value, list):
        raise RowError(path, f"Array specified for non-repeated field: {path}.")
    if any(element is None for element in value):
        raise RowError(path, f"Only optional fields can be set to NULL. Field: {path}; Value: NULL")
    return [_accept_one(field, element, path, ignore_unknown) for element in value]


def _accept_one(field: Field, value: Any, path: str, ignore_unknown: bool) -> Any:
    if field.type == "RECORD":
        if not isinstance(value, Mapping):
            raise RowError(path, f"This field: {path.rsplit('.', 1)[-1]} is not a record.")
        return _accept_fields(field.fields, value, f"{path}.", ignore_unknown)
    if isinstance(value, Mapping):
        raise RowError(path, f"This field: {path.rsplit('.', 1)[-1]} is a record, not a {field.type}.")
    if isinstance(value, list):
        raise RowError(path, f"Array specified for non-repeated field: {path}.")
    try:
        return _FROM_JSON[field.type](value)
    except (ValueError, TypeError, OverflowError, InvalidOperation, Inexact, binascii.Error):
        kind = {"FLOAT": "double", "INTEGER": "integer", "BOOLEAN": "boolean"}.get(
            field.type, field.type.lower()
        )
        raise RowError(path, f"Cannot convert value to {kind} (bad value): {_shown(value)}") from None


def _shown(value: Any) -> str:
    return value[:100] if isinstance(value, str) else json.dumps(value)


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)


def _integer(value: Any) -> str:
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]{1,19}", value):
        raise ValueError(value)
    number = int(value)
    if number != (float(value) if isinstance(value, float) else number) or number not in INT64_RANGE:
        raise ValueError(value)
    return str(number)


def _float(value: Any) -> float | str:
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, str) and not re.fullmatch(
        r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity)|nan", value, re.IGNORECASE
    ):
        raise ValueError(value)
    number = float(value)
    return number if math.isfinite(number) else _float_text(number)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(value)


def _numeric(value: Any) -> str:
    if isinstance(value, bool):
        raise ValueError(value)
    number = Decimal(str(value))
    if not number.is_finite() or number.copy_abs() >= Decimal(10) ** 29:
        raise ValueError(value)
    # With the decimals that the column keeps; what that would cut off does not fit.
    return format(number.quantize(Decimal(1).scaleb(-NUMERIC_SCALE), context=_EXACT), "f")


def _timestamp(value: Any) -> str:
    """RFC 3339 text, or seconds since the epoch as a number."""
    if isinstance(value, bool):
        raise ValueError(value)
    if isinstance(value, int | float):
        moment = _EPOCH + timedelta(microseconds=round(value * 1e6))
    else:
        text = re.sub(r" ?UTC$", "+00:00", value)
        moment = datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(sep=" ")


def _date(value: Any) -> str:
    return date.fromisoformat(value).isoformat()


def _datetime(value: Any) -> str:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not None:
        raise ValueError(value)
    return datetime.combine(
        moment.date(), time(moment.hour, moment.minute, moment.second, moment.microsecond)
    ).isoformat()


def _bytes(value: Any) -> str:
    """Base64, which ``decoded`` reads."""
    return base64.b64encode(base64.b64decode(value, validate=True)).decode()


_FROM_JSON: Final[dict[str, Callable[[Any], Any]]] = {
    "STRING": _string,
    "INTEGER": _integer,
    "FLOAT": _float,
    "BOOLEAN": _boolean,
    "NUMERIC": _numeric,
    "TIMESTAMP": _timestamp,
    "DATE": _date,
    "DATETIME": _datetime,
    "BYTES": _bytes,
}


def parameter_value(field: Field, value: Mapping[str, Any] | None) -> Any:
    """A ``QueryParameterValue`` as JSON that DuckDB reads with the parameter's type.

    Raises:
        BigQueryError: if the value does not fit.
    """
    try:
        return _parameter(field, value)
    except RowError as error:
        raise BigQueryError(
            "invalidQuery", f"Invalid query parameter {field.name}: {error.message}"
        ) from None


def _parameter(field: Field, value: Mapping[str, Any] | None) -> Any:
    value = value or {}
    if field.repeated:
        element = Field(field.name, field.type, fields=field.fields)
        return [_parameter(element, one) for one in value.get("arrayValues") or ()]
    if field.type == "RECORD":
        given = value.get("structValues")
        return None if given is None else {f.name: _parameter(f, given.get(f.name)) for f in field.fields}
    scalar = value.get("value")
    return None if scalar is None else _accept_one(field, scalar, field.name, ignore_unknown=False)


def json_structure(field: Field) -> Any:
    """The type of a field as DuckDB's ``from_json`` wants it described; bytes are base64 text in JSON."""
    inner: Any = (
        {f.name: json_structure(f) for f in field.fields}
        if field.type == "RECORD"
        else DUCK_TYPES["STRING" if field.type == "BYTES" else field.type]
    )
    return [inner] if field.repeated else inner


def holds_bytes(field: Field) -> bool:
    """Whether bytes are in the field or in one inside it."""
    return field.type == "BYTES" or any(holds_bytes(inside) for inside in field.fields)


def decoded(field: Field, value: str, depth: int = 0) -> str:
    """The DuckDB expression that makes a field of ``value``, an expression read by ``json_structure``."""
    if not holds_bytes(field):
        return value
    if field.repeated:
        one, element = f"e{depth}", Field(field.name, field.type, fields=field.fields)
        return f"LIST_TRANSFORM({value}, LAMBDA {one}: {decoded(element, one, depth + 1)})"
    if field.type == "BYTES":
        return f"FROM_BASE64({value})"
    inside = ", ".join(
        f"{quoted(f.name)} := {decoded(f, f'({value}).{quoted(f.name)}', depth)}" for f in field.fields
    )
    return f"CASE WHEN {value} IS NULL THEN NULL ELSE STRUCT_PACK({inside}) END"
