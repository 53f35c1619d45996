"""Keeps the streams clean: stdout carries usage events and admit lines, nothing else.

The real stdout is taken away from everything else in the process, so that no text from a request, a
provider or a library can stand where the log sinks look for usage events. What libraries log or print may
hold prompts, completions and keys; of it only where it came from reaches stderr, never its text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

SPEAKING_LOGGERS: Final = frozenset({"tallygate", "uvicorn"})
"""Only what these say is written as it is said: the server's words name ports and tasks, never a request."""
_SEVERITIES: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}


class Lines:
    """Writes JSON lines to a descriptor, each whole."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def write(self, line: Mapping[str, Any]) -> None:
        """Write one line; returns when the kernel has all of it."""
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


def claim() -> tuple[Lines, Lines]:
    """Take stdout and stderr; from now on everything else that prints is only counted.

    Returns the lines of the real stdout and of the real stderr. Call it once, before LiteLLM is imported.
    """
    stdout, stderr = Lines(os.dup(1)), Lines(os.dup(2))
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_count_prints, args=(reading, stderr), daemon=True).start()
    logging.basicConfig(handlers=[_Redacting(stderr)], level=logging.WARNING, force=True)
    logging.getLogger("tallygate").setLevel(logging.INFO)
    sys.excepthook = lambda kind, error, tb: _log_exception(stderr, kind, tb)
    threading.excepthook = lambda args: _log_exception(stderr, args.exc_type, args.exc_traceback)
    return stdout, stderr


def take_over_loggers() -> None:
    """Send what libraries log, through handlers that they made at import, to the redacting one."""
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True


class _Redacting(logging.Handler):
    """Own records as they are; of a library's its origin, level and exception type."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        severity = _SEVERITIES.get(record.levelname, record.levelname)
        line: dict[str, Any] = {"severity": severity, "logger": record.name}
        if record.name.split(".")[0] in SPEAKING_LOGGERS:
            line |= {"message": record.getMessage(), **getattr(record, "fields", {})}
        else:
            line |= {"event": "library_log", "at": f"{record.module}:{record.lineno}"}
        if isinstance(record.exc_info, tuple) and record.exc_info[0]:
            line |= _origin(record.exc_info[0], record.exc_info[2])
        self._lines.write(line)


def _count_prints(descriptor: int, lines: Lines) -> None:
    while data := os.read(descriptor, 65536):
        lines.write({"severity": "INFO", "event": "library_print", "bytes": len(data)})


def _log_exception(lines: Lines, kind: type[BaseException], tb: TracebackType | None) -> None:
    lines.write({"severity": "CRITICAL", "event": "unhandled_exception", **_origin(kind, tb)})


def _origin(kind: type[BaseException], tb: TracebackType | None) -> dict[str, Any]:
    """An exception without its text: its type and the places it passed."""
    frames = traceback.extract_tb(tb)[-8:] if tb else []
    places = [f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return {"exception": kind.__name__, "frames": places}
