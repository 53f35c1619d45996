"""A row is done only by a state that was fetched late enough, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.layout import REPOSITORY
from tallygate.catalogue import load_catalogue
from tallygate.clock import FixedClock
from tallygate.plans import load_plans
from tallygate.subscriptions import inbox
from tallygate.subscriptions.events import read_event
from tallygate.subscriptions.facts import Customer, Item, Subscription
from tallygate.subscriptions.following import SETTLE_AFTER, Follower
from tallygate.tenants import get_tenant, put_tenant
from tests.support.gateway import tenant
from tests.support.memory_database import MemoryDatabase
from tests.support.stripe_events import snapshot

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MONTH = timedelta(days=30)


@dataclass
class Stalling(MemoryDatabase):
    """Another instance overtakes one that stalls between its ticket and its fetch."""

    def __post_init__(self) -> None:
        super().__init__()
        self.overtake: Any = None

    def query(self, collection: str, *args: Any, **options: Any) -> Any:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            overtake()
        return super().query(collection, *args, **options)


@dataclass
class Reads:
    """Stripe, as of the seats that it shows."""

    seats: int

    def settle_move(self, subscription_id: str) -> None:
        """No price moves here."""

    def customer(self, customer_id: str) -> Customer:
        """The customer with one subscription."""
        item = Item(
            item_id="si_1", price="price_1", plan="team", kind="seat", meter=None, quantity=self.seats,
            created=NOW, period_start=NOW, period_end=NOW + MONTH,
        )  # fmt: skip
        subscription = Subscription(
            subscription_id="sub_1", status="active", created=NOW, ended_at=None, cancel_at=None,
            unpaid_since=None, items=(item,),
        )  # fmt: skip
        return Customer(customer_id=customer_id, deleted=False, subscriptions=(subscription,))


def test_a_fetch_that_was_overtaken_leaves_its_rows_for_another(capsys: Any) -> None:
    """The newer ticket's answer lags behind the change; the older ticket's fetch is late, and not written."""
    database, clock = Stalling(), FixedClock(NOW)
    folder = REPOSITORY / "sandbox" / "config"
    plans = load_plans(folder / "plans.json", load_catalogue(folder / "catalogue.json", now=NOW))
    put_tenant(database, tenant("acme", stripe_customer="cus_1", plan="team"))
    database.put("customers", "cus_1", {"tenant_id": "acme"})
    inbox.store(database, read_event(snapshot()), NOW, "webhook")
    stale = Follower(database, Reads(3), plans, clock, timedelta(days=7))
    fresh = replace(stale, stripe=Reads(8))

    def overtake() -> None:
        stale.follow("cus_1")
        clock.at += SETTLE_AFTER + timedelta(seconds=10)

    database.overtake = overtake
    followed = fresh.follow("cus_1")

    stored = get_tenant(database, "acme")
    row = inbox.get(database, "evt_1")
    assert (followed.written, stored and stored.seats) == (False, 3)
    assert row is not None
    assert row.state == "waiting", "the event is done though no state since then was written"
    fresh.follow("cus_1")
    settled, stored = inbox.get(database, "evt_1"), get_tenant(database, "acme")
    assert (settled and settled.state, stored and stored.seats) == ("done", 8)
