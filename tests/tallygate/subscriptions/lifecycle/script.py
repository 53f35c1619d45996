"""What happens in Stripe in one simulated run, drawn from a seed, and what must come of it.

The expectation is worked out here, beside the story, from the issue's rules alone: nothing of the code under
test is asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from tallygate.subscriptions.facts import CheckoutSession, Item, Subscription
from tests.tallygate.subscriptions.lifecycle.truth import Truth, with_items

START: Final = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
MONTHS: Final = (timedelta(minutes=10), timedelta(minutes=45), timedelta(hours=2))
"""Billing periods of these runs: time is compressed, the code knows no length of a month."""
GRACE: Final = timedelta(hours=1)
STORY: Final = timedelta(hours=3)
"""Everything happens within that; what follows is time to settle."""
METERS: Final = {
    "starter": (),
    "team": ("llm_input_tokens", "llm_cached_input_tokens", "llm_cache_write_tokens", "llm_output_tokens"),
    "scale": ("llm_cost_nano_usd",),
}
TENANT: Final = "acme"
CUSTOMER: Final = "cus_acme"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the gateway must hold of the tenant in the end."""

    status: str
    plan: str | None
    """None: whatever it was."""
    seats: int
    items: frozenset[tuple[str, str]]
    """Meter and subscription item of the segment that is open; empty: none is, or it has no meters."""
    period_start: datetime | None
    """None: no segment is open."""
    customer: str | None


@dataclass
class Story:
    """One run's changes in Stripe."""

    dice: random.Random
    truth: Truth
    now: Callable[[], datetime]
    told: Callable[[int], None]
    """Called with the number of each event."""
    plan: Callable[[datetime, Callable[[], None]], None]
    """Plans something for later."""
    live: list[str] = field(default_factory=list)
    """Subscriptions that have not ended, oldest first."""
    deleted: bool = False
    _count: int = 0

    def moments(self) -> list[datetime]:
        """When something happens: often in the same second, to make order hard."""
        moments, at = [], START + timedelta(seconds=30)
        for _ in range(self.dice.randint(3, 10)):
            moments.append(at)
            at += timedelta(seconds=self.dice.choice((0, 0, 1, 2, 5, 20, 60, 400, 1500)))
        return [at for at in moments if at < START + STORY]

    def subscribe(self) -> None:
        """The tenant finishes Checkout."""
        plan = self.dice.choice(sorted(METERS))
        status = self.dice.choice(("active", "active", "trialing", "incomplete"))
        subscription = self._new(plan, status)
        self.truth.put(CUSTOMER, subscription, self.now())
        self.live.append(subscription.subscription_id)
        session = f"cs_{subscription.subscription_id}"
        self.truth.sessions[session] = CheckoutSession(
            session_id=session, tenant_id=TENANT, customer=CUSTOMER
        )
        self._tell("customer.subscription.created", "subscription", subscription.subscription_id)
        self._tell("checkout.session.completed", "checkout.session", session)

    def change(self) -> None:
        """One change, of those that can happen now."""
        if self.deleted:
            return
        if not self.live:
            if self.dice.random() < 0.7:
                self.subscribe()
            return
        name = self.dice.choice(self.live)
        now = self.truth.at(name, self.now())
        assert now is not None
        possible = {
            "active": ("seats", "seats", "fail", "fail", "plan", "plan", "leave", "cancel", "second"),
            "trialing": ("activate", "pause", "cancel", "seats", "second"),
            "incomplete": ("activate", "activate", "expire"),
            "past_due": ("pay", "pay", "give_up", "cancel", "delete"),
            "unpaid": ("pay", "cancel"),
            "paused": ("activate", "cancel"),
        }[now.status]
        getattr(self, f"_{self.dice.choice(possible)}")(now)

    def expected(self, at: datetime) -> Expected:
        """What must be true at a moment after which nothing changes."""
        every = [self.truth.at(name, at) for name in self.truth.owners if self.truth.owners[name] == CUSTOMER]
        known = [one for one in every if one is not None]
        if not known:
            return Expected("pending", None, 0, frozenset(), None, None)
        best = _first(known, at)
        assert best is not None
        takes_usage = [one for one in known if one.status in ("active", "trialing", "past_due", "unpaid")]
        if self.deleted:
            return Expected("closed", None, 0, frozenset(), None, CUSTOMER)
        items = [item for one in takes_usage for item in one.items]
        metered = [one for one in takes_usage if any(item.meter for item in one.items)]
        timing = _first(metered or takes_usage, at)
        return Expected(
            status=_status(best, at),
            plan=(_first(takes_usage, at) or best).items[0].plan,
            seats=sum(item.quantity for item in items if item.kind == "seat"),
            items=frozenset((item.meter, item.item_id) for item in items if item.meter),
            period_start=None if timing is None else timing.items[0].period_start,
            customer=CUSTOMER,
        )

    def _new(self, plan: str, status: str) -> Subscription:
        self._count += 1
        now = self.now().replace(microsecond=0)
        name = f"sub_{self._count}"
        return Subscription(
            subscription_id=name,
            status=status,  # type: ignore[arg-type]
            created=now,
            ended_at=None,
            cancel_at=None,
            unpaid_since=None,
            items=self._items(plan, now, now, self._next_end(name, now)),
        )

    def _end_of_period(self, name: str, end: datetime) -> None:
        """At a period's end the next one begins, or the subscription ends if that was asked for."""
        one = self.truth.at(name, self.now())
        if one is None or name not in self.live or one.items[0].period_end != end:
            return
        if one.cancel_at is not None:
            self._end(replace(one, status="canceled"))
        elif one.status != "incomplete":
            renewed = with_items(one, period_start=end, period_end=self._next_end(name, end))
            self._put(renewed, "customer.subscription.updated", "invoice.created")

    def _next_end(self, name: str, start: datetime) -> datetime:
        """The end of a period that begins now, with what happens then."""
        end = start + self.dice.choice(MONTHS)
        if end < START + STORY:
            self.plan(end, lambda: self._end_of_period(name, end))
        return end

    def _items(self, plan: str, made: datetime, start: datetime, end: datetime) -> tuple[Item, ...]:
        def item(kind: str, meter: str | None, quantity: int) -> Item:
            self._count += 1
            return Item(
                item_id=f"si_{self._count}", price=f"price_{plan}_{kind}", plan=plan, kind=kind, meter=meter,
                quantity=quantity, created=made, period_start=start, period_end=end,
            )  # fmt: skip

        seat = [item("seat", None, self.dice.randint(1, 9))] if plan == "team" else [item("flat", None, 1)]
        return (*seat, *(item(meter, meter, 0) for meter in METERS[plan]))

    def _put(self, subscription: Subscription, *kinds: str) -> None:
        self.truth.put(CUSTOMER, subscription, self.now())
        for kind in kinds or ("customer.subscription.updated",):
            if kind.startswith("invoice."):
                self._tell(kind, "invoice", f"in_{subscription.subscription_id}")
            else:
                self._tell(kind, "subscription", subscription.subscription_id)

    def _tell(self, kind: str, object_type: str, object_id: str) -> None:
        thin = self.dice.random() < 0.4
        self.told(self.truth.tell(kind, object_type, object_id, CUSTOMER, self.now(), thin=thin))

    def _seats(self, one: Subscription) -> None:
        seats = self.dice.randint(1, 99)
        changed = [replace(item, quantity=seats) if item.kind == "seat" else item for item in one.items]
        self._put(replace(one, items=tuple(changed)))

    def _fail(self, one: Subscription) -> None:
        failed = replace(one, status="past_due", unpaid_since=self.now().replace(microsecond=0))
        self._put(failed, "invoice.payment_failed", "customer.subscription.updated")

    def _pay(self, one: Subscription) -> None:
        paid = replace(one, status="active", unpaid_since=None)
        self._put(paid, "invoice.paid", "customer.subscription.updated")

    def _give_up(self, one: Subscription) -> None:
        self._put(replace(one, status="unpaid"))

    def _activate(self, one: Subscription) -> None:
        """Paid at last, or taken up again: a period begins, unless one runs."""
        now = self.now().replace(microsecond=0)
        active = replace(one, status="active")
        if one.status == "incomplete" or one.items[0].period_end <= now:
            active = with_items(active, period_start=now, period_end=self._next_end(one.subscription_id, now))
        self._put(active)

    def _pause(self, one: Subscription) -> None:
        self._put(replace(one, status="paused"), "customer.subscription.paused")

    def _expire(self, one: Subscription) -> None:
        self._end(replace(one, status="incomplete_expired"))

    def _plan(self, one: Subscription) -> None:
        """Another plan at once: other items in the same period."""
        plan = self.dice.choice(sorted(METERS))
        first = one.items[0]
        now = self.now().replace(microsecond=0)
        self._put(replace(one, items=self._items(plan, now, first.period_start, first.period_end)))

    def _leave(self, one: Subscription) -> None:
        """Cancel at the period's end, or think better of it."""
        if one.items[0].period_end > self.now():
            self._put(replace(one, cancel_at=None if one.cancel_at else one.items[0].period_end))

    def _second(self, one: Subscription) -> None:
        """Another subscription beside the first."""
        if len(self.live) == 1:
            self.subscribe()

    def _cancel(self, one: Subscription) -> None:
        self._end(replace(one, status="canceled"))

    def _end(self, one: Subscription) -> None:
        self.live.remove(one.subscription_id)
        self._put(
            replace(one, ended_at=self.now().replace(microsecond=0), unpaid_since=None),
            "customer.subscription.deleted",
        )

    def _delete(self, one: Subscription) -> None:
        """The customer is deleted in the Dashboard, which ends everything."""
        self.truth.deleted[CUSTOMER] = self.now()
        self.deleted = True
        for name in list(self.live):
            running = self.truth.at(name, self.now())
            assert running is not None
            self._end(replace(running, status="canceled"))
        self._tell("customer.deleted", "customer", CUSTOMER)


def _status(one: Subscription, at: datetime) -> str:
    if one.status == "past_due":
        assert one.unpaid_since is not None
        return "grace" if at < one.unpaid_since + GRACE else "suspended"
    return {
        "active": "active", "trialing": "active", "incomplete": "pending", "unpaid": "suspended",
        "paused": "suspended", "canceled": "closed", "incomplete_expired": "closed",
    }[one.status]  # fmt: skip


def _first(subscriptions: list[Subscription], at: datetime) -> Subscription | None:
    order = ("active", "grace", "suspended", "pending", "closed")
    ranked = sorted(
        subscriptions,
        key=lambda one: (order.index(_status(one, at)), -one.created.timestamp(), one.subscription_id),
    )
    return ranked[0] if ranked else None
