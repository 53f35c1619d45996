"""One simulated run: a story in Stripe, its events on bad roads, the real receiver and the real sync."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, Final, TypeVar

from sandbox.layout import REPOSITORY
from tallygate.appdb import Condition, DatabaseUnavailableError, Document, Transaction
from tallygate.catalogue import load_catalogue
from tallygate.plans import Plans, load_plans
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import AccountError, NoPermitError
from tallygate.subscriptions.events import StripeEvent, event_from
from tallygate.subscriptions.facts import CheckoutSession, Customer
from tallygate.subscriptions.following import Follower
from tallygate.subscriptions.handling import FirstAttempt, Handler
from tallygate.subscriptions.inbox import InboxRow
from tallygate.subscriptions.segments import newest, segments_of
from tallygate.subscriptions.signature import SigningSecrets
from tallygate.subscriptions.sync import Sync, synchronise
from tallygate.subscriptions.webhook import Receiver
from tallygate.tenants import Tenant, get_tenant, put_tenant
from tests.support.memory_database import MemoryDatabase
from tests.support.stripe_events import sign
from tests.tallygate.subscriptions.lifecycle.actors import Crash, Stage
from tests.tallygate.subscriptions.lifecycle.script import (
    CUSTOMER,
    GRACE,
    START,
    STORY,
    TENANT,
    Expected,
    Story,
)
from tests.tallygate.subscriptions.lifecycle.truth import Truth

T = TypeVar("T")

SETTLED: Final = STORY + timedelta(hours=4)
"""Longer than the last redelivery and the last look at the event lists."""
STALE_SECONDS: Final = 20.0
"""How old an answer may be at most; the code waits for 30."""
RETRIES: Final = (60.0, 600.0, 3600.0)
"""When Stripe sends again what was not taken."""
FAULTS: Final = (
    "delay", "duplicate", "second_event", "shuffle", "loss", "stale_read", "slow_step", "stall", "crash",
    "stripe_error", "database_error", "no_permit", "secret_rotation", "clock_skew",
)  # fmt: skip

MakeHandler = Callable[[Handler, Truth], Handler]
"""Puts something else in the place of the handler, for a control."""


def _ours(handler: Handler, truth: Truth) -> Handler:
    return handler


@dataclass
class Clock:
    """The simulation's time on one machine, which is a little wrong."""

    stage: Stage
    skew: timedelta

    def now(self) -> datetime:
        """The time that this machine believes in."""
        return self.stage.now + self.skew


@dataclass
class Fate:
    """Decides where something goes wrong, and counts it."""

    dice: random.Random
    stage: Stage
    injected: Counter[str] = field(default_factory=Counter)
    calm: bool = False

    def strikes(self, fault: str, chance: float) -> bool:
        """Whether a fault happens here."""
        if self.calm or self.dice.random() >= chance:
            return False
        self.injected[fault] += 1
        return True

    def step(self, stall: float = 0.002) -> None:
        """Between any two steps of an actor: time passes, and sometimes it was its last."""
        if self.strikes("crash", 0.006):
            raise Crash
        if self.strikes("stall", stall):  # an instance without CPU between requests
            self.stage.pause(self.dice.uniform(60, 400))
        elif self.strikes("slow_step", 0.02):
            self.stage.pause(self.dice.uniform(2, 40))
        else:
            self.stage.pause(self.dice.uniform(0, 0.05))


@dataclass
class SteppedDatabase:
    """The database behind a network: each operation takes time and may fail before it is carried out."""

    inner: MemoryDatabase
    fate: Fate

    def _arrive(self) -> None:
        self.fate.step()
        if self.fate.strikes("database_error", 0.004):
            raise DatabaseUnavailableError("injected")

    def get(self, collection: str, document_id: str) -> Document | None:
        self._arrive()
        return self.inner.get(collection, document_id)

    def create(self, collection: str, document_id: str, document: Mapping[str, Any]) -> bool:
        self._arrive()
        created = self.inner.create(collection, document_id, document)
        self._arrive()  # the answer can be lost as well
        return created

    def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        self._arrive()
        self.inner.put(collection, document_id, document)

    def delete(self, collection: str, document_id: str) -> None:
        self._arrive()
        self.inner.delete(collection, document_id)

    def increment(self, collection: str, document_id: str, by: Mapping[str, int]) -> None:
        self._arrive()
        self.inner.increment(collection, document_id, by)

    def query(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> list[tuple[str, Document]]:
        self._arrive()
        return self.inner.query(collection, conditions, order_by=order_by, limit=limit)

    def transact(self, body: Callable[[Transaction], T]) -> T:
        self._arrive()
        result = self.inner.transact(body)
        self._arrive()
        return result

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class SteppedStripe:
    """Stripe behind a network: slow, failing, and sometimes a little behind itself."""

    truth: Truth
    fate: Fate
    permit: Callable[[], bool] = lambda: True

    def customer(self, customer_id: str) -> Customer:
        return self.truth.customer(customer_id, self._ask())

    def settle_move(self, subscription_id: str) -> None:
        raise AssertionError("no price changes in these lives")

    def checkout_session(self, session_id: str) -> CheckoutSession:
        self._ask()
        return self.truth.session(session_id)

    def customer_behind(self, object_id: str) -> str | None:
        self._ask()
        return self.truth.owners.get(object_id.removeprefix("in_"))

    def customers(self) -> Iterator[Customer]:
        return self.truth.customers(self._ask())

    def events_since(self, moment: datetime) -> Iterator[StripeEvent]:
        self._ask()
        for content, _ in self.truth.events:
            event = event_from(content)
            if event.created >= moment:
                yield event

    def _ask(self) -> datetime:
        """The moment as of which Stripe answers."""
        if not self.permit():
            raise NoPermitError("no permit")
        self.fate.step()
        if self.fate.strikes("stripe_error", 0.04):
            raise AccountError("injected")
        moment = self.fate.stage.now
        if self.fate.strikes("stale_read", 0.12):
            moment -= timedelta(seconds=self.fate.dice.uniform(0, STALE_SECONDS))
        self.fate.step(stall=0.05)  # what was read is oldest when it is written
        return moment


@dataclass
class Vault:
    """Secret Manager with the signing secret."""

    values: list[str]

    def newest(self, name: str, count: int = 1) -> list[str]:
        return self.values[:count]


@dataclass(frozen=True)
class Verdict:
    """How a run ended."""

    wrong: tuple[str, ...]
    """What is not as it must be; empty: all is right."""
    injected: Counter[str]
    events: int


@cache
def plans() -> Plans:
    configuration = REPOSITORY / "sandbox" / "config"
    return load_plans(
        configuration / "plans.json", load_catalogue(configuration / "catalogue.json", now=START)
    )


class World:
    """One run."""

    def __init__(self, seed: int, make_handler: MakeHandler = _ours) -> None:
        self.dice = random.Random(f"lifecycle-{seed}")
        self.stage = Stage(START)
        self.fate = Fate(random.Random(f"fate-{seed}"), self.stage)
        self.truth = Truth()
        self.kept = MemoryDatabase()
        self.database = SteppedDatabase(self.kept, self.fate)
        self.vault = Vault(["whsec_1"])
        self.signing = ["whsec_1"]
        self.make_handler = make_handler
        self.story = Story(self.dice, self.truth, lambda: self.stage.now, self._told, self.stage.at)
        plan = plans().plans["starter"]
        put_tenant(
            self.kept,
            Tenant(
                tenant_id=TENANT, status="pending", grace_until=None, plan=plan.name, models=plan.models,
                rpm=1, tpm=1, max_parallel=1, monthly_budget_nano_usd=None, stripe_customer=None,
            ),
        )  # fmt: skip
        self.receivers = [self._receiver() for _ in range(2)]

    def run(self) -> Verdict:
        """Play the story, let it settle, compare."""
        for number, moment in enumerate(self.story.moments()):
            self.stage.at(moment, self.story.subscribe if number == 0 else self.story.change)
        self._plan_rotation()
        end = START + SETTLED
        self._plan_syncs(end)
        # what goes wrong, goes wrong while things happen and a while after; the end is calm
        self.stage.at(START + STORY + timedelta(hours=1), self._calm_down)
        self.stage.run_until(end)
        self.stage.drain()
        return Verdict(tuple(self._differences()), self.fate.injected, len(self.truth.events))

    def _calm_down(self) -> None:
        self.fate.calm = True

    # Stripe's deliveries

    def _told(self, number: int) -> None:
        self._send(number)
        if self.fate.strikes("second_event", 0.05):
            self._send(self.truth.again(number))

    def _send(self, number: int) -> None:
        if self.fate.strikes("loss", 0.06):
            return
        self._deliver(number, self._delay(), 0)
        if self.fate.strikes("duplicate", 0.2):
            self._deliver(number, self._delay(), len(RETRIES))

    def _delay(self) -> float:
        if self.fate.strikes("delay", 0.15):
            return self.dice.uniform(60, 1800)
        if self.fate.strikes("shuffle", 0.5):
            return self.dice.uniform(0, 30)
        return self.dice.uniform(0, 1)

    def _deliver(self, number: int, delay: float, tried: int) -> None:
        moment = self.stage.now + timedelta(seconds=delay)
        self.stage.act(moment, lambda: self._post(number, tried))

    def _post(self, number: int, tried: int) -> None:
        """One delivery, by whichever instance; Stripe sends again what is not taken."""
        taken = False
        try:
            body = self.truth.body(number)
            header = sign(body, self.stage.now, *self.signing)
            answer = self.dice.choice(self.receivers).receive(body, header)
            self.fate.step()
            taken = answer.status == 200
        finally:
            if not taken and tried < len(RETRIES):
                self._deliver(number, RETRIES[tried], tried + 1)

    def _plan_rotation(self) -> None:
        """A new secret in the middle: in Stripe first or in the vault first, with and without an overlap."""
        if not self.fate.strikes("secret_rotation", 0.5):
            return
        at = START + self.dice.uniform(0, 1) * STORY
        apart = timedelta(seconds=self.dice.uniform(-120, 120))
        overlap = self.dice.random() < 0.7

        def roll() -> None:
            self.signing = ["whsec_2", "whsec_1"] if overlap else ["whsec_2"]

        def add() -> None:
            self.vault.values = ["whsec_2", "whsec_1"]

        self.stage.at(at, roll)
        self.stage.at(at + apart, add)

    # the code under test

    def _machine(self) -> Clock:
        skewed = self.fate.strikes("clock_skew", 0.5)
        return Clock(self.stage, timedelta(seconds=self.dice.uniform(-2, 2) if skewed else 0))

    def _handler(self, clock: Clock, stripe: SteppedStripe) -> Handler:
        follower = Follower(self.database, stripe, plans(), clock, GRACE)
        ours = Handler(self.database, clock, stripe, follower, self._settle, self._settle)
        return self.make_handler(ours, self.truth)

    def _settle(self, row: InboxRow) -> None:
        inbox.settle(self.database, [row.event_id], self.stage.now)

    def _receiver(self) -> Receiver:
        clock = self._machine()
        stripe = SteppedStripe(self.truth, self.fate, lambda: not self.fate.strikes("no_permit", 0.1))
        handler = self._handler(clock, stripe)
        return Receiver(
            secrets=SigningSecrets(self.vault, lambda: (self.stage.now - START).total_seconds()),
            database=self.database,
            clock=clock,
            livemode=False,
            attempt=FirstAttempt(lambda: handler, lambda: False),
        )

    def _plan_syncs(self, end: datetime) -> None:
        clock = self._machine()
        stripe = SteppedStripe(self.truth, self.fate)
        sync = Sync(self.database, clock, lambda: (stripe, self._handler(clock, stripe)), lambda: 0)
        minutes = int((end - START).total_seconds() // 60)
        for minute in range(1, minutes):
            moment = START + timedelta(minutes=minute)
            if minute % 60 == 11:
                self.stage.act(moment, lambda: self._synchronise(sync, "hourly"))
            else:
                self.stage.at(moment, lambda: self._recent(sync))

    def _recent(self, sync: Sync) -> None:
        """A run that would find nothing to do is left out: it would only cost time here."""
        soon = self.stage.now + timedelta(seconds=3)
        waits = inbox.due(self.kept, soon, limit=1)
        tenant = get_tenant(self.kept, TENANT)
        if waits or (tenant is not None and tenant.billing_status == "grace"):
            self.stage.act(self.stage.now, lambda: self._synchronise(sync, "recent"))

    def _synchronise(self, sync: Sync, depth: Any) -> None:
        synchronise(sync, depth)

    # the comparison

    def _differences(self) -> Iterator[str]:
        now = self.stage.now
        want = self.story.expected(now)
        tenant = get_tenant(self.kept, TENANT)
        assert tenant is not None
        for name, found, wanted in (
            ("status", tenant.status, want.status),
            ("plan", tenant.plan, want.plan or tenant.plan),
            ("seats", tenant.seats, want.seats),
            ("customer", tenant.stripe_customer, want.customer),
        ):
            if found != wanted:
                yield f"{name}: {found}, not {wanted}"
        yield from self._segment_differences(want, now)
        waiting = inbox.count_waiting(self.kept, 100)
        if waiting:
            yield f"{waiting} events still wait"
        parked = inbox.in_state(self.kept, "parked")
        if parked:
            yield f"parked: {[(row.type, row.reason) for row in parked]}"

    def _segment_differences(self, want: Expected, now: datetime) -> Iterator[str]:
        held = newest(segments_of(self.kept, TENANT))
        for earlier, later in pairwise(held):
            if earlier.valid_to is None or earlier.valid_to > later.valid_from:
                yield f"segments overlap: {earlier.segment_id} and {later.segment_id}"
        open_now = [s for s in held if s.valid_from <= now and (s.valid_to is None or s.valid_to > now)]
        if want.period_start is None:
            if open_now:
                yield "a segment is open though nothing takes usage"
            return
        ended_by_plan = [s for s in held if s.valid_to is not None and s.valid_to <= now]
        last = open_now[-1] if open_now else (ended_by_plan[-1] if ended_by_plan else None)
        if last is None:
            yield "no segment"
            return
        items = frozenset((item.meter, item.subscription_item) for item in last.items)
        if items != want.items:
            yield f"items: {sorted(items)}, not {sorted(want.items)}"
        if last.period_start != want.period_start:
            yield f"period: {last.period_start}, not {want.period_start}"
        if last.stripe_customer != CUSTOMER:
            yield f"segment of customer {last.stripe_customer}"
