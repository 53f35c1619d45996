"""A Stripe double in this process, on a clock that the test moves, and what tests need around it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import stripe

from sandbox.stripe.app import stripe_app
from tallygate.clock import FixedClock, parse_rfc3339
from tests.support.host import Host as ServerHost

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_MOST_STEPS: Final = 2000


@dataclass
class Double:
    """A running double and the ways to it."""

    url: str
    clock: FixedClock
    http: httpx.Client

    def client(self, api_key: str = "sk_test_double", **options: Any) -> stripe.StripeClient:
        """The official SDK, pointed at the double."""
        bases: Any = {"api": self.url, "meter_events": self.url}
        return stripe.StripeClient(api_key, base_addresses=bases, **options)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One of the sandbox's own paths."""
        answer = self.http.post(f"{self.url}{path}", json=body or {})
        answer.raise_for_status()
        return answer.json()

    def pays(self, customer: str, outcome: str) -> None:
        """Decide what comes of a customer's payments: ``works``, ``declines`` or ``missing``."""
        self.post(f"/_sandbox/customers/{customer}/payment", {"outcome": outcome})

    def get(self, path: str) -> Any:
        """One of the sandbox's own paths."""
        answer = self.http.get(f"{self.url}{path}")
        answer.raise_for_status()
        return answer.json()

    def arm(self, kind: str, **fault: Any) -> None:
        """Arm a fault, for one occasion unless the test says otherwise."""
        self.post("/_sandbox/faults", {"kind": kind, **({} if "rate" in fault else {"count": 1}), **fault})

    def advance(self, **by: float) -> None:
        """Move the clock on from effect to effect, as the sandbox's clock does."""
        target = self.clock.at + timedelta(**by)
        for _ in range(_MOST_STEPS):
            following = self.get("/_sandbox/next")["at"]
            if following is None or parse_rfc3339(following) > target:
                break
            self.clock.at = max(self.clock.at, parse_rfc3339(following))
            self.post("/_sandbox/tick")
        else:
            raise AssertionError("the schedule does not come to an end")
        self.clock.at = target
        self.post("/_sandbox/tick")


class Host(ServerHost):
    """The server of all doubles of a run, one after the other."""

    @contextmanager
    def running(self, state: Path, clock: FixedClock | None = None, **options: Any) -> Iterator[Double]:
        """A double for as long as the block runs; one at a time."""
        clock = clock or FixedClock(START)
        with (
            self.serving(stripe_app(state, clock, **options)) as url,
            httpx.Client(timeout=30, trust_env=False) as http,
        ):
            yield Double(url, clock, http)


@dataclass
class Receiver:
    """An endpoint that keeps what it is sent and answers as told."""

    url: str
    statuses: list[int] = field(default_factory=list)
    """What the next posts are answered; 200 when none is left."""
    received: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def bodies(self) -> list[Any]:
        """What was received, read."""
        return [json.loads(body) for body, _ in self.received]

    @property
    def types(self) -> list[str]:
        """The types of the events received."""
        return [body["type"] for body in self.bodies]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A web server on loopback for webhooks."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            here.received.append((body, self.headers["stripe-signature"]))
            self.send_response(here.statuses.pop(0) if here.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Shop:
    """An account with one customer who buys a flat fee, seats and two metered units."""

    customer: str
    tokens: str
    cost: str
    flat_price: str
    seat_price: str
    tokens_price: str
    cost_price: str
    subscription: str


def make_meter(client: stripe.StripeClient, name: str, **params: Any) -> stripe.billing.Meter:
    """A meter that sums."""
    given: Any = {
        "display_name": name, "event_name": name, "default_aggregation": {"formula": "sum"}, **params,
    }  # fmt: skip
    return client.v1.billing.meters.create(given)


def open_shop(client: stripe.StripeClient) -> Shop:
    """Everything up to a running subscription, through the SDK."""
    product = client.v1.products.create({"name": "Gateway"}).id

    def licensed(cents: int, key: str) -> str:
        params: Any = {
            "product": product, "currency": "usd", "unit_amount": cents, "recurring": {"interval": "month"},
            "lookup_key": key,
        }  # fmt: skip
        return client.v1.prices.create(params).id

    def metered(meter: str, cents: str) -> str:
        params: Any = {
            "product": product, "currency": "usd", "unit_amount_decimal": cents,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
        }  # fmt: skip
        return client.v1.prices.create(params).id

    tokens, cost = make_meter(client, "tokens").id, make_meter(client, "cost").id
    flat, seat = licensed(5000, "flat"), licensed(1000, "seat")
    by_tokens, by_cost = metered(tokens, "0.0003"), metered(cost, "0.0000001")
    customer = client.v1.customers.create({"name": "aurora", "metadata": {"tenant_id": "aurora"}}).id
    items: Any = [
        {"price": flat, "quantity": 1}, {"price": seat, "quantity": 3},
        {"price": by_tokens}, {"price": by_cost},
    ]  # fmt: skip
    made = client.v1.subscriptions.create({"customer": customer, "items": items})
    return Shop(customer, tokens, cost, flat, seat, by_tokens, by_cost, made.id)


def subscribe(
    client: stripe.StripeClient, price: str, customer: str | None = None, **params: Any
) -> stripe.Subscription:
    """A subscription to one price, of a new customer unless one is named."""
    customer = customer or client.v1.customers.create({"name": "someone"}).id
    given: Any = {"customer": customer, "items": [{"price": price}], **params}
    return client.v1.subscriptions.create(given)


def use(
    client: stripe.StripeClient,
    customer: str,
    value: int | str,
    identifier: str,
    at: datetime,
    *,
    meter: str = "tokens",
    key: str | None = None,
) -> None:
    """One meter event by version 2."""
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    params: Any = {
        "event_name": meter, "identifier": identifier, "timestamp": stamp,
        "payload": {"stripe_customer_id": customer, "value": str(value)},
    }  # fmt: skip
    client.v2.billing.meter_events.create(params, {"idempotency_key": key} if key else {})


def refusal(error: stripe.StripeError) -> tuple[int | None, str | None]:
    """What decides how an error is treated: status and code.

    The code is read from the body: the SDK leaves ``error.code`` empty on 409, 429 and 5xx.
    """
    body: Any = error.json_body or {}
    return error.http_status, body.get("error", {}).get("code")
