"""Brings one customer's tenant to where Stripe says it is: ticket, fetch, commit.

The ticket is taken before the fetch, so what a newer ticket fetches is from after the older one was taken. A
commit writes the whole derived state, and only if no newer ticket was written: whatever comes late or twice,
or dies in between, no state replaces one that was asked for later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from tallygate.appdb import Database, Transaction
from tallygate.clock import Clock, rfc3339
from tallygate.plans import Plan, Plans
from tallygate.records import BillingSegment
from tallygate.subscriptions import inbox
from tallygate.subscriptions.binding import tenant_of
from tallygate.subscriptions.facts import Customer
from tallygate.subscriptions.mapping import Finding, Standing, standing
from tallygate.subscriptions.plan_changes import as_plan_gives
from tallygate.subscriptions.segments import revise, segments_of, stored_segment, swapped_prices
from tallygate.tenants import Tenant, get_tenant, tenant_document, tenant_from

SETTLE_AFTER: Final = timedelta(seconds=30)
"""An answer of Stripe is believed to lag behind a change by less than this. Assumed, not promised."""
_MOST_TURNS: Final = 10


class Reads(Protocol):
    """What is read of Stripe to follow a customer."""

    def customer(self, customer_id: str) -> Customer:
        """A customer with all subscriptions.

        Raises:
            AccountError: when Stripe does not answer, or with something that can't be used.
        """
        ...

    def settle_move(self, subscription_id: str) -> None:
        """End a planned move that is over, or let it give the seats that there are now.

        Raises:
            AccountError: when Stripe does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Begun:
    """A ticket, taken before the fetch."""

    tenant_id: str
    customer: str
    ticket: int
    began_at: datetime
    """Before the ticket was taken: whoever holds a newer one has fetched after that too."""
    rows: tuple[str, ...]
    """The inbox rows that the fetch answers: those stored before it began."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a commit did."""

    written: bool
    """False: a newer ticket was written before."""
    changed: bool = False
    """Whether the tenant or its segments are other than before."""
    findings: tuple[Finding, ...] = ()


class NoTenantError(Exception):
    """No tenant claims the customer."""


class UnknownPlanError(Exception):
    """A tenant's plan is not in plans.json."""


class _MovedError(Exception):
    """Another commit came between reading the segments and writing."""


@dataclass(frozen=True, slots=True)
class Follower:
    """Follows customers, each on its own."""

    database: Database
    stripe: Reads
    plans: Plans
    clock: Clock
    grace: timedelta
    """How long a tenant is served after the oldest unpaid invoice was finalized."""
    settle_after: timedelta = SETTLE_AFTER

    def follow(self, customer: str) -> Followed:
        """All three steps, planned moves kept right, and the inbox rows settled.

        Raises:
            NoTenantError, UnknownPlanError, AccountError, DatabaseUnavailableError
        """
        begun = self.begin(customer)
        facts = self.stripe.customer(customer)
        followed = self.commit(begun, facts)
        for subscription in facts.subscriptions:
            if subscription.move_to_settle:  # before the rows are settled: if it fails, it is tried again
                self.stripe.settle_move(subscription.subscription_id)
        self.note(begun)
        return followed

    def begin(self, customer: str) -> Begun:
        """Take a ticket.

        Raises:
            NoTenantError: when no tenant claims the customer.
        """
        tenant_id = tenant_of(self.database, customer)
        if tenant_id is None:
            raise NoTenantError(customer)

        def take(transaction: Transaction) -> int:
            document = transaction.get("tenants", tenant_id)
            if document is None or document.get("stripe_customer") != customer:
                raise NoTenantError(customer)
            tenant = tenant_from(document)
            taken = replace(tenant, sync_ticket=tenant.sync_ticket + 1)
            transaction.put("tenants", tenant_id, tenant_document(taken))
            return taken.sync_ticket

        began = self.clock.now()
        ticket = self.database.transact(take)
        rows = tuple(row.event_id for row in inbox.waiting_for(self.database, customer))
        return Begun(tenant_id, customer, ticket, began, rows)

    def commit(self, begun: Begun, facts: Customer) -> Followed:
        """Write what the facts give, unless a newer ticket has written.

        Raises:
            NoTenantError: when the tenant is not the customer's any more.
            UnknownPlanError: when the tenant's plan is not in the plans and no subscription names another.
        """
        for _ in range(_MOST_TURNS):
            tenant = get_tenant(self.database, begun.tenant_id)
            if tenant is None or tenant.stripe_customer != begun.customer:
                raise NoTenantError(begun.customer)
            if tenant.applied_ticket >= begun.ticket:
                return Followed(written=False)
            now = self.clock.now()
            given = standing(facts, self.plans.plans, self._plan(tenant), now, self.grace)
            known = segments_of(self.database, tenant.tenant_id)
            rows = revise(tenant.tenant_id, begun.customer, known, given, ticket=begun.ticket, now=now)
            try:
                changed = self._write(begun, tenant, given, rows)
            except _MovedError:
                continue
            swapped = tuple(Finding("price_changed", text) for text in swapped_prices([*known, *rows]))
            return Followed(True, changed or bool(rows), (*given.findings, *swapped))
        return Followed(written=False)

    def differs(self, facts: Customer) -> bool:
        """Whether the tenant and its segments are other than facts, fetched just now, would make them.

        Raises:
            NoTenantError: when no tenant claims the customer.
            UnknownPlanError: as for a commit.
        """
        tenant_id = tenant_of(self.database, facts.customer_id)
        tenant = None if tenant_id is None else get_tenant(self.database, tenant_id)
        if tenant is None:
            raise NoTenantError(facts.customer_id)
        now = self.clock.now()
        given = standing(facts, self.plans.plans, self._plan(tenant), now, self.grace)
        known = segments_of(self.database, tenant.tenant_id)
        rows = revise(tenant.tenant_id, facts.customer_id, known, given, ticket=tenant.sync_ticket, now=now)
        return bool(rows) or _given(tenant, given) != tenant

    def note(self, begun: Begun) -> None:
        """Settle the inbox rows that a commit answered."""
        inbox.looked(self.database, begun.rows, begun.began_at, self.clock.now(), self.settle_after)

    def _plan(self, tenant: Tenant) -> Plan:
        plan = self.plans.plans.get(tenant.plan)
        if plan is None:
            raise UnknownPlanError(tenant.plan)
        return plan

    def _write(self, begun: Begun, seen: Tenant, given: Standing, rows: list[BillingSegment]) -> bool:
        """Write it all or nothing; whether the tenant changed."""

        def write(transaction: Transaction) -> bool:
            document = transaction.get("tenants", begun.tenant_id)
            current = None if document is None else tenant_from(document)
            if current is None or current.applied_ticket != seen.applied_ticket:
                raise _MovedError
            changed = _given(current, given)
            transaction.put(
                "tenants",
                begun.tenant_id,
                tenant_document(replace(changed, applied_ticket=begun.ticket)),
            )
            for row in rows:
                document_id = f"{row.segment_id}.{begun.ticket}"
                transaction.put("segments", document_id, stored_segment(row))
            return changed != current

        return self.database.transact(write)


def _given(tenant: Tenant, given: Standing) -> Tenant:
    """The tenant with what the standing gives."""
    return replace(
        as_plan_gives(tenant, given.plan),
        status=tenant.operator_status or given.status,
        billing_status=given.status,
        grace_until=None if given.grace_until is None else rfc3339(given.grace_until),
        seats=given.seats,
    )


def end_grace(database: Database, tenant_id: str, now: datetime) -> bool:
    """Suspend a tenant whose grace has ended; whether it was so. Stripe's next word may say otherwise."""

    def end(transaction: Transaction) -> bool:
        document = transaction.get("tenants", tenant_id)
        tenant = None if document is None else tenant_from(document)
        if tenant is None or tenant.billing_status != "grace" or tenant.grace_until is None:
            return False
        if rfc3339(now) < tenant.grace_until:
            return False
        ended = replace(
            tenant,
            status=tenant.operator_status or "suspended",
            billing_status="suspended",
            grace_until=None,
        )
        transaction.put("tenants", tenant_id, tenant_document(ended))
        return True

    return database.transact(end)
