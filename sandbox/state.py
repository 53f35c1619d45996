"""The file that tells other tools about a running sandbox: ``state.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

SCHEMA_VERSION: Final = 1


class NotRunningError(Exception):
    """No sandbox runs there: start one with ``make sandbox``."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the file in one step, readable by its owner only (it holds API keys)."""
    scratch = path.with_suffix(".json.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)  # a scratch file left behind keeps the mode it had
        json.dump({"schema_version": SCHEMA_VERSION, **state}, file, indent=2)
        file.write("\n")
    scratch.replace(path)


def read_state(path: Path) -> dict[str, Any]:
    """What a running sandbox says of itself.

    Raises:
        NotRunningError: when there is none.
    """
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise NotRunningError(f"{path} is missing: start a sandbox with 'make sandbox'") from None
    return state
