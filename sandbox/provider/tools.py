"""Calls of a request's tools: which tool an answer calls, and with which arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_DEFAULT_ARGUMENT: Final = "text"
_SAMPLES: Final[Mapping[str, Any]] = {
    "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call whose arguments are JSON: ``before``, the answer's words, ``after``."""

    name: str
    before: str
    after: str

    def arguments(self, text: str) -> str:
        """The arguments as JSON."""
        return f"{self.before}{text}{self.after}"

    def pieces(self, groups: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
        """The arguments in portions, with the tokens of each."""
        middle = [("".join(group), len(group)) for group in groups]
        return [(self.before, 0), *middle, (self.after, 0)]


def tool_call(name: str, parameters: Any) -> ToolCall:
    """A call with the words in its first string parameter and something fitting in each required one."""
    schema = parameters if isinstance(parameters, Mapping) else {}
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    texts = [key for key, value in properties.items() if _is_text(value)]
    others = {
        key: _sample(properties.get(key)) for key in schema.get("required") or () if key not in texts[:1]
    }
    argument = texts[0] if texts else _DEFAULT_ARGUMENT
    before = "".join(f"{json.dumps(key)}: {json.dumps(value)}, " for key, value in others.items())
    return ToolCall(name, f'{{{before}{json.dumps(argument)}: "', '"}')


def _is_text(schema: Any) -> bool:
    return _type(schema) == "string" and not (isinstance(schema, Mapping) and "enum" in schema)


def _sample(schema: Any) -> Any:
    if isinstance(schema, Mapping) and schema.get("enum"):
        return schema["enum"][0]
    return _SAMPLES.get(_type(schema), "")


def _type(schema: Any) -> str:
    found = schema.get("type") if isinstance(schema, Mapping) else None
    return found if isinstance(found, str) else "string"
