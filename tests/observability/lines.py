"""Real lines of the proxy and the functions, made by the code that writes them, as log entries.

Only :func:`platform_failure` and the audit entries come from documentation: no code of ours writes them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from proxy.errors import ApiError
from proxy.gateway import Gateway
from proxy.output import Lines, _log_exception, _Redacting
from sandbox.router.entries import LogEntry, Origin, entry_of_output
from tallygate.logs import emit
from tallygate.metering.report import Run, _summarise
from tallygate.metering.window import window_from
from tallygate.reconciliation import reconcile
from tallygate.records import AdmitLine, UsageEvent
from tallygate.subscriptions import sync
from tests.observability.places import PROJECT, SERVICE

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
USAGE: Final = UsageEvent(
    request_id="r1",
    tenant_id="acme",
    key_id="k1",
    model="gpt-4o",
    served_model="gpt-4o",
    provider_model="gpt-4o-2024",
    input_tokens=7,
    output_tokens=3,
    total_tokens=10,
    cost_usd="0.0000475",
    cost_nano_usd=47_500,
    price_version="v1",
    latency_ms=900,
    added_latency_ms=12,
    time_to_first_token_ms=300,
    status="success",
    http_status=200,
    attempts=1,
    stream=True,
    endpoint="chat/completions",
    timestamp=NOW,
    stream_id="s1",
    seq=2,
)
SERVICES: Final = {
    "usage_reporter": "tallygate-usage-reporter",
    "usage_reconciler": "tallygate-usage-reconciler",
    "stripe_sync": "tallygate-stripe-sync",
    "stripe_webhook": "tallygate-stripe-webhook",
}
"""The functions' services, as the module's input ``names`` has them by default."""


def entry(line: dict[str, Any] | bytes, *, log: str = "stdout", service: str = SERVICE) -> LogEntry:
    """A line as Cloud Logging keeps it: by the sandbox's own agent."""
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    made = entry_of_output(data, Origin(PROJECT, log, "i1"), "minted", NOW)
    made["resource"]["labels"] |= {"service_name": service, "configuration_name": service}
    return made


def usage(**changes: Any) -> LogEntry:
    """A usage event."""
    return entry(replace(USAGE, **changes).to_wire())


def failure(error_type: str, http_status: int = 500, **changes: Any) -> LogEntry:
    """The usage event of a failed request, which no model served."""
    nothing: dict[str, Any] = {
        "served_model": None, "provider_model": None, "price_version": None,
        "input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "cost_nano_usd": 0, "cost_usd": "0",
    }  # fmt: skip
    return usage(
        **nothing | {"status": "failure", "error_type": error_type, "http_status": http_status} | changes
    )


def admit() -> LogEntry:
    """An admit line."""
    line = AdmitLine(
        request_id="r1", tenant_id="acme", model="gpt-4o", endpoint="messages", stream_id="s1", seq=1,
        timestamp=NOW,
    )  # fmt: skip
    return entry(line.to_wire())


def from_function(function: str, capsys: pytest.CaptureFixture[str], write: Callable[[], None]) -> LogEntry:
    """The one line that a function's code writes on stdout."""
    capsys.readouterr()
    write()
    (line,) = capsys.readouterr().out.splitlines()
    return entry(line.encode(), service=SERVICES[function])


def reporter_run(
    capsys: pytest.CaptureFixture[str], *, depth: str = "recent", dry_run: bool = False, **changes: Any
) -> LogEntry:
    """The summary line of a run of the usage reporter."""
    window = window_from({"depth": depth, "dry_run": dry_run}, NOW)
    run = Run(**changes)
    return from_function("usage_reporter", capsys, lambda: _summarise(run, window, 3))


def sync_run(capsys: pytest.CaptureFixture[str], *, depth: Any = "recent", **changes: Any) -> LogEntry:
    """The summary line of a run of the sync."""
    run = sync.Run(**changes)
    return from_function("stripe_sync", capsys, lambda: sync._summarise(run, depth))


def reconciler_run(capsys: pytest.CaptureFixture[str], *, depth: str = "recent", **changes: Any) -> LogEntry:
    """The summary line of a run of the reconciler."""
    run = reconcile.Run(**changes)
    return from_function("usage_reconciler", capsys, lambda: reconcile._summarise(run, depth, 3))


def event_line(
    function: str, capsys: pytest.CaptureFixture[str], event: str, severity: Any = "ERROR", **fields: Any
) -> LogEntry:
    """A line of a function by ``emit``, with the fields that its caller gives."""
    return from_function(function, capsys, lambda: emit(event, severity, **fields))


def proxy_log(folder: Path, speak: Callable[[], None]) -> LogEntry:
    """The one line on stderr that comes of what ``speak`` logs, through the proxy's own handler."""

    def write(lines: Lines) -> None:
        handler, root = _Redacting(lines), logging.getLogger()
        root.addHandler(handler)
        try:
            speak()
        finally:
            root.removeHandler(handler)

    return _stderr(folder, write)


def warned(folder: Path, event: str, **fields: Any) -> LogEntry:
    """What the limits say of a tenant on stderr, with the fields that ``proxy/limits/gate.py`` gives."""
    speak = logging.getLogger("tallygate.limits").warning
    return proxy_log(folder, lambda: speak(event, extra={"fields": {"event": event, **fields}}))


def spend_lost(folder: Path) -> LogEntry:
    """What an ending instance says of spend that it could not write."""
    return warned(folder, "spend_lost", tenant_id="acme", nano_usd=5)


def crash(folder: Path) -> LogEntry:
    """What the proxy writes of an exception that nothing caught."""
    return _stderr(folder, lambda lines: _log_exception(lines, KeyError, None))


def request_failed(folder: Path) -> LogEntry:
    """What the gateway writes when keys can't be checked: by a request through it."""

    class Unreachable:
        async def authenticate(self, _: Any) -> Any:
            raise ApiError(503, "database_unavailable", "try again")

    missing: Any = None
    gateway = Gateway(missing, "", missing, Unreachable(), missing, missing, 1000)  # type: ignore[arg-type]

    async def nothing(*_: Any) -> Any:
        return None

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    return proxy_log(folder, lambda: asyncio.run(gateway(scope, nothing, nothing)))


def _stderr(folder: Path, write: Callable[[Lines], None]) -> LogEntry:
    path = folder / "stderr"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        write(Lines(descriptor))
    finally:
        os.close(descriptor)
    (line,) = path.read_bytes().splitlines()
    return entry(line, log="stderr")


def request_log(status: int, text: str | None = None) -> LogEntry:
    """An entry of the platform's request log; ``text`` is what the platform says when it answered itself.

    Source: https://cloud.google.com/run/docs/troubleshooting (assumed: the text is the entry's textPayload).
    """
    made: LogEntry = {
        "logName": f"projects/{PROJECT}/logs/run.googleapis.com%2Frequests",
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": SERVICE}},
        "httpRequest": {"status": status, "requestMethod": "POST"},
        "severity": "WARNING",
        "timestamp": "2026-03-01T12:00:00Z",
    }
    return made if text is None else {**made, "textPayload": text}
