"""The SDK's own parameter types as the schema of a request, so that the double can never be laxer than them.

Forms carry strings only: they are read by the type that the SDK declares. JSON is never coerced.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final

import typing_extensions
from stripe._request_options import RequestOptions

from sandbox.stripe.errors import StripeRefusalError

_NAMES: Final[dict[str, Any]] = {
    **vars(typing),
    "Literal": typing_extensions.Literal,
    "NotRequired": typing_extensions.NotRequired,
    "StripeContext": str,
    "BaseAddresses": dict,
    "Decimal": Decimal,
}
_OPTIONS: Final = frozenset(RequestOptions.__annotations__)
"""Options of a call that the SDK keeps to itself or sends as headers."""
_INTEGER: Final = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class _Problem:
    code: str
    param: str
    message: str

    @property
    def depth(self) -> int:
        """How far the value was understood: of a union's failures, the deepest one says most."""
        return self.param.count("[")


_Read = tuple[Any, list[_Problem]]


def read_params(schema: type | None, raw: Mapping[str, Any], *, form: bool) -> dict[str, Any]:
    """The parameters with the types that the SDK declares; None as schema: the call takes none.

    Raises:
        StripeRefusalError: 400 for the first unknown, missing or wrong-typed parameter.
    """
    value, problems = (
        ({}, [_unknown(name) for name in raw]) if schema is None else _read_object(schema, raw, "", form)
    )
    if problems:
        first = problems[0]
        raise StripeRefusalError(400, first.message, first.code, param=first.param)
    read: dict[str, Any] = value
    return read


def _unknown(param: str) -> _Problem:
    return _Problem("parameter_unknown", param, f"Received unknown parameter: {param}")


@cache
def _hints(schema: type) -> Mapping[str, Any]:
    space = vars(sys.modules[schema.__module__])
    return typing_extensions.get_type_hints(schema, globalns=dict(space), localns=_NAMES)


def _read(kind: Any, raw: Any, path: str, form: bool) -> _Read:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, raw, path, form)
    if origin is typing.Literal:
        return _read_literal(arguments, raw, path, form)
    if typing_extensions.is_typeddict(kind):
        return _read_object(kind, raw, path, form)
    if origin is list:
        return _read_list(arguments[0], raw, path, form)
    if origin is dict:
        return _read_map(arguments[1], raw, path, form)
    return _read_scalar(kind, raw, path, form)


def _read_object(schema: type, raw: Any, path: str, form: bool) -> _Read:
    if not isinstance(raw, Mapping):
        return None, [_Problem("parameter_invalid_object", path, f"Invalid object: {path}")]
    hints = {name: hint for name, hint in _hints(schema).items() if name not in _OPTIONS}
    value, problems = {}, []
    for name, item in raw.items():
        inner = f"{path}[{name}]" if path else name
        if name not in hints:
            problems.append(_unknown(inner))
            continue
        value[name], found = _read(hints[name], item, inner, form)
        problems += found
    required: frozenset[str] = schema.__required_keys__  # type: ignore[attr-defined]
    for name in sorted(required - set(raw) - _OPTIONS):
        inner = f"{path}[{name}]" if path else name
        problems.append(_Problem("parameter_missing", inner, f"Missing required param: {inner}."))
    return value, problems


def _read_union(kinds: tuple[Any, ...], raw: Any, path: str, form: bool) -> _Read:
    if raw is None and type(None) in kinds:
        return None, []
    # A form's "3" is a whole number where one may stand, and a string only where nothing else may.
    if any(_names_values(kind) for kind in kinds):
        # The SDK leaves enumerations open for values of later versions; this version knows no others.
        kinds = tuple(kind for kind in kinds if kind is not str)
    ordered = sorted((kind for kind in kinds if kind is not type(None)), key=lambda kind: kind is str)
    readings = [_read(kind, raw, path, form) for kind in ordered]
    return min(
        readings, key=lambda reading: (len(reading[1]), -max((p.depth for p in reading[1]), default=0))
    )


def _names_values(kind: Any) -> bool:
    return typing.get_origin(kind) is typing.Literal and any(typing.get_args(kind))


def _read_literal(allowed: tuple[Any, ...], raw: Any, path: str, form: bool) -> _Read:
    if form and isinstance(raw, str):
        spelled = {str(value).lower() if isinstance(value, bool) else value: value for value in allowed}
        raw = spelled.get(raw, raw)
    if raw in allowed:
        return raw, []
    wanted = ", ".join(map(str, allowed[:12]))
    return None, [_Problem("parameter_invalid", path, f"Invalid {path}: must be one of {wanted}")]


def _read_list(kind: Any, raw: Any, path: str, form: bool) -> _Read:
    if form and isinstance(raw, Mapping) and all(_INTEGER.fullmatch(str(name)) for name in raw):
        raw = [raw[name] for name in sorted(raw, key=int)]
    if not isinstance(raw, list):
        return None, [_Problem("parameter_invalid_array", path, f"Invalid array: {path}")]
    readings = [_read(kind, item, f"{path}[{place}]", form) for place, item in enumerate(raw)]
    return [value for value, _ in readings], [problem for _, found in readings for problem in found]


def _read_map(kind: Any, raw: Any, path: str, form: bool) -> _Read:
    if not isinstance(raw, Mapping):
        return None, [_Problem("parameter_invalid_hash", path, f"Invalid hash: {path}")]
    readings = {name: _read(kind, item, f"{path}[{name}]", form) for name, item in raw.items()}
    values = {name: value for name, (value, _) in readings.items()}
    return values, [problem for _, found in readings.values() for problem in found]


def _read_scalar(kind: Any, raw: Any, path: str, form: bool) -> _Read:
    if kind is Any:
        return raw, []
    if isinstance(raw, str) and (form or kind is Decimal):
        return _read_text(kind, raw, path)
    if isinstance(kind, type) and isinstance(raw, kind) and (kind is bool or not isinstance(raw, bool)):
        return raw, []
    return None, [_mistyped(kind, path, raw)]


def _read_text(kind: Any, raw: str, path: str) -> _Read:
    if kind is str:
        return raw, []
    if kind is int and _INTEGER.fullmatch(raw):
        return int(raw), []
    if kind is bool and raw in ("true", "false"):
        return raw == "true", []
    if kind in (float, Decimal):
        try:
            number = Decimal(raw)
        except InvalidOperation:
            return None, [_mistyped(kind, path, raw)]
        return (float(number) if kind is float else number), []
    return None, [_mistyped(kind, path, raw)]


def _mistyped(kind: Any, path: str, raw: Any) -> _Problem:
    names = {int: "integer", bool: "boolean", str: "string", float: "decimal", Decimal: "decimal"}
    name = names.get(kind, "object")
    return _Problem(f"parameter_invalid_{name}", path, f"Invalid {name}: {raw!r}")
