"""One run of the reconciler: look for losses, compare with the witnesses, repair what is safe, tell all."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from google.api_core.exceptions import GoogleAPIError

from tallygate.appdb import Database, DatabaseUnavailableError
from tallygate.clock import Clock
from tallygate.leases import Lease
from tallygate.logs import emit
from tallygate.metering.sinks import UsageSink
from tallygate.metering.warehouse import JobRunningError, Warehouse
from tallygate.reconciliation.books import StripeBooks
from tallygate.reconciliation.compare import Compared, Comparer
from tallygate.reconciliation.invoices import InvoicesCompared, compare_invoices
from tallygate.reconciliation.losses import Losses, find_losses
from tallygate.reconciliation.remedies import JOB, Workshop
from tallygate.reconciliation.results import LedgerWriteError
from tallygate.reconciliation.spending import Spending, compare_spending
from tallygate.reconciliation.summaries import StripeReadError, StripeSummaries
from tallygate.reconciliation.uninvoiced import find_uninvoiced
from tallygate.schemas import ConfigurationError
from tallygate.secrets import SecretMissingError

LEASE_DURATION: Final = timedelta(minutes=10)
DEPTHS: Final = {"recent": None, "hourly": timedelta(hours=48), "daily": timedelta(days=35)}
"""How far back a run compares with Stripe's summaries; ``recent`` looks for losses alone."""
DAILY: Final = "daily"
"""The depth at which final invoices are compared, and lines that came too late are looked for."""
NEWEST: Final = timedelta(hours=2)
"""Hours younger than that are not compared: their usage may still come."""
TRY_AGAIN: Final = (
    JobRunningError,
    LedgerWriteError,
    StripeReadError,
    GoogleAPIError,
    DatabaseUnavailableError,
    SecretMissingError,
    ConfigurationError,
)
"""What ends a run that wants to be called again."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """What a run works with."""

    warehouse: Callable[[], Warehouse]
    stripe: Callable[[], StripeSummaries] | None
    """Called when Stripe is to be read: reads the key then. None: usage goes elsewhere."""
    books: Callable[[], StripeBooks]
    """As ``stripe``."""
    sink: Callable[[], UsageSink]
    """Takes the meter events of approved repairs."""
    database: Database
    clock: Clock
    budget_seconds: float = 200.0

    def workshop(self, warehouse: Warehouse, run_id: str) -> Workshop:
        """What plans and carries out a run's repairs; only where there is a ``stripe``."""
        assert self.stripe is not None
        return Workshop(
            warehouse=warehouse,
            stripe=self.stripe(),
            books=self.books(),
            sink=self.sink(),
            database=self.database,
            now=self.clock.now,
            run_id=run_id,
        )


@dataclass(slots=True)
class Run:
    """One run and what it has done so far."""

    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.monotonic)
    losses: Losses = field(default_factory=Losses)
    spending: Spending = field(default_factory=Spending)
    compared: Compared = field(default_factory=Compared)
    invoices: InvoicesCompared = field(default_factory=InvoicesCompared)
    uninvoiced: int = 0
    """Meters of closed periods whose usage no invoice covers."""
    skipped: bool = False
    error: str | None = None

    def answer(self) -> dict[str, Any]:
        """The function's answer."""
        counts = asdict(self.compared)
        errors = counts.pop("errors")
        answer = {"run_id": self.run_id, **asdict(self.losses), **counts, **asdict(self.invoices)}
        answer["uninvoiced"] = self.uninvoiced
        answer["spend_hours"], answer["spend_missing"] = self.spending.hours, self.spending.missing
        if self.skipped:
            answer["skipped"] = True
        if self.error is not None or errors:
            answer["error"] = self.error or "; ".join(errors[:3])
        return answer


def reconcile(reconciler: Reconciler, depth: str) -> Run:
    """Carry out one run of a depth of :data:`DEPTHS` and write its summary line.

    A run with ``error`` set wants to be called again; what it did before is done.
    """
    run = Run()
    lease = Lease(reconciler.database, reconciler.clock, JOB, run.run_id, LEASE_DURATION)
    warehouse = reconciler.warehouse()
    try:
        if not lease.acquire():
            run.skipped = True
        else:
            try:
                _work(reconciler, warehouse, depth, run)
            finally:
                lease.release()
    except TRY_AGAIN as error:
        run.error = f"{type(error).__name__}: {error}"
    if run.compared.errors:
        run.error = run.error or "; ".join(run.compared.errors[:3])
    _summarise(run, depth, warehouse.jobs)
    return run


def _work(reconciler: Reconciler, warehouse: Warehouse, depth: str, run: Run) -> None:
    now = reconciler.clock.now()
    run.losses = find_losses(
        warehouse,
        reconciler.database,
        now,
        job=JOB,
        run_id=run.run_id,
        daily=depth == DAILY,
    )
    run.spending = compare_spending(
        warehouse,
        reconciler.database,
        lambda: _tenants(reconciler.database),
        now,
        job=JOB,
        run_id=run.run_id,
    )
    back = DEPTHS[depth]
    if back is None or reconciler.stripe is None:
        return
    workshop = reconciler.workshop(warehouse, run.run_id)
    comparer = Comparer(
        warehouse=warehouse,
        stripe=workshop.stripe,
        workshop=workshop,
        database=reconciler.database,
        now=reconciler.clock.now,
        run_id=run.run_id,
        budget_seconds=reconciler.budget_seconds,
    )
    hour = _hour(now)
    run.compared = comparer.run(hour - back, hour - NEWEST + timedelta(hours=1))
    if depth == DAILY:
        run.invoices = compare_invoices(workshop, now)
        run.uninvoiced = find_uninvoiced(workshop, now)


def _tenants(database: Database) -> Iterator[str]:
    for tenant_id, _ in database.query("tenants"):
        yield tenant_id


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _summarise(run: Run, depth: str, jobs: int) -> None:
    emit(
        "job_run",
        "ERROR" if run.error else "INFO",
        job=JOB,
        outcome="failed" if run.error else "skipped" if run.skipped else "done",
        depth=depth,
        dry_run=False,
        duration_ms=int((time.monotonic() - run.started) * 1000),
        bigquery_jobs=jobs,
        **run.answer(),
    )
