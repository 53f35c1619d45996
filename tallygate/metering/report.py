"""One run of the usage reporter: survey, note what can't be usage, seal, send, and say what was done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from google.api_core.exceptions import GoogleAPIError

from tallygate.appdb import Database, DatabaseUnavailableError
from tallygate.clock import Clock
from tallygate.leases import Lease
from tallygate.logs import emit
from tallygate.metering.after_close import AfterClosePolicy, LateUsage
from tallygate.metering.archive import ArchivedLine
from tallygate.metering.fence import FenceError
from tallygate.metering.one_off import OneOffInvoices
from tallygate.metering.rating import PriceRow, rate, unpriced_usage
from tallygate.metering.reach import note_reach, reach
from tallygate.metering.refusals import note_refusals
from tallygate.metering.restoring import restore
from tallygate.metering.seal import Sealed, Survey, note_rejects, seal, stopped_buckets, survey
from tallygate.metering.send import LedgerWriteError, Sender, SendPolicy, SendResult
from tallygate.metering.sinks import UsageSink
from tallygate.metering.warehouse import JobRunningError, Warehouse
from tallygate.metering.window import Window
from tallygate.schemas import ConfigurationError
from tallygate.secrets import SecretMissingError

JOB: Final = "usage_reporter"
LEASE_DURATION: Final = timedelta(minutes=10)
"""Longer than a run may take; a run that dies blocks its followers for no longer than that."""
SEAL_MARGIN: Final = timedelta(minutes=10)
"""Usage is booked late when its period's invoice closes so soon that sending may miss it."""
_LOOKS_AT_LATE_USAGE: Final = frozenset({"daily", "range"})
"""Late usage is of any age: it takes a look at the whole ledger."""
_STOPS: Final = frozenset({"credentials", "collision", "sink_unavailable"})
"""Reasons to give up sending that a caller must hear of."""
_TRY_AGAIN: Final = (
    FenceError,
    JobRunningError,
    LedgerWriteError,
    GoogleAPIError,
    DatabaseUnavailableError,
    SecretMissingError,
    ConfigurationError,
)


@dataclass(frozen=True, slots=True)
class Reporter:
    """What a run works with."""

    warehouse: Callable[[], Warehouse]
    """Makes one for a run."""
    sink: Callable[[], UsageSink]
    """Called when something is to be sent: reads the key then."""
    database: Database
    clock: Clock
    invoice_grace: timedelta
    policy: SendPolicy | None = None
    """None: the defaults with ``invoice_grace``."""
    invoices: Callable[[], OneOffInvoices] | None = None
    """Called when late usage is looked at: reads the key then. None: the sink makes no invoices."""
    after_close: AfterClosePolicy = field(default_factory=AfterClosePolicy)

    @property
    def sending(self) -> SendPolicy:
        """The limits of a run's sending."""
        return self.policy or SendPolicy(closes_after=self.invoice_grace)


def send_policy(invoice_grace: timedelta, invoice_hold: timedelta) -> SendPolicy:
    """The defaults, for drafts that are held: they take usage until shortly before the hold ends."""
    return SendPolicy(closes_after=max(invoice_grace, invoice_hold - SEAL_MARGIN))


@dataclass(slots=True)
class Run:
    """One run and what it has done so far."""

    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.monotonic)
    rated: int = 0
    sealed: int = 0
    sent: int = 0
    duplicates: int = 0
    parked: int = 0
    rejected: int = 0
    held: int = 0
    one_off: int = 0
    """Rows put on one-off invoices."""
    backlog: int = 0
    rejected_lines: int = 0
    stopped_buckets: int = 0
    postponed: int = 0
    """Rows that were left unsealed because enough of them wait to be sent."""
    oldest_unsent_seconds: int = 0
    skipped: bool = False
    error: str | None = None

    def answer(self) -> dict[str, Any]:
        """The function's answer."""
        counts = (
            "run_id",
            "sealed",
            "sent",
            "parked",
            "rejected",
            "one_off",
            "backlog",
            "rejected_lines",
            "stopped_buckets",
            "postponed",
            "rated",
        )
        answer = {name: getattr(self, name) for name in counts}
        if self.skipped:
            answer["skipped"] = True
        if self.error is not None:
            answer["error"] = self.error
        return answer


def report(reporter: Reporter, window: Window, prices: Sequence[PriceRow] = ()) -> Run:
    """Carry out one run and write its summary line. A run with ``error`` set wants to be called again.

    ``prices``: those of the window's price version; usage without a price is given them before it is sealed.
    """
    run = Run()
    lease = Lease(reporter.database, reporter.clock, JOB, run.run_id, LEASE_DURATION)
    warehouse = reporter.warehouse()
    try:
        if window.dry_run:
            _rehearse(warehouse, reporter, window, prices, run)
        elif not lease.acquire():
            run.skipped = True
        else:
            try:
                _work(warehouse, reporter, window, prices, run, lease)
            finally:
                lease.release()
    except _TRY_AGAIN as error:
        run.error = f"{type(error).__name__}: {error}"
    _summarise(run, window, warehouse.jobs)
    return run


def take_over(reporter: Reporter, lines: Sequence[ArchivedLine]) -> dict[str, Any]:
    """Take lines over from the archive; the answer, with ``error`` when the caller is to ask again."""
    run_id, warehouse = uuid.uuid4().hex, reporter.warehouse()
    answer: dict[str, Any] = {"run_id": run_id}
    try:
        answer["restored"] = restore(warehouse, lines, now=reporter.clock.now(), run_id=run_id)
    except _TRY_AGAIN as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    if "error" not in answer:
        emit("usage_restored", job=JOB, lines=len(lines), **answer)
    return answer


def _rehearse(
    warehouse: Warehouse, reporter: Reporter, window: Window, prices: Sequence[PriceRow], run: Run
) -> None:
    """Only look: what would be rated, sealed without that, noted and sent."""
    now, closes_after = reporter.clock.now(), reporter.invoice_grace - SEAL_MARGIN
    seen = survey(warehouse, window, now, closes_after)
    run.sealed, run.rejected_lines = seen.unsealed_buckets, seen.new_rejects
    run.stopped_buckets, run.backlog = seen.stopped_buckets, seen.unsent
    if prices:
        run.rated = sum(row["requests"] for row in unpriced_usage(warehouse, window, prices))


def _work(
    warehouse: Warehouse,
    reporter: Reporter,
    window: Window,
    prices: Sequence[PriceRow],
    run: Run,
    lease: Lease,
) -> None:
    now, closes_after = reporter.clock.now(), reporter.invoice_grace - SEAL_MARGIN

    def look() -> Survey:
        return survey(warehouse, window, now, closes_after, whole=True)

    run.rejected = note_refusals(reporter.database, warehouse, now)
    note_reach(reporter.database, window.start, now)
    if window.depth == "daily":  # what no other run finds any more
        since = reach(reporter.database, window.unsent_since, now)
        window = replace(window, unsent_since=since)
    seen = survey(warehouse, window, now, closes_after)
    run.rejected_lines = note_rejects(warehouse, window, seen, now)
    if prices:
        epoch = seen.ledger_epoch
        run.rated = rate(warehouse, window, prices, ledger_epoch=epoch, now=now, run_id=run.run_id)
        seen = survey(warehouse, window, now, closes_after)
    try:
        if window.depth == "recent" and seen.unsent >= reporter.sending.enough_rows:
            run.postponed = seen.unsealed_buckets
            done = Sealed(0, 0, seen.stopped_buckets, seen)
        else:
            done = seal(warehouse, window, seen, now, closes_after=closes_after, look_again=look)
    except (FenceError, JobRunningError) as error:  # what is sealed already is sent all the same
        run.error = f"{type(error).__name__}: {error}"
        done = Sealed(0, 0, seen.stopped_buckets, seen)
    run.sealed, run.stopped_buckets = done.rows, done.stopped_buckets
    if done.stopped_buckets:
        _tell_stopped(stopped_buckets(warehouse, window, now, closes_after), run)
    if done.rows or done.survey.unsent:
        _send(warehouse, reporter, window, run, lease, done)
    if reporter.invoices is not None and window.depth in _LOOKS_AT_LATE_USAGE:
        _bill_late_usage(warehouse, reporter, window, run, lease)


def _send(
    warehouse: Warehouse, reporter: Reporter, window: Window, run: Run, lease: Lease, done: Sealed
) -> None:
    sender = Sender(
        warehouse,
        reporter.sink(),
        run_id=run.run_id,
        now=reporter.clock.now,
        policy=reporter.sending,
        still_leased=lease.acquire,
    )
    result = sender.run(window, unsent=done.survey.unsent, seal_number=done.seal_number)
    run.sent, run.duplicates, run.held = result.sent, result.duplicates, result.held
    run.parked = result.parked + result.parked_by_seal
    run.rejected, run.backlog = run.rejected + result.rejected, result.backlog
    run.oldest_unsent_seconds = result.oldest_unsent_seconds
    _tell_send(result, run)


def _bill_late_usage(
    warehouse: Warehouse, reporter: Reporter, window: Window, run: Run, lease: Lease
) -> None:
    assert reporter.invoices is not None
    late = LateUsage(
        warehouse,
        reporter.invoices(),
        run_id=run.run_id,
        now=reporter.clock.now,
        closes_after=reporter.invoice_grace - SEAL_MARGIN,
        policy=reporter.after_close,
        still_leased=lease.acquire,
        tenant_id=window.tenant_id,
    )
    result = late.run()
    run.sealed, run.one_off = run.sealed + result.sealed, result.one_off
    run.parked, run.rejected = run.parked + result.parked, run.rejected + result.rejected
    run.backlog += result.backlog
    if result.denied:
        emit("sending_stopped", "ERROR", job=JOB, run_id=run.run_id, reason="credentials")
        run.error = run.error or "one-off invoices: Stripe refuses the key"


def _tell_stopped(buckets: list[dict[str, Any]], run: Run) -> None:
    for bucket in buckets:
        hour = bucket.pop("usage_hour").isoformat()
        emit("sealing_stopped", "ERROR", job=JOB, run_id=run.run_id, usage_hour=hour, **bucket)


def _tell_send(result: SendResult, run: Run) -> None:
    for meter in result.closed_meters:
        emit("meter_closed", "ERROR", job=JOB, run_id=run.run_id, meter=meter)
    if result.stopped is None:
        return
    emit("sending_stopped", "ERROR", job=JOB, run_id=run.run_id, reason=result.stopped)
    if result.stopped in _STOPS:
        run.error = run.error or f"sending stopped: {result.stopped}"


def _summarise(run: Run, window: Window, jobs: int) -> None:
    emit(
        "job_run",
        "ERROR" if run.error else "INFO",
        job=JOB,
        outcome="failed" if run.error else "skipped" if run.skipped else "done",
        depth=window.depth,
        dry_run=window.dry_run,
        duration_ms=int((time.monotonic() - run.started) * 1000),
        oldest_unsent_seconds=run.oldest_unsent_seconds,
        duplicates=run.duplicates,
        held=run.held,
        bigquery_jobs=jobs,
        **run.answer(),
    )
