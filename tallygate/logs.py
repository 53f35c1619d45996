"""Structured logging of the functions: one JSON object a line, on stdout, as Cloud Logging reads it."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

Severity = Literal["INFO", "WARNING", "ERROR"]


def emit(event: str, severity: Severity = "INFO", **fields: Any) -> None:
    """Write one line. Fields are ids, counts and outcomes: never a prompt, a key or a header."""
    line = json.dumps({"event": event, "severity": severity, **fields}, default=str)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
