"""The file that a benchmark writes: each suite replaces only its own key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sandbox.layout import REPOSITORY

RESULT_PATH = REPOSITORY / ".sandbox" / "bench.json"


def write_result(suite: str, numbers: dict[str, Any], path: Path = RESULT_PATH) -> None:
    """Put a suite's numbers into the file, whole or not at all, beside the other suites'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        content = {}
    content[suite] = numbers
    content["cpu_count"] = os.cpu_count()
    written = path.with_suffix(".tmp")
    written.write_text(json.dumps(content, indent=2) + "\n")
    written.rename(path)
