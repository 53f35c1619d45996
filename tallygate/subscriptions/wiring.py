"""Puts the parts together from the settings: what the two functions call."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import stripe
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tallygate.appdb import Database
from tallygate.clock import Clock
from tallygate.metering.report import Reporter, Run, report, send_policy
from tallygate.metering.sinks.stripe import StripeSink
from tallygate.metering.warehouse import Warehouse
from tallygate.metering.window import window_from
from tallygate.secrets import STRIPE_API_KEY
from tallygate.stripe_key import check_mode
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import NoPermitError, StripeAccount
from tallygate.subscriptions.following import Follower
from tallygate.subscriptions.handling import FirstAttempt, Handler
from tallygate.subscriptions.ledger import Ledger
from tallygate.subscriptions.meter_reports import MeterReportDesk
from tallygate.subscriptions.mirror import mirror
from tallygate.subscriptions.period_end import InvoiceDesk
from tallygate.subscriptions.permits import GOOD_FOR, PER_SECOND, Permits
from tallygate.subscriptions.remaining import RemainingUsage
from tallygate.subscriptions.settings import SyncSettings
from tallygate.subscriptions.signature import SigningSecrets
from tallygate.subscriptions.sync import Sync
from tallygate.subscriptions.webhook import Receiver

ATTEMPT_TIMEOUT_SECONDS: Final = (2.0, 4.0)
"""In a webhook's request: to connect, and to wait for bytes. Stripe waits for some ten seconds at least."""
SYNC_TIMEOUT_SECONDS: Final = (3.0, 20.0)
AT_ONCE: Final = 16
"""Customers that the sync follows at the same time: at half a second each, as many as permits allow."""
BEHIND_AFTER: Final = timedelta(seconds=90)
"""A row that is due for longer than a run of the sync is apart says that the sync can't keep up."""
_ASK_AGAIN_SECONDS: Final = 1.0
_BLOCK: Final = PER_SECOND // 4
"""Permits that a sync takes at a time: four writes a second at most."""
_KEPT_SECONDS: Final = 300.0
"""How long the webhook uses Stripe's key before it reads it again: it may have been rotated."""
_SEND_SECONDS: Final = 40.0
"""For sending what remains at a period's end: within the sync's lease; the reporter sends the rest."""
_LONGEST_SLEEP_SECONDS: Final = 5.0
_MOST_PERMITS: Final = 20
"""Permits that are void when their thread wakes, one after the other: the row is tried again later."""

T = TypeVar("T")


def receiver(
    settings: SyncSettings, database: Database, permit: Callable[[], None] | None = None
) -> Receiver:
    """What stripe_webhook calls. Nothing is opened before the first event needs it.

    ``permit``: returns when Stripe may be asked once; by default by :mod:`tallygate.subscriptions.permits`.
    """
    permits = Permits(database, settings.clock)
    permit = permit or _Soon(permits, settings.clock)
    behind = _Behind(database, settings.clock)
    handlers = _Cached(lambda: _webhook_handler(settings, database, permit), _KEPT_SECONDS)
    return Receiver(
        secrets=SigningSecrets(settings.secrets),
        database=database,
        clock=settings.clock,
        livemode=settings.livemode,
        attempt=FirstAttempt(handlers.get, lambda: permits.are_gone() or behind()),
    )


def sync(settings: SyncSettings, database: Database, permit: Callable[[], None] | None = None) -> Sync:
    """What stripe_sync calls; ``permit`` as for :func:`receiver`."""
    warehouse = _Cached(lambda: _warehouse(settings))
    ledger = Ledger(warehouse.get, settings.clock)
    permit = permit or _InTurn(Permits(database, settings.clock), settings.clock)

    def open_stripe() -> tuple[StripeAccount, Handler]:
        """Made for each run, so that a rotated key is used from then on."""
        account = StripeAccount(_client(settings, SYNC_TIMEOUT_SECONDS), permit)
        remaining = RemainingUsage(lambda: _report(settings, database, warehouse), settings.clock)
        return account, _handler(settings, database, account, ledger, remaining)

    return Sync(
        database=database,
        clock=settings.clock,
        stripe=open_stripe,
        mirror=lambda: mirror(database, ledger),
        plans=settings.plans,
        pool=ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sync"),
        at_once=AT_ONCE,
    )


def _webhook_handler(settings: SyncSettings, database: Database, permit: Callable[[], None]) -> Handler:
    account = StripeAccount(_client(settings, ATTEMPT_TIMEOUT_SECONDS), permit)
    return _handler(settings, database, account, None)


def _report(settings: SyncSettings, database: Database, warehouse: _Cached[Warehouse]) -> Run:
    """A run of the reporter for what was used last: shorter than the sync's lease."""
    opened = warehouse.get()
    reporter = Reporter(
        warehouse=lambda: Warehouse(opened.client, raw=opened.raw, ledger=opened.ledger),
        sink=lambda: StripeSink(_api_key(settings), api_base=settings.stripe_api_base),
        database=database,
        clock=settings.clock,
        invoice_grace=settings.invoice_grace,
        policy=replace(
            send_policy(settings.invoice_grace, settings.invoice_hold), budget_seconds=_SEND_SECONDS
        ),
    )
    return report(reporter, window_from({"depth": "hourly"}, settings.clock.now()))


def _handler(
    settings: SyncSettings,
    database: Database,
    account: StripeAccount,
    ledger: Ledger | None,
    remaining: RemainingUsage | None = None,
) -> Handler:
    """``ledger`` and ``remaining``: None in the webhook, which must not touch the warehouse."""
    follower = Follower(database, account, settings.plans, settings.clock, settings.grace)
    invoices = InvoiceDesk(
        database,
        settings.clock,
        account,
        ledger,
        settings.invoice_grace,
        settings.invoice_hold,
        usage_is_here=settings.cloudevents_url is None,
        remaining=remaining,
    )
    reports = MeterReportDesk(database, settings.clock, account)
    return Handler(database, settings.clock, account, follower, invoices, reports)


def _api_key(settings: SyncSettings) -> str:
    key = settings.secrets.newest(STRIPE_API_KEY)[0]
    check_mode(key, livemode=settings.livemode)
    return key


def _client(settings: SyncSettings, timeout: tuple[float, float]) -> stripe.StripeClient:
    base = settings.stripe_api_base
    return stripe.StripeClient(
        _api_key(settings),
        base_addresses={"api": base, "meter_events": base} if base else None,
        max_network_retries=0,  # the inbox tries again, later each time
        http_client=stripe.RequestsClient(timeout=timeout),
    )


def _warehouse(settings: SyncSettings) -> Warehouse:
    client = (
        bigquery.Client(project=settings.project_id, credentials=AnonymousCredentials())
        if settings.bigquery_emulator
        else bigquery.Client(project=settings.project_id)
    )
    return Warehouse(client, raw=settings.dataset_raw, ledger=settings.dataset_ledger)


@dataclass(slots=True)
class _Cached(Generic[T]):
    """Makes a thing when it is first needed, and again when it is too old."""

    make: Callable[[], T]
    kept_seconds: float = float("inf")
    _made: tuple[float, T] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def get(self) -> T:
        """The thing."""
        with self._lock:
            now = time.monotonic()
            if self._made is None or now - self._made[0] > self.kept_seconds:
                self._made = (now, self.make())
            return self._made[1]


@dataclass(slots=True)
class _Behind:
    """Whether the sync can't keep up, asked of the inbox once a second at most."""

    database: Database
    clock: Clock
    _answer: tuple[float, bool] | None = field(default=None, init=False)

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._answer is None or now - self._answer[0] > _ASK_AGAIN_SECONDS:
            self._answer = (now, inbox.is_behind(self.database, self.clock.now() - BEHIND_AFTER))
        return self._answer[1]


@dataclass(frozen=True, slots=True)
class _Soon:
    """Waits a moment for a permit; raises NoPermitError when there is none so soon."""

    permits: Permits
    clock: Clock

    def __call__(self) -> None:
        moment = self.permits.soon()
        if moment is None or not _wait_until(moment, self.clock):
            raise NoPermitError("no permit to ask Stripe now")


@dataclass(slots=True)
class _InTurn:
    """Waits for the next permit. Safe to share between threads."""

    permits: Permits
    clock: Clock
    _moments: deque[datetime] = field(default_factory=deque, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __call__(self) -> None:
        for _ in range(_MOST_PERMITS):
            with self._lock:
                oldest = self.clock.now() - GOOD_FOR
                while self._moments and self._moments[0] < oldest:
                    self._moments.popleft()
                if not self._moments:
                    self._moments = deque(self.permits.block(_BLOCK))
                moment = self._moments.popleft()
            if _wait_until(moment, self.clock):
                return
        raise NoPermitError("this process is too slow to use its permits")


def _wait_until(moment: datetime, clock: Clock) -> bool:
    """Sleep until a permit's moment; False when it is void by then."""
    ahead = (moment - clock.now()).total_seconds()
    if ahead > 0:
        time.sleep(min(ahead, _LONGEST_SLEEP_SECONDS))
    return clock.now() <= moment + GOOD_FOR
