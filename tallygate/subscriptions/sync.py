"""One run of the sync: what the inbox holds, what was never delivered, and what drifted all the same."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol

from google.api_core.exceptions import GoogleAPIError

from tallygate.appdb import Condition, Database, DatabaseUnavailableError
from tallygate.clock import Clock, parse_rfc3339, rfc3339
from tallygate.leases import Lease
from tallygate.logs import emit
from tallygate.plans import Plans
from tallygate.schemas import ConfigurationError
from tallygate.secrets import SecretMissingError
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import AccountAccessError, AccountError
from tallygate.subscriptions.events import StripeEvent
from tallygate.subscriptions.facts import Customer
from tallygate.subscriptions.following import NoTenantError, UnknownPlanError, end_grace
from tallygate.subscriptions.handling import TRY_AGAIN, Handler, tell
from tallygate.subscriptions.inbox import InboxRow
from tallygate.subscriptions.mirror import MirrorError
from tallygate.subscriptions.plan_changes import follow_plans
from tallygate.tenants import RecordError

JOB: Final = "stripe_sync"
DEPTHS: Final = ("recent", "hourly", "daily")
Depth = Literal["recent", "hourly", "daily"]

LEASE_DURATION: Final = timedelta(seconds=90)
"""Renewed before each row; a run that dies blocks its followers for no longer than that."""
BUDGET_SECONDS: Final = 240.0
"""No new row is begun after that."""
OVERLAP: Final = timedelta(hours=2)
"""The event lists are read from so long before the watermark: they may show an event late."""
_FIRST_LOOK: Final = timedelta(days=29)
"""Without a watermark: Stripe lists events of 30 days."""
_WATERMARK: Final = "stripe-events"
_ROWS: Final = 200
_FAILURES_TO_STOP: Final = 3
"""So many rows in a row to which Stripe gave no usable answer end the run."""


class Lists(Protocol):
    """What is listed in Stripe."""

    def events_since(self, moment: datetime) -> Iterator[StripeEvent]:
        """The events that matter here."""
        ...

    def customers(self) -> Iterator[Customer]:
        """All customers that have or had a subscription."""
        ...


@dataclass(frozen=True, slots=True)
class Sync:
    """What a run works with."""

    database: Database
    clock: Clock
    stripe: Callable[[], tuple[Lists, Handler]]
    """Called once a run: reads the key then."""
    mirror: Callable[[], int]
    plans: Plans | None = None
    """None: tenants keep what they were given."""
    budget_seconds: float = BUDGET_SECONDS


@dataclass(slots=True)
class Run:
    """One run and what it has done so far. Counts are inbox rows unless they say otherwise."""

    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.monotonic)
    applied: int = 0
    failed: int = 0
    backlog: int = 0
    parked: int = 0
    found: int = 0
    """Events that no webhook had brought."""
    graces_ended: int = 0
    """Tenants."""
    replanned: int = 0
    """Tenants that were given what their plan gives since it changed."""
    drifts: int = 0
    """Customers whose stored state was not what Stripe says, though no event waited."""
    mirrored: int = 0
    """Segment rows copied to the warehouse."""
    skipped: bool = False
    error: str | None = None

    def answer(self) -> dict[str, Any]:
        """The function's answer."""
        counts = (
            "run_id", "applied", "failed", "backlog", "parked", "found", "graces_ended", "replanned",
            "drifts", "mirrored",
        )  # fmt: skip
        answer = {name: getattr(self, name) for name in counts}
        if self.skipped:
            answer["skipped"] = True
        if self.error is not None:
            answer["error"] = self.error
        return answer


_RUN_FAILS: Final = (
    AccountError,
    DatabaseUnavailableError,
    GoogleAPIError,
    MirrorError,
    SecretMissingError,
    ConfigurationError,
)


def synchronise(sync: Sync, depth: Depth) -> Run:
    """Carry out one run and write its summary line. A run with ``error`` set wants to be called again."""
    run = Run()
    lease = Lease(sync.database, sync.clock, JOB, run.run_id, LEASE_DURATION)
    try:
        if not lease.acquire():
            run.skipped = True
        else:
            try:
                _work(sync, depth, run, lease)
            finally:
                lease.release()
    except _RUN_FAILS as error:
        run.error = f"{type(error).__name__}: {error}"
        if isinstance(error, AccountAccessError):
            emit("stripe_access_refused", "ERROR", job=JOB, run_id=run.run_id, detail=str(error))
    _summarise(run, depth)
    return run


def _work(sync: Sync, depth: Depth, run: Run, lease: Lease) -> None:
    run.graces_ended = _end_graces(sync)
    if sync.plans is not None:
        thoroughly = depth != "recent"
        run.replanned = follow_plans(sync.database, sync.plans.plans, lease.acquire, thoroughly=thoroughly)
    due = inbox.due(sync.database, sync.clock.now(), limit=1)
    try:
        if due or depth != "recent":
            lists, handler = sync.stripe()
            if depth == "hourly":
                run.found = _read_lists(sync, lists)
            if depth == "daily":
                run.drifts = _look_at_all(sync, lists, handler, lease)
            _work_inbox(sync, handler, run, lease)
    finally:
        run.mirrored = sync.mirror()
    run.backlog = inbox.count_waiting(sync.database, limit=10_000)


def _end_graces(sync: Sync) -> int:
    now = sync.clock.now()
    in_grace = sync.database.query("tenants", [Condition("billing_status", "==", "grace")])
    ends = [
        tenant_id
        for tenant_id, document in in_grace
        if document.get("grace_until") is not None and now >= parse_rfc3339(document["grace_until"])
    ]
    ended = [tenant_id for tenant_id in ends if end_grace(sync.database, tenant_id, now)]
    for tenant_id in ended:
        emit("grace_ended", tenant_id=tenant_id)
    return len(ended)


def _read_lists(sync: Sync, lists: Lists) -> int:
    """Keep what Stripe lists and no webhook brought; how many."""
    began = sync.clock.now()
    mark = sync.database.get("watermarks", _WATERMARK)
    since = began - _FIRST_LOOK if mark is None else parse_rfc3339(mark["at"]) - OVERLAP
    oldest = began - _FIRST_LOOK
    found = sum(
        event.account is None and inbox.store(sync.database, event, sync.clock.now(), "list") is not None
        for event in lists.events_since(max(since, oldest))
    )
    sync.database.put("watermarks", _WATERMARK, {"at": rfc3339(began)})
    return found


def _look_at_all(sync: Sync, lists: Lists, handler: Handler, lease: Lease) -> int:
    """Follow every customer whose stored state is not what Stripe lists; how many had drifted."""
    drifts = 0
    for customer in lists.customers():
        if not lease.acquire():
            break
        try:
            if not handler.follower.differs(customer):
                continue
            waits = bool(inbox.waiting_for(sync.database, customer.customer_id))
            followed = handler.follower.follow(customer.customer_id)
        except (NoTenantError, UnknownPlanError, RecordError):
            continue  # told by the events of the customer
        tell(followed.findings, customer.customer_id)
        if followed.changed and not waits:
            drifts += 1
            emit("subscription_drift", "ERROR", job=JOB, customer=customer.customer_id)
    return drifts


def _work_inbox(sync: Sync, handler: Handler, run: Run, lease: Lease) -> None:
    """Due rows until there are none; one fetch settles all rows of its customer."""
    deadline = run.started + sync.budget_seconds
    failures, tried = 0, set[str]()
    while rows := [
        row for row in inbox.due(sync.database, sync.clock.now(), _ROWS) if row.event_id not in tried
    ]:
        for row in _first_things_first(rows):
            if time.monotonic() > deadline or failures >= _FAILURES_TO_STOP or not lease.acquire():
                return
            tried.add(row.event_id)
            current = inbox.get(sync.database, row.event_id)
            if current is None or current.due_at != row.due_at:
                continue  # settled or postponed with another row of its customer
            failures = 0 if _work_row(handler, current, run) else failures + 1
            left = inbox.get(sync.database, row.event_id)
            run.parked += left is not None and left.state == "parked"


def _first_things_first(rows: list[InboxRow]) -> list[InboxRow]:
    """Who may be served comes before what is invoiced: an invoice has an hour."""
    return sorted(rows, key=lambda row: row.topic == "invoice")


def _work_row(handler: Handler, row: InboxRow, run: Run) -> bool:
    """Carry out one row; False when Stripe gave no usable answer.

    Raises:
        AccountAccessError, DatabaseUnavailableError: they concern every row.
    """
    try:
        handler.handle(row)
    except AccountAccessError:
        raise
    except TRY_AGAIN as error:
        run.failed += 1
        handler.try_again(row, error)
        return not isinstance(error, AccountError)
    run.applied += 1
    return True


def _summarise(run: Run, depth: Depth) -> None:
    emit(
        "job_run",
        "ERROR" if run.error else "INFO",
        job=JOB,
        outcome="failed" if run.error else "skipped" if run.skipped else "done",
        depth=depth,
        duration_ms=int((time.monotonic() - run.started) * 1000),
        **run.answer(),
    )
