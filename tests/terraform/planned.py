"""A plan as data: what would stand there after an apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

IAM_SUFFIXES = ("_iam_member", "_iam_binding")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource; a value that only an apply knows is absent or None."""

    address: str
    type: str
    values: Mapping[str, Any]

    @property
    def is_grant(self) -> bool:
        """Whether it gives somebody a role."""
        return self.type.endswith(IAM_SUFFIXES)

    def members(self) -> list[str]:
        """Who gets the role; empty while that is not known."""
        return [
            member for member in [self.values.get("member"), *(self.values.get("members") or [])] if member
        ]

    def block(self, *path: str) -> Mapping[str, Any]:
        """A nested block that there is at most one of; empty without it."""
        found: Any = self.values
        for name in path:
            inner = found.get(name) or []
            found = inner[0] if inner else {}
        return found if isinstance(found, Mapping) else {}


def resources(plan: Mapping[str, Any]) -> list[Resource]:
    """Everything that the plan's configuration declares."""
    return [
        Resource(change["address"], change["type"], change["change"]["after"])
        for change in plan["resource_changes"]
        if change["mode"] == "managed" and change["change"]["after"] is not None
    ]


def references(plan: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """By module path and resource without keys: which expressions each argument refers to."""

    def walk(module: Mapping[str, Any], path: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
        for entry in module.get("resources", []):
            yield (
                f"{path}{entry['address']}",
                {
                    name: expression.get("references", [])
                    for name, expression in entry.get("expressions", {}).items()
                    if isinstance(expression, dict)
                },
            )
        for name, call in module.get("module_calls", {}).items():
            yield from walk(call["module"], f"{path}module.{name}.")

    return dict(walk(plan["configuration"]["root_module"], ""))
