"""One run of the sync: what the inbox holds, what was never delivered, and what drifted all the same."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
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
    pool: Executor | None = None
    """Where customers are followed at the same time; None: one after the other."""
    at_once: int = 1
    """Customers."""


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


@dataclass(slots=True)
class _Worked:
    """What came of some rows; counts."""

    applied: int = 0
    failed: int = 0
    parked: int = 0
    unanswered: int = 0
    """Of the failed: Stripe gave no usable answer."""


def _work_inbox(sync: Sync, handler: Handler, run: Run, lease: Lease) -> None:
    """Due rows until there are none; one fetch settles all rows of its customer."""
    going = _Going(run.started + sync.budget_seconds, lease)
    tried = set[str]()
    while rows := [
        row for row in inbox.due(sync.database, sync.clock.now(), _ROWS) if row.event_id not in tried
    ]:
        tried |= {row.event_id for row in rows}
        for worked in _spread(sync, handler, _by_customer(rows), going):
            run.applied += worked.applied
            run.failed += worked.failed
            run.parked += worked.parked
            going.failures = going.failures + worked.unanswered if worked.unanswered else 0
        if not going():
            return


@dataclass(slots=True)
class _Going:
    """Whether a run goes on: in its time, with its lease, while Stripe answers."""

    deadline: float
    """Monotonic seconds."""
    lease: Lease
    failures: int = 0
    """Rows in a row to which Stripe gave no usable answer."""

    def __call__(self) -> bool:
        in_time = time.monotonic() <= self.deadline and self.failures < _FAILURES_TO_STOP
        return in_time and self.lease.acquire()


def _by_customer(rows: list[InboxRow]) -> list[list[InboxRow]]:
    """Rows of one customer together, in the order of the longest due.

    Who may be served comes before what is invoiced: an invoice has an hour.
    """
    groups: dict[tuple[bool, str], list[InboxRow]] = {}
    for row in sorted(rows, key=lambda row: row.topic == "invoice"):
        is_invoice = row.topic == "invoice"
        groups.setdefault((is_invoice, row.customer or row.event_id), []).append(row)
    return list(groups.values())


def _spread(
    sync: Sync, handler: Handler, groups: list[list[InboxRow]], goes_on: Callable[[], bool]
) -> Iterator[_Worked]:
    """Work the groups, some at the same time where there is a pool, as long as it goes on."""
    if sync.pool is None:
        for group in groups:
            if not goes_on():
                return
            yield _work_group(sync.database, handler, group)
        return
    left, working = deque(groups), set[Future[_Worked]]()
    while True:
        while left and len(working) < sync.at_once and goes_on():
            working.add(sync.pool.submit(_work_group, sync.database, handler, left.popleft()))
        if not working:
            return
        done, working = wait(working, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _work_group(database: Database, handler: Handler, group: list[InboxRow]) -> _Worked:
    """Carry out rows, one after the other.

    Raises:
        AccountAccessError, DatabaseUnavailableError: they concern every row.
    """
    worked = _Worked()
    for row in group:
        current = inbox.get(database, row.event_id)
        if current is None or current.due_at != row.due_at:
            continue  # settled or postponed with another row of its customer
        try:
            handler.handle(current)
        except AccountAccessError:
            raise
        except TRY_AGAIN as error:
            worked.failed += 1
            worked.unanswered += isinstance(error, AccountError)
            handler.try_again(current, error)
        else:
            worked.applied += 1
        left = inbox.get(database, row.event_id)
        worked.parked += left is not None and left.state == "parked"
    return worked


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
