"""One tenant's life on stage: subscribes, adds seats, does not pay, pays, leaves, all by Stripe's own calls.

The gateway is told nothing: it follows Stripe's events. What each scene must lead to is checked at once, and
the amounts of the invoice lines at the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import httpx
from stripe import InvoiceLineItem

from sandbox.demo.collect import Connections
from sandbox.demo.drive import Outcome, drive
from sandbox.demo.proof import INVOICE, SCRIPT, Finding
from sandbox.demo.script import Case, Step
from sandbox.seed import pending_tenant
from tallygate.appdb import open_database
from tallygate.catalogue import load_catalogue
from tallygate.clock import clock_from
from tallygate.plans import Plan, load_plans
from tallygate.subscriptions.account import TENANT_KEY
from tallygate.subscriptions.prices import SEAT, current_prices, wanted_prices
from tallygate.tenants import issue_key, put_tenant

TENANT: Final = "dorado"
PLAN: Final = "team"
SEATS: Final = 2
MORE_SEATS: Final = 5
AFTER_GRACE_SECONDS: Final = 8 * 86_400
"""The grace is seven days from the unpaid invoice's finalization."""
_FOLLOW_SECONDS: Final = 60
_LOOK_AGAIN_SECONDS: Final = 0.2
_MODEL: Final = "gpt-4o-mini"
IN_GRACE: Final = Case("served in grace", "chat", _MODEL, directives="[[out=21]]")
SUSPENDED: Final = Case("refused: unpaid", "chat", _MODEL, ending="failure", attempts=0)
PAID: Final = Case("served again", "chat", _MODEL, directives="[[out=34]]")
CANCELED: Final = Case("refused: canceled", "chat", _MODEL, ending="failure", attempts=0)


@dataclass
class Lifecycle:
    """The tenant and what has come of it so far."""

    connections: Connections
    say: Callable[[str], None]
    first_number: int
    """Number of its first step; those of the script come before."""
    steps: list[Step] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    key: str = ""
    customer: str = ""
    subscription: str = ""

    def subscribe(self) -> None:
        """The operator makes the tenant and a Checkout session; a person pays on Stripe's page."""
        stripe = self.connections.stripe
        plans = self._plans()
        plan = plans.plans[PLAN]
        self._make_tenant(plan)
        prices = current_prices(stripe, plans)
        items: list[Any] = []
        for wanted in wanted_prices(plan):
            quantity = {} if wanted.is_metered else {"quantity": SEATS if wanted.kind == SEAT else 1}
            items.append({"price": prices[wanted.lookup_key], **quantity})
        session = stripe.v1.checkout.sessions.create(
            {
                "mode": "subscription",
                "line_items": items,
                "client_reference_id": TENANT,
                "metadata": {TENANT_KEY: TENANT},
                "success_url": "https://gateway.example/welcome",
            }
        )
        began = time.monotonic()
        path = f"/_sandbox/checkout/sessions/{session.id}/complete"
        httpx.post(f"{self.connections.state['stripe_url']}{path}", json={}).raise_for_status()
        self._await(200)
        done = stripe.v1.checkout.sessions.retrieve(session.id)
        self.customer, self.subscription = str(done.customer), str(done.subscription)
        self.connections.state["tenants"].append(
            {"tenant_id": TENANT, "api_key": self.key, "stripe_customer": self.customer, "plan": PLAN}
        )
        self.say(
            f"{TENANT} subscribes by Checkout and is served {time.monotonic() - began:.1f} s after paying"
        )

    def add_seats(self) -> None:
        """More seats in the middle of the period: Stripe prorates."""
        items = self.connections.stripe.v1.subscription_items.list({"subscription": self.subscription}).data
        seat = next(item for item in items if item.price.unit_amount == self._plans().plans[PLAN].seat_cents)
        self.connections.stripe.v1.subscription_items.update(
            seat.id, {"quantity": MORE_SEATS, "proration_behavior": "create_prorations"}
        )
        self.say(f"{TENANT} goes from {SEATS} to {MORE_SEATS} seats")

    def stop_paying(self) -> None:
        """From now on the card is declined."""
        self._payments("declines")
        self.say(f"{TENANT}'s card is declined from now on")

    def live_in_grace(self) -> None:
        """The renewal is not paid: served all the same, for a while."""
        self._request(IN_GRACE)
        self.say(f"{TENANT}'s renewal is unpaid: served in grace")

    def be_refused(self) -> None:
        """The grace is over."""
        began = time.monotonic()
        self._await(403)
        self._request(SUSPENDED)
        self.say(
            f"the grace is over: {TENANT} is refused, seen {time.monotonic() - began:.1f} s after its end"
        )

    def pay(self) -> None:
        """The customer pays what is open."""
        self._payments("works")
        began = time.monotonic()
        for invoice in self.connections.stripe.v1.invoices.list(
            {"customer": self.customer, "status": "open"}
        ).auto_paging_iter():
            self.connections.stripe.v1.invoices.pay(str(invoice.id))
        self._await(200)
        self._request(PAID)
        self.say(f"{TENANT} pays and is served again {time.monotonic() - began:.1f} s later")

    def leave(self) -> None:
        """Cancels at once; what was used since the renewal goes on a last invoice."""
        began = time.monotonic()
        self.connections.stripe.v1.subscriptions.cancel(self.subscription, {"invoice_now": True})
        self._await(403)
        self._request(CANCELED)
        self.say(f"{TENANT} cancels and is refused {time.monotonic() - began:.1f} s later")

    def check_amounts(self) -> None:
        """Every line of the customer's invoices has the amount that ``plans.json`` makes of its quantity."""
        plans = self._plans()
        plan, prices = plans.plans[PLAN], current_prices(self.connections.stripe, plans)
        by_price = {prices[w.lookup_key]: w.cents for w in wanted_prices(plan) if w.lookup_key in prices}
        full_seats = []
        for line in self._lines():
            cents = by_price.get(_price(line))
            if cents is None or _is_proration(line):
                continue
            quantity = line.quantity or 0
            expected = (cents * quantity).quantize(Decimal(1), rounding=ROUND_HALF_UP)
            if line.amount != expected:
                text = f"{TENANT}: {quantity} × {cents} cents is {expected}, not {line.amount}"
                self.findings.append(Finding(INVOICE, text))
            if cents == plan.seat_cents:
                full_seats.append(quantity)
        if sorted(set(full_seats)) != [SEATS, MORE_SEATS]:
            self.findings.append(Finding(INVOICE, f"{TENANT}: seats on invoices are {full_seats}"))

    def _lines(self) -> Iterator[InvoiceLineItem]:
        invoices = self.connections.stripe.v1.invoices
        for invoice in invoices.list({"customer": self.customer}).auto_paging_iter():
            yield from invoices.line_items.list(str(invoice.id)).auto_paging_iter()

    def _make_tenant(self, plan: Plan) -> None:
        state = self.connections.state
        database = open_database(state["app_database"], project_id=state["project_id"])
        put_tenant(database, pending_tenant(TENANT, plan))
        now = clock_from(f"file:{self.connections.layout.clock}").now()
        self.key = issue_key(database, TENANT, label="demo", now=now).secret
        database.close()

    def _plans(self) -> Any:
        layout = self.connections.layout
        now = clock_from(f"file:{layout.clock}").now()
        return load_plans(layout.plans, load_catalogue(layout.catalogue, now=now))

    def _payments(self, outcome: str) -> None:
        url = f"{self.connections.state['stripe_url']}/_sandbox/customers/{self.customer}/payment"
        httpx.post(url, json={"outcome": outcome}).raise_for_status()

    def _request(self, case: Case) -> None:
        step = Step(
            self.first_number + len(self.steps), TENANT, case, f"{case.directives} {case.name}".strip()
        )
        self.steps.append(step)
        self.outcomes += drive([step], {TENANT: self.key}, self.connections.state["proxy_url"], lambda: None)

    def _await(self, status: int) -> None:
        """Wait until the gateway answers the tenant so on every proxy: keys are cached for a moment."""
        deadline = time.monotonic() + _FOLLOW_SECONDS
        waiting = list(self.connections.state["proxy_urls"])
        while waiting:
            answer = httpx.get(f"{waiting[0]}/v1/models", headers={"x-api-key": self.key}, timeout=10)
            if answer.status_code == status:
                waiting.pop(0)
                continue
            if time.monotonic() > deadline:
                said = json.dumps(answer.json())[:200]
                text = f"{TENANT}: {answer.status_code} {said} for {_FOLLOW_SECONDS} s, not {status}"
                self.findings.append(Finding(SCRIPT, text))
                return
            time.sleep(_LOOK_AGAIN_SECONDS)


def _price(line: InvoiceLineItem) -> str:
    details = line.pricing.price_details if line.pricing else None
    return str(details.price) if details else ""


def _is_proration(line: InvoiceLineItem) -> bool:
    parent = line.parent.to_dict() if line.parent else {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))
