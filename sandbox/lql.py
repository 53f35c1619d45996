"""The part of the Logging query language that sinks and log metrics here use: parser and evaluator.

Understood: ``AND``/``OR``/``NOT`` (and ``-``), comparisons side by side as ``AND``, parentheses, value groups
(``field=("a" OR "b")``), ``= != > >= < <= : =~ !~``, presence (``field:*``), nested fields and quoted keys,
``log_id()``, severities, timestamps, durations, and comments (``--``).
Anything else is a :class:`FilterError`: a filter that is misread must not run.

Rules of the language that surprise: ``OR`` binds tighter than ``AND``; text is compared without regard to
case, except by regular expressions; a field of the payload or a label that an entry lacks fails every
comparison, ``!=`` too (``NOT`` around the comparison then holds); a field of LogEntry that is not set has its
type's default; a field that LogEntry does not define is an error.

Source: https://cloud.google.com/logging/docs/view/logging-query-language
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

SEVERITIES: Final = {
    "DEFAULT": 0, "DEBUG": 100, "INFO": 200, "NOTICE": 300, "WARNING": 400,
    "ERROR": 500, "CRITICAL": 600, "ALERT": 700, "EMERGENCY": 800,
}  # fmt: skip
LONGEST: Final = 20_000
"""Characters of a filter that Cloud Logging takes."""
DEEPEST: Final = 100
"""Parentheses within parentheses; far more than any filter has, far less than the stack."""

Entry = Mapping[str, Any]
Test = Callable[[Entry], bool]


class FilterError(ValueError):
    """A filter that is not understood: says what, and where (line and column, from 1)."""

    def __init__(self, problem: str, text: str, at: int) -> None:
        line = text.count("\n", 0, at) + 1
        column = at - (text.rfind("\n", 0, at) + 1) + 1
        super().__init__(f"line {line}, column {column}: {problem}")
        self.line = line
        self.column = column


class Kind(Enum):
    """How a field is compared."""

    TEXT = "text"
    NUMBER = "number"
    BOOL = "bool"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    SEVERITY = "severity"
    OPEN = "open"
    """Any JSON value, with any fields below it; it may be missing."""
    LABELS = "labels"
    """Text under any key; it may be missing."""


_HTTP_REQUEST: Final = {
    "requestMethod": Kind.TEXT, "requestUrl": Kind.TEXT, "requestSize": Kind.NUMBER, "status": Kind.NUMBER,
    "responseSize": Kind.NUMBER, "userAgent": Kind.TEXT, "remoteIp": Kind.TEXT, "serverIp": Kind.TEXT,
    "referer": Kind.TEXT, "latency": Kind.DURATION, "cacheLookup": Kind.BOOL, "cacheHit": Kind.BOOL,
    "cacheValidatedWithOriginServer": Kind.BOOL, "cacheFillBytes": Kind.NUMBER, "protocol": Kind.TEXT,
}  # fmt: skip
_OPERATION: Final = {"id": Kind.TEXT, "producer": Kind.TEXT, "first": Kind.BOOL, "last": Kind.BOOL}
LOG_ENTRY: Final[dict[str, Kind | dict[str, Kind]]] = {
    "logName": Kind.TEXT,
    "resource": {"type": Kind.TEXT, "labels": Kind.LABELS},
    "textPayload": Kind.TEXT,
    "jsonPayload": Kind.OPEN,
    "protoPayload": Kind.OPEN,
    "timestamp": Kind.TIMESTAMP,
    "receiveTimestamp": Kind.TIMESTAMP,
    "severity": Kind.SEVERITY,
    "insertId": Kind.TEXT,
    "httpRequest": _HTTP_REQUEST,
    "labels": Kind.LABELS,
    "operation": _OPERATION,
    "trace": Kind.TEXT,
    "spanId": Kind.TEXT,
    "traceSampled": Kind.BOOL,
    "sourceLocation": {"file": Kind.TEXT, "line": Kind.NUMBER, "function": Kind.TEXT},
    "split": {"uid": Kind.TEXT, "index": Kind.NUMBER, "totalSplits": Kind.NUMBER},
}
"""The fields of a LogEntry that a filter may name."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was understood."""

    text: str
    _test: Test

    def matches(self, entry: Entry) -> bool:
        """Whether a LogEntry, in its JSON form, passes."""
        return self._test(entry)


def parse(text: str) -> Filter:
    """Read a filter; an empty one takes everything.

    Raises:
        FilterError: when any of it is not understood.
    """
    if len(text) > LONGEST:
        raise FilterError(f"longer than {LONGEST} characters", text, LONGEST)
    return Filter(text, _Parser(text).whole())


# --- parser -----------------------------------------------------------------------------------------------

_SPACE: Final = re.compile(r"(?:\s+|--[^\n]*)*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE: Final = re.compile(r"[A-Za-z0-9_.+/%@-]+")
_OPERATOR: Final = re.compile(r"=~|!~|!=|>=|<=|=|>|<|:")
_STRING: Final = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_KEYWORDS: Final = ("AND", "OR", "NOT")
_LOG_ID: Final = re.compile(r"[A-Za-z0-9/_.%-]+")


@dataclass(frozen=True, slots=True)
class _Value:
    text: str
    quoted: bool
    at: int


class _Parser:
    """Recursive descent over the text; every method leaves ``_at`` behind what it took."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Test:
        self._skip()
        if self._at == len(self._text):
            return _everything
        test = self._sequence(self._comparison)
        if self._at < len(self._text):
            raise self._error(f"expected AND, OR or the end, found {self._here()}")
        return test

    def _sequence(self, single: Callable[[], Test]) -> Test:
        """``a OR b AND c d``: OR binds tighter; a missing operator is AND."""
        parts = [self._alternatives(single)]
        while self._keyword("AND") or self._goes_on():
            parts.append(self._alternatives(single))
        return parts[0] if len(parts) == 1 else partial(_all, parts)

    def _alternatives(self, single: Callable[[], Test]) -> Test:
        parts = [self._negated(single)]
        while self._keyword("OR"):
            parts.append(self._negated(single))
        return parts[0] if len(parts) == 1 else partial(_any, parts)

    def _negated(self, single: Callable[[], Test]) -> Test:
        if not self._keyword("NOT") and not self._taken("-"):
            return self._single(single)
        return partial(_not, self._single(single))

    def _single(self, single: Callable[[], Test]) -> Test:
        """One comparison or value, or a group of them."""
        if not self._taken("("):
            return single()
        opened = self._at - 1
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"more than {DEEPEST} parentheses within each other", opened)
        test = self._sequence(single)
        if not self._taken(")"):
            raise self._error("this parenthesis is not closed", opened)
        self._depth -= 1
        return test

    def _goes_on(self) -> bool:
        """Whether another operand follows without an operator."""
        if self._at >= len(self._text) or self._text[self._at] == ")":
            return False
        if self._is_keyword("OR"):
            return False
        return self._text[self._at] in "(-\"'" or _VALUE.match(self._text, self._at) is not None

    def _comparison(self) -> Test:
        start = self._at
        if self._text[start : start + 1] in ("'", '"'):
            raise self._error("text without a field: write which field must hold it")
        names, positions = self._field()
        if self._taken("("):
            return self._function(names, start)
        operator_at = self._at
        found = _OPERATOR.match(self._text, self._at)
        if found is None:
            written = ".".join(names)
            if written.upper() in _KEYWORDS:
                raise self._error(f"write {written.upper()} in capitals", start)
            raise self._error(f"expected an operator after {written!r}, found {self._here()}")
        self._move(found.end())
        kind, may_lack = self._kind(names, positions)
        field = _Field(tuple(names), kind, may_lack)
        return self._single(partial(self._compared, field, found.group(), operator_at))

    def _field(self) -> tuple[list[str], list[int]]:
        names: list[str] = []
        positions: list[int] = []
        while True:
            positions.append(self._at)
            names.append(self._key(first=not names))
            if self._text[self._at : self._at + 1] != ".":
                self._skip()
                return names, positions
            self._at += 1

    def _key(self, *, first: bool) -> str:
        quoted = None if first else _STRING.match(self._text, self._at)
        if quoted is not None:
            self._at = quoted.end()
            return _unescaped(quoted)
        found = _NAME.match(self._text, self._at)
        if found is None or (first and found.group() in _KEYWORDS):
            raise self._error(f"expected {'a comparison' if first else 'a key'}, found {self._here()}")
        self._at = found.end()
        return found.group()

    def _kind(self, names: Sequence[str], positions: Sequence[int]) -> tuple[Kind, bool]:
        """How the field is compared, and whether an entry may lack it (else it has a default)."""
        kind: Kind | dict[str, Kind] = LOG_ENTRY.get(names[0]) or self._undefined(names, 0, positions)
        for depth, name in enumerate(names[1:], 1):
            if kind is Kind.OPEN:
                return Kind.OPEN, True
            if kind is Kind.LABELS:
                if depth + 1 < len(names):
                    self._undefined(names, depth + 1, positions)
                return Kind.TEXT, True
            if not isinstance(kind, dict) or name not in kind:
                self._undefined(names, depth, positions)
                break
            kind = kind[name]
        if isinstance(kind, dict) or kind is Kind.LABELS:
            return Kind.OPEN, True
        return kind, kind is Kind.OPEN

    def _undefined(self, names: Sequence[str], depth: int, positions: Sequence[int]) -> Any:
        raise self._error(f"LogEntry has no field {'.'.join(names[: depth + 1])!r}", positions[depth])

    def _function(self, names: Sequence[str], start: int) -> Test:
        name = ".".join(names)
        if name != "log_id":
            raise self._error(f"function {name!r} is not supported", start)
        value = self._value()
        if not value.quoted or not _LOG_ID.fullmatch(value.text):
            raise self._error("log_id takes the quoted id of a log", value.at)
        if not self._taken(")"):
            raise self._error(f"expected ')', found {self._here()}")
        return partial(_is_log, unquote(value.text).casefold())

    def _compared(self, field: _Field, operator: str, operator_at: int) -> Test:
        if operator == ":" and self._taken("*"):
            return field.is_present
        value = self._value()
        try:
            holds = _comparer(field.kind, operator, value.text)
        except _NoSuchComparisonError as error:
            raise self._error(str(error), operator_at) from None
        except ValueError as error:
            raise self._error(str(error), value.at) from None
        return partial(field.satisfies, holds)

    def _value(self) -> _Value:
        start = self._at
        quoted = _STRING.match(self._text, start)
        if quoted is not None:
            self._move(quoted.end())
            return _Value(_unescaped(quoted), True, start)
        bare = _VALUE.match(self._text, start)
        if bare is None or bare.group() in _KEYWORDS:
            if self._text[start : start + 1] in ("'", '"'):
                raise self._error("this text is not closed")
            raise self._error(f"expected a value, found {self._here()}")
        self._move(bare.end())
        return _Value(bare.group(), False, start)

    def _keyword(self, word: str) -> bool:
        if not self._is_keyword(word):
            return False
        self._move(self._at + len(word))
        return True

    def _is_keyword(self, word: str) -> bool:
        found = _VALUE.match(self._text, self._at)
        return found is not None and found.group() == word

    def _taken(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._move(self._at + len(sign))
        return True

    def _move(self, to: int) -> None:
        self._at = to
        self._skip()

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None  # it matches nothing, too
        self._at = found.end()

    def _here(self) -> str:
        if self._at >= len(self._text):
            return "the end"
        found = _VALUE.match(self._text, self._at)
        return repr(found.group() if found else self._text[self._at])

    def _error(self, problem: str, at: int | None = None) -> FilterError:
        return FilterError(problem, self._text, self._at if at is None else at)


def _unescaped(found: re.Match[str]) -> str:
    """The text of a quoted string; an escape that the language lacks stays, for regular expressions."""
    inner = found.group(1) if found.group(1) is not None else found.group(2)
    return _ESCAPE.sub(_escape, inner)


def _escape(found: re.Match[str]) -> str:
    sign = found.group(1)
    return chr(int(sign[1:], 16)) if len(sign) > 1 else _ESCAPED.get(sign, found.group())


# --- evaluator --------------------------------------------------------------------------------------------


def _everything(_: Entry) -> bool:
    return True


def _all(tests: Sequence[Test], entry: Entry) -> bool:
    return all(test(entry) for test in tests)


def _any(tests: Sequence[Test], entry: Entry) -> bool:
    return any(test(entry) for test in tests)


def _not(test: Test, entry: Entry) -> bool:
    return not test(entry)


def _is_log(wanted: str, entry: Entry) -> bool:
    """``log_id``: the part of the log's name behind ``/logs/``, unescaped."""
    name = entry.get("logName")
    if not isinstance(name, str):
        return False
    return unquote(name.partition("/logs/")[2]).casefold() == wanted


_DEFAULTS: Final[dict[Kind, Any]] = {
    Kind.TEXT: "", Kind.NUMBER: 0, Kind.BOOL: False, Kind.SEVERITY: "DEFAULT", Kind.DURATION: "0s",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Field:
    path: tuple[str, ...]
    kind: Kind
    may_lack: bool

    def is_present(self, entry: Entry) -> bool:
        """``field:*``."""
        return next(_values(entry, self.path), None) is not None

    def satisfies(self, holds: Callable[[Any], bool], entry: Entry) -> bool:
        """Whether any of the field's values (several, below a list) holds."""
        found = False
        for value in _values(entry, self.path):
            found = True
            if holds(value):
                return True
        if found or self.may_lack or self.kind not in _DEFAULTS:
            return False
        return holds(_DEFAULTS[self.kind])


def _values(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """What stands at a path; a list on the way, or at its end, stands for each of its elements."""
    if isinstance(value, list):
        for element in value:
            yield from _values(element, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _values(value[path[0]], path[1:])


class _NoSuchComparisonError(ValueError):
    """An operator that the field's type does not have."""


_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
}


def _comparer(kind: Kind, operator: str, text: str) -> Callable[[Any], bool]:
    """The test of one value against the filter's.

    Raises:
        _NoSuchComparisonError: for an operator that the type lacks.
        ValueError: for a value that is none of the type's.
    """
    if operator in ("=~", "!~"):
        if kind not in (Kind.TEXT, Kind.OPEN):
            raise _NoSuchComparisonError(f"{operator} compares text, this field is a {kind.value}")
        return partial(_fits_pattern, _pattern(text), operator == "=~")
    if kind is Kind.OPEN:
        return partial(_open_holds, operator, text)
    if kind is Kind.TEXT:
        return partial(_text_holds, operator, text.casefold())
    if kind is Kind.BOOL and operator not in ("=", "!=", ":"):
        raise _NoSuchComparisonError(f"{operator} does not compare a bool")
    read = _READERS[kind]
    return partial(_ordered_holds, _ORDER["=" if operator == ":" else operator], read, read(text))


def _fits_pattern(pattern: re.Pattern[str], wanted: bool, value: Any) -> bool:
    return isinstance(value, str) and (pattern.search(value) is not None) is wanted


def _text_holds(operator: str, wanted: str, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if operator == ":":
        return wanted in value.casefold()
    return _ORDER[operator](value.casefold(), wanted)


def _ordered_holds(
    compare: Callable[[Any, Any], bool], read: Callable[[Any], Any], wanted: Any, value: Any
) -> bool:
    try:
        return compare(read(value), wanted)
    except ValueError:
        return False


def _open_holds(operator: str, text: str, value: Any) -> bool:
    """Compare a JSON value: the filter's value is read as its type; ``:`` also looks into objects."""
    if isinstance(value, Mapping | list):
        inner = value.values() if isinstance(value, Mapping) else value
        named = isinstance(value, Mapping) and any(text.casefold() == str(key).casefold() for key in value)
        return operator == ":" and (named or any(_open_holds(operator, text, one) for one in inner))
    if isinstance(value, str):
        return _text_holds(operator, text.casefold(), value)
    compare = _ORDER["=" if operator == ":" else operator]
    if isinstance(value, bool):
        if operator not in ("=", "!=", ":"):
            return False
        return _unless_unreadable(_bool, text, partial(compare, value))
    if isinstance(value, int | float):
        return _unless_unreadable(_number, text, partial(compare, value))
    return False


def _unless_unreadable(read: Callable[[Any], Any], text: str, holds: Callable[[Any], bool]) -> bool:
    try:
        wanted = read(text)
    except ValueError:
        return False
    return holds(wanted)


_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DURATION: Final = re.compile(r"(-?\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_DURATION_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_LOOKS_AROUND: Final = re.compile(r"\(\?(?:[=!]|<[=!]|P=|\()|\\[1-9]")


def _number(value: Any) -> float | int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise ValueError(f"{value!r} is no number")
    return int(value) if value.lstrip("+-").isdecimal() else float(value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.casefold() not in ("true", "false"):
        raise ValueError(f"{value!r} is neither true nor false")
    return value.casefold() == "true"


def _severity(value: Any) -> int:
    if isinstance(value, str) and value.upper() in SEVERITIES:
        return SEVERITIES[value.upper()]
    try:
        return int(_number(value))
    except ValueError:
        raise ValueError(f"{value!r} is no severity; they are {', '.join(SEVERITIES)}") from None


def _timestamp(value: Any) -> datetime:
    """A moment; a date alone is its midnight in UTC."""
    if isinstance(value, str):
        if _DATE.fullmatch(value):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        if _MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    raise ValueError(f"{value!r} is no RFC 3339 timestamp")


def _duration(value: Any) -> float:
    """Seconds."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no duration, such as 1.5s or 20ms")
    return float(found[1]) * _DURATION_SECONDS[found[2]]


def _pattern(text: str) -> re.Pattern[str]:
    """A regular expression; what RE2 lacks is refused."""
    lacking = _LOOKS_AROUND.search(text)
    if lacking is not None:
        raise ValueError(f"RE2 has no {lacking.group()!r}")
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None


_READERS: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.NUMBER: _number,
    Kind.BOOL: _bool,
    Kind.SEVERITY: _severity,
    Kind.TIMESTAMP: _timestamp,
    Kind.DURATION: _duration,
}
