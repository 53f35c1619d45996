"""The page says which rights each Stripe key needs, and the code asks for no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from sandbox.layout import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "security.md"
PACKAGE: Final = REPOSITORY / "tallygate"
OPERATORS: Final = ("changing", "checkout", "connecting", "portal", "prices", "publishing")
"""Modules of ``subscriptions`` that only commands call, or the sandbox."""
SHARED: Final = PACKAGE / "subscriptions" / "moving.py"
"""Commands plan moves, the sync ends them."""
READ_BY_BOTH: Final = PACKAGE / "reconciliation" / "books.py"
"""Commands read invoices by it; what it writes are repairs, which the reconciler carries out."""
READS: Final = {"list", "retrieve"}


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """What a file calls of Stripe's API through the SDK: resource and method."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        names, part = [], node.func
        while isinstance(part, ast.Attribute):
            names.append(part.attr)
            part = part.value
        names.reverse()
        for version in ("v1", "v2"):
            if version in names[:-2]:
                yield ".".join(names[names.index(version) + 1 : -1]), names[-1]


def rights(called: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What calls need, by resource: ``read`` or ``write``, which includes reading."""
    found: dict[str, str] = {}
    for resource, method in called:
        if method not in READS or resource not in found:
            found[resource] = "read" if method in READS else "write"
    return found


def is_operators(path: Path) -> bool:
    return path.parent.name == "cli" or (path.parent.name == "subscriptions" and path.stem in OPERATORS)


def test_the_page_lists_the_rights_that_the_code_needs() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    functions = rights(call for path in files if not is_operators(path) for call in calls(path))
    theirs = [call for path in files if is_operators(path) or path == SHARED for call in calls(path)]
    operators = rights([*theirs, *(call for call in calls(READ_BY_BOTH) if call[1] in READS)])
    expected = {
        resource: (functions.get(resource, "none"), operators.get(resource, "none"))
        for resource in sorted(functions.keys() | operators.keys())
    }

    rows = re.findall(
        r"^\| `([a-z_.]+)` \| (none|read|write) \| (none|read|write) \|$", PAGE.read_text(), re.M
    )
    told = {resource: (function, operator) for resource, function, operator in rows}

    table = "\n".join(f"| `{name}` | {one} | {other} |" for name, (one, other) in expected.items())
    assert told == expected, f"{PAGE} should have:\n{table}"


def test_calls_are_found_where_there_are_some() -> None:
    assert rights(calls(PACKAGE / "subscriptions" / "connecting.py")) == {"core.event_destinations": "write"}
