"""Faults of the SQLite app database, in a file beside it: they reach every process that has it open.

The file is absent outside tests and sandboxes. It holds a JSON list of armed faults, each with ``kind``
(``outage`` or ``latency``), ``count`` or ``rate``, ``seed``, ``match`` (an optional ``collection``),
``seconds`` of a latency, and the running ``draws`` and ``injected``.
"""

from __future__ import annotations

import fcntl
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

KINDS: Final = frozenset({"outage", "latency"})
DEFAULT_LATENCY_SECONDS: Final = 0.05
"""An app database in another region; a fault's ``seconds`` overrides it."""


def faults_path(database: Path) -> Path:
    """Where the faults of a database file are kept."""
    return database.with_name(database.name + ".faults")


def arm(path: Path, fault: Mapping[str, Any]) -> None:
    """Add a fault to the file, making it if needed."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        faults = _read(file)
        _write(file, [*faults, {**fault, "draws": 0, "injected": 0}])


def armed(path: Path) -> list[dict[str, Any]]:
    """All armed faults with what they have injected so far."""
    try:
        file = path.open("r")
    except FileNotFoundError:
        return []
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return _read(file)


def take(path: Path, collection: str) -> list[dict[str, Any]]:
    """The faults that hit one operation on a collection, counted as injected."""
    try:
        file = path.open("r+")
    except FileNotFoundError:
        return []
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        faults = _read(file)
        hit = [fault for fault in faults if _fires(fault, collection)]
        if hit or any(fault["rate"] is not None for fault in faults):
            _write(file, faults)
        return hit


def _fires(fault: dict[str, Any], collection: str) -> bool:
    attributes = {"collection": collection}
    if any(attributes.get(name) != wanted for name, wanted in fault["match"].items()):
        return False
    if fault["count"] is not None and fault["injected"] >= fault["count"]:
        return False
    if fault["rate"] is not None:
        fault["draws"] += 1
        if random.Random(f"{fault['seed']}:{fault['draws']}").random() >= fault["rate"]:  # noqa: S311 - a seeded fault
            return False
    fault["injected"] += 1
    return True


def _read(file: Any) -> list[dict[str, Any]]:
    file.seek(0)
    faults: list[dict[str, Any]] = json.loads(file.read() or "[]")
    return faults


def _write(file: Any, faults: Sequence[Mapping[str, Any]]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(faults))
    file.flush()
