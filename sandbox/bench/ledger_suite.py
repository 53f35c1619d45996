"""The ledger suite: how fast raw usage is sealed, in how much memory, and how many calls reach Stripe.

Usage is put into the raw table beforehand; measured is one run of the reporter on it, with the unmodified
client against the façade in a process of its own.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Final

from google.cloud import bigquery

from sandbox.bench import explain_suite
from sandbox.bench.warehouse import (
    DUPLICATES,
    JOB_SECONDS,
    TENANTS,
    TOKENS,
    Usage,
    WrongSumError,
    facade,
    load,
)
from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID
from sandbox.warehouse import create_warehouse
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock
from tallygate.metering.report import Reporter, Run, report
from tallygate.metering.send import SendPolicy
from tallygate.metering.sinks import Answer, MeterEvent, UsageSink, Verdict
from tallygate.metering.warehouse import Warehouse
from tallygate.metering.window import window_from

NOW: Final = datetime(2026, 3, 10, 23, 59, tzinfo=UTC)
GRACE: Final = timedelta(hours=1)
MULTIPLES: Final = (1, 10, 100)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    events: int = 1_000_000
    large: int = 0
    """More events, to see that time grows no faster than they do; 0: not looked at."""
    requests: int = 2000
    """Of the 5 minutes whose calls to Stripe are counted, before it is multiplied."""
    explained: int = 1_000_000
    """Requests of the invoice line that is explained; 0: not looked at."""


@dataclass(slots=True)
class _CountingSink:
    """Takes everything, and counts the calls."""

    calls: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        with self._lock:
            self.calls += 1
        return Answer(Verdict.ACCEPTED)


@dataclass(frozen=True, slots=True)
class _Sealed:
    seconds: float
    rss_mib: int
    rows: int
    calls: int


def run(say: Callable[[str], None], size: Size | None = None) -> dict[str, Any]:
    """Measure; the numbers as ``bench.json`` holds them.

    Raises:
        WrongSumError: when the sealed sums are wrong.
    """
    size = size or Size()
    day = NOW.replace(hour=0, minute=0)
    sealed = _measured(Usage(size.events, day, 24 * 3600 - 60), send=False)
    rate = size.events / sealed.seconds
    say(
        f"{size.events:,} events, {size.events // DUPLICATES:,} of them twice: "
        f"sealed into {sealed.rows:,} rows in {sealed.seconds:.1f} s, {rate:,.0f} events/s, "
        f"peak {sealed.rss_mib} MiB"
    )
    if size.large:
        more = _measured(Usage(size.large, day, 24 * 3600 - 60), send=False)
        say(
            f"{size.large:,} events: {more.seconds:.1f} s, {size.large / more.seconds:,.0f} events/s, "
            f"peak {more.rss_mib} MiB; time × {more.seconds / sealed.seconds:.1f} for events × "
            f"{size.large / size.events:.0f}"
        )
    if size.explained:
        explained = explain_suite.run(size.explained)
        say(f"an invoice line of {size.explained:,} requests: explained in {explained.sums_seconds:.1f} s")
    calls = {}
    for multiple in MULTIPLES:
        five_minutes = Usage(size.requests * multiple, NOW - timedelta(minutes=6), 300)
        calls[str(multiple)] = _measured(five_minutes, send=True).calls
        say(
            f"{five_minutes.events:,} requests of {TENANTS:,} tenants in 5 minutes: "
            f"{calls[str(multiple)]:,} calls of Stripe"
        )
    return {
        "events": size.events,
        "events_per_second": round(rate),
        "peak_rss_mib": sealed.rss_mib,
        "stripe_calls": calls,
    }


def _measured(usage: Usage, *, send: bool) -> _Sealed:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "bigquery"
        with facade(state) as (client, _):
            create_warehouse(client, PROJECT_ID, DATASET_RAW, DATASET_LEDGER)
            errors = client.insert_rows_json(f"{PROJECT_ID}.{DATASET_LEDGER}.billing_segments", _segments())
            if errors:
                raise WrongSumError(f"billing segments were refused: {errors}")
            _report(client, Path(folder), _CountingSink(), send=False)  # names the ledger, once for all
        load(state, usage)
        with facade(state) as (client, process):
            return _sealed(client, process, Path(folder), usage, send=send)


def _sealed(
    client: bigquery.Client, process: subprocess.Popen[bytes], folder: Path, usage: Usage, *, send: bool
) -> _Sealed:
    sink = _CountingSink()
    started = time.monotonic()
    done = _report(client, folder, sink, send=send)
    seconds = time.monotonic() - started
    own_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rss_mib = own_mib + _peak_mib(process.pid)
    _check(client, usage)
    return _Sealed(seconds, rss_mib, done.sealed, sink.calls)


def _report(client: bigquery.Client, folder: Path, sink: UsageSink, *, send: bool) -> Run:
    """One run of the reporter; without ``send`` it seals only."""
    clock = FixedClock(NOW)
    database = SQLiteDatabase(folder / "app.sqlite3")
    reporter = Reporter(
        warehouse=lambda: Warehouse(client, DATASET_RAW, DATASET_LEDGER, job_seconds=JOB_SECONDS),
        sink=lambda: sink,
        database=database,
        clock=clock,
        invoice_grace=GRACE,
        policy=SendPolicy(closes_after=GRACE, row_limit=5000 if send else 0),
    )
    with redirect_stdout(StringIO()):  # its summary line is for Cloud Logging
        done = report(reporter, window_from({"depth": "hourly"}, clock.now()))
    database.close()
    if done.error:
        raise WrongSumError(done.error)
    return done


def _check(client: bigquery.Client, usage: Usage) -> None:
    """That every request was sealed once."""
    text = (
        f"SELECT d.meter, SUM(d.value) AS value FROM `{DATASET_LEDGER}.meter_deltas` AS d "  # noqa: S608
        "GROUP BY d.meter"
    )
    found = {row["meter"]: row["value"] for row in client.query_and_wait(text)}
    half = usage.events * TOKENS // 2
    wanted = {
        "llm_input_tokens": half,
        "llm_cached_input_tokens": half,
        "llm_output_tokens": usage.events * TOKENS,
    }
    if found != wanted:
        raise WrongSumError(f"sealed {found}, should be {wanted}")


def _peak_mib(pid: int) -> int:
    """Peak resident set size of another process. Source: proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


# --- what is put in ---------------------------------------------------------------------------


def _segments() -> list[dict[str, Any]]:
    """All tenants charge by tokens, for three meters."""
    return [
        {
            "segment_id": f"seg-{number}",
            "tenant_id": f"tenant-{number}",
            "stripe_customer": f"cus_{number}",
            "subscription_id": f"sub_{number}",
            "plan": "team",
            "charge_basis": "tokens",
            "items": [
                {"meter": f"llm_{name}_tokens", "subscription_item": f"si_{number}_{name}", "price": name}
                for name in ("input", "cached_input", "output")
            ],
            "period_start": "2026-03-01T00:00:00Z",
            "period_end": "2026-04-01T00:00:00Z",
            "valid_from": "2026-03-01T00:00:00Z",
            "valid_to": None,
            "known_at": "2026-03-01T00:00:00Z",
        }
        for number in range(TENANTS)
    ]
