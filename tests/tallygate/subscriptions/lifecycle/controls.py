"""What others do, and this code with one thing taken out: the same seeds must turn out wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from tallygate.subscriptions import inbox
from tallygate.subscriptions.binding import BindingError, bind
from tallygate.subscriptions.facts import Customer, Subscription
from tallygate.subscriptions.following import Begun, Followed, Follower
from tallygate.subscriptions.handling import Handler
from tallygate.subscriptions.inbox import InboxRow
from tests.tallygate.subscriptions.lifecycle.truth import Truth
from tests.tallygate.subscriptions.lifecycle.world import MakeHandler


class WithoutTicket(Follower):
    """Fetches everything and writes it, whoever wrote in between."""

    def commit(self, begun: Begun, facts: Customer) -> Followed:
        """Write in any case, under a ticket that is the newest by being taken now."""
        newest = self.begin(begun.customer)
        return super().commit(replace(begun, ticket=newest.ticket), facts)


class SingleFetch(Handler):
    """Fetches only the subscription that an event is about, under the tenant's ticket."""

    def handle(self, row: InboxRow) -> None:
        """One row, which alone is settled."""
        found = _about(self, row)
        if found is None:
            super().handle(row)
            return
        customer, name = found
        begun = self.follower.begin(customer)
        whole = self.follower.stripe.customer(customer)
        alone = tuple(one for one in whole.subscriptions if one.subscription_id == name)
        self.follower.commit(begun, replace(whole, subscriptions=alone))
        inbox.settle(self.database, [row.event_id], self.clock.now())


@dataclass(frozen=True, slots=True)
class PayloadApplied(Handler):
    """Applies what an event says, in the order of arrival."""

    truth: Truth | None = None
    view: dict[str, Subscription] | None = None
    """The subscriptions as the events have told them so far."""

    def handle(self, row: InboxRow) -> None:
        """One row, which alone is settled."""
        assert self.truth is not None
        assert self.view is not None
        found = _about(self, row)
        if found is None:
            Handler.handle(self, row)
            return
        customer, _ = found
        payload = next(p for content, p in self.truth.events if content["id"] == row.event_id)
        if payload is not None:
            self.view[payload.subscription_id] = payload
        begun = self.follower.begin(customer)
        told = Customer(
            customer_id=customer,
            deleted=row.type == "customer.deleted",
            subscriptions=tuple(self.view.values()),
        )
        self.follower.commit(begun, told)
        inbox.settle(self.database, [row.event_id], self.clock.now())


def _about(handler: Handler, row: InboxRow) -> tuple[str, str] | None:
    """Customer and subscription that a row is about; a session binds first, as ours does."""
    if row.topic == "checkout":
        session = handler.stripe.checkout_session(row.object_id or "")
        try:
            bind(handler.database, session.tenant_id or "", session.customer or "")
        except BindingError:
            return None
        return session.customer or "", session.session_id.removeprefix("cs_")
    if row.topic != "customer" or row.object_id is None:
        return None
    customer = row.customer or handler.stripe.customer_behind(row.object_id)
    return None if customer is None else (customer, row.object_id.removeprefix("in_"))


def _changed_follower(handler: Handler, kind: Callable[..., Follower], **changes: timedelta) -> Handler:
    ours = handler.follower
    follower = kind(ours.database, ours.stripe, ours.plans, ours.clock, ours.grace, **changes)
    return replace(handler, follower=follower)


def without_ticket(handler: Handler, truth: Truth) -> Handler:
    """The ticket taken out: fetch, then write."""
    return _changed_follower(handler, WithoutTicket)


def without_second_look(handler: Handler, truth: Truth) -> Handler:
    """The second fetch taken out: a stale answer is believed."""
    return _changed_follower(handler, Follower, settle_after=timedelta(0))


def single_fetch(handler: Handler, truth: Truth) -> Handler:
    """The whole customer taken out: only the subscription of the event is fetched."""
    return SingleFetch(
        handler.database,
        handler.clock,
        handler.stripe,
        handler.follower,
        handler.invoice_created,
        handler.meter_reported,
    )


def payload_applied(views: dict[int, dict[str, Subscription]], handler: Handler, truth: Truth) -> Handler:
    """The fetch taken out: payloads are applied as they come."""
    view = views.setdefault(id(truth), {})
    return PayloadApplied(
        handler.database, handler.clock, handler.stripe, handler.follower, handler.invoice_created,
        handler.meter_reported, truth, view,
    )  # fmt: skip


CONTROLS: Final[Mapping[str, MakeHandler]] = {
    "no ticket": without_ticket,
    "no second look": without_second_look,
    "single fetches": single_fetch,
    "payload applied": partial(payload_applied, {}),
}
