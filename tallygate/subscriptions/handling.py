"""What each kind of event gives occasion to, one inbox row at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from google.api_core.exceptions import GoogleAPIError

from tallygate.appdb import Condition, Database, DatabaseUnavailableError
from tallygate.clock import Clock
from tallygate.logs import emit
from tallygate.metering.warehouse import JobRunningError
from tallygate.schemas import ConfigurationError
from tallygate.secrets import SecretMissingError
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import AccountAccessError, AccountError, NotThereError
from tallygate.subscriptions.binding import BindingError, bind
from tallygate.subscriptions.facts import CheckoutSession
from tallygate.subscriptions.following import Follower, NoTenantError, UnknownPlanError
from tallygate.subscriptions.inbox import NO_TENANT, InboxRow
from tallygate.subscriptions.mapping import Finding
from tallygate.tenants import RecordError

UNCLAIMED_ATTEMPTS: Final = 8
"""About twenty minutes: the event that binds a customer may come after the ones about it."""


class Lookups(Protocol):
    """What is read of Stripe to understand an event."""

    def checkout_session(self, session_id: str) -> CheckoutSession:
        """A Checkout session."""
        ...

    def customer_behind(self, object_id: str) -> str | None:
        """The customer that a subscription or an invoice is of."""
        ...


class RowWork(Protocol):
    """Carries out rows of one topic; settles or postpones them itself."""

    def __call__(self, row: InboxRow) -> None:
        """Raises AccountError or DatabaseUnavailableError to be called again."""
        ...


@dataclass(frozen=True, slots=True)
class Handler:
    """Carries out what rows ask for."""

    database: Database
    clock: Clock
    stripe: Lookups
    follower: Follower
    invoice_created: RowWork
    meter_reported: RowWork

    def handle(self, row: InboxRow) -> None:
        """Carry a row out, once.

        Raises:
            AccountError, DatabaseUnavailableError, NoTenantError, UnknownPlanError, RecordError: it is to be
                tried again.
        """
        if row.topic == "customer":
            self._customer(row)
        elif row.topic == "checkout":
            self._checkout(row)
        elif row.topic == "invoice":
            self.invoice_created(row)
        elif row.topic == "meter":
            emit("meter_deactivated", "ERROR", meter_id=row.object_id, event_id=row.event_id)
            inbox.settle(self.database, [row.event_id], self.clock.now())
        else:
            self.meter_reported(row)

    def try_again(self, row: InboxRow, error: Exception) -> None:
        """Plan another attempt after a failure, or park the row when there were enough."""
        reason = NO_TENANT if isinstance(error, NoTenantError) else type(error).__name__
        most = UNCLAIMED_ATTEMPTS if reason == NO_TENANT else inbox.MOST_ATTEMPTS
        if not inbox.retry_later(self.database, row, reason, self.clock.now(), most_attempts=most):
            self._tell_parked(row, reason)

    def _customer(self, row: InboxRow) -> None:
        customer = row.customer or self._look_up(row)
        if customer is None:
            self._park(row, "no_customer")
            return
        if row.customer is None:
            inbox.name_customer(self.database, row, customer)
        tell(self.follower.follow(customer).findings, customer)

    def _look_up(self, row: InboxRow) -> str | None:
        """The customer of a thin event's object: known from a segment, else asked for."""
        object_id = row.object_id
        if object_id is None:
            return None
        by_subscription = [Condition("subscription_id", "==", object_id)]
        known = self.database.query("segments", by_subscription, limit=1)
        if known:
            customer: str = known[0][1]["stripe_customer"]
            return customer
        return self.stripe.customer_behind(object_id)

    def _checkout(self, row: InboxRow) -> None:
        try:
            session = self.stripe.checkout_session(row.object_id or "")
        except NotThereError:
            self._park(row, "no_session")
            return
        if session.tenant_id is None or session.customer is None:
            self._park(row, "foreign_session" if session.tenant_id is None else "no_customer")
            return
        try:
            bind(self.database, session.tenant_id, session.customer)
        except BindingError as error:
            self._park(row, error.reason)
            return
        for orphan in inbox.parked_for_want_of_tenant(self.database, session.customer):
            inbox.retry_now(self.database, orphan, self.clock.now())
        inbox.name_customer(self.database, row, session.customer)
        tell(self.follower.follow(session.customer).findings, session.customer)

    def _park(self, row: InboxRow, reason: str) -> None:
        inbox.park(self.database, row, reason, self.clock.now())
        self._tell_parked(row, reason)

    def _tell_parked(self, row: InboxRow, reason: str) -> None:
        emit(
            "event_parked", "ERROR", event_id=row.event_id, event_type=row.type, reason=reason,
            customer=row.customer, attempts=row.attempts,
        )  # fmt: skip


TRY_AGAIN: Final = (
    AccountError,
    NoTenantError,
    UnknownPlanError,
    RecordError,
    GoogleAPIError,
    JobRunningError,
)
"""What a row may fail with; an unavailable database and a refused key concern every row."""


def tell(findings: tuple[Finding, ...], customer: str) -> None:
    """Write a line for each finding: someone has to change something in Stripe."""
    for finding in findings:
        emit(finding.kind, "ERROR", customer=customer, detail=finding.detail)


@dataclass(frozen=True, slots=True)
class FirstAttempt:
    """The one attempt inside the webhook's request."""

    handler: Callable[[], Handler]
    is_behind: Callable[[], bool]
    """Whether events wait for so long that none should push in, or no permit can be had."""

    def __call__(self, row: InboxRow) -> bool:
        """Try; whether it was carried out. What fails is left to the sync."""
        if row.topic not in ("customer", "checkout", "invoice"):
            return False
        try:
            if self.is_behind():
                return False
            self.handler().handle(row)
        except AccountAccessError as error:
            emit("stripe_access_refused", "ERROR", detail=str(error))
            return False
        except (*TRY_AGAIN, DatabaseUnavailableError, SecretMissingError, ConfigurationError):
            return False
        return True
