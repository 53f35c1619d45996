"""Plans for sale on a stage: the Stripe double, the webhook behind a socket, the sync, the app database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import stripe

from sandbox.layout import PROJECT_ID, REPOSITORY
from tallygate.appdb import Condition
from tallygate.catalogue import load_catalogue
from tallygate.clock import rfc3339
from tallygate.plans import Plans, load_plans
from tallygate.records import BillingSegment
from tallygate.secrets import STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET, FileSecrets
from tallygate.subscriptions import wiring
from tallygate.subscriptions.checkout import checkout_link
from tallygate.subscriptions.connecting import connect_webhook
from tallygate.subscriptions.inbox import InboxRow, due
from tallygate.subscriptions.prices import current_prices
from tallygate.subscriptions.publishing import publish
from tallygate.subscriptions.segments import newest, segments_of
from tallygate.subscriptions.settings import SyncSettings
from tallygate.subscriptions.sync import Depth, Run, Sync, synchronise
from tallygate.subscriptions.webhook import Receiver
from tallygate.tenants import Tenant, get_tenant, put_tenant
from tests.sql.cases import line
from tests.support.stage import GRACE, Stage


@dataclass
class Shop:
    """What a test of subscriptions works with."""

    stage: Stage
    client: stripe.StripeClient
    plans: Plans
    settings: SyncSettings
    receiver: Receiver
    job: Sync
    requests: int = 0

    def tenant(self, tenant_id: str = "acme", plan: str = "team") -> Tenant:
        """A new tenant, who has not subscribed."""
        chosen = self.plans.plans[plan]
        made = Tenant(
            tenant_id=tenant_id, status="pending", grace_until=None, plan=plan, models=chosen.models,
            rpm=chosen.quotas.rpm, tpm=chosen.quotas.tpm, max_parallel=chosen.quotas.max_parallel,
            monthly_budget_nano_usd=None, stripe_customer=None,
        )  # fmt: skip
        put_tenant(self.stage.database, made)
        return made

    def subscribe(
        self, tenant_id: str = "acme", plan: str = "team", *, seats: int = 3, card: str = "works"
    ) -> str:
        """A new tenant that goes through Checkout, with everything that follows; the customer."""
        self.tenant(tenant_id, plan)
        link = self.link(tenant_id, plan, seats=seats)
        self.complete(link)
        self.settle()
        customer = self.client.v1.checkout.sessions.retrieve(link).customer
        assert isinstance(customer, str)
        return customer

    def link(self, tenant_id: str, plan: str, *, seats: int = 3, customer: str | None = None) -> str:
        """A Checkout session for a tenant."""
        made = checkout_link(
            self.client, tenant_id=tenant_id, plan=self.plans.plans[plan],
            prices=current_prices(self.client, self.plans), success_url="https://example.com/thanks",
            seats=seats, customer=customer,
        )  # fmt: skip
        return made.session_id

    def complete(self, session: str, *, card: str = "works") -> None:
        """A person pays on the page."""
        self.stage.stripe.post(f"/_sandbox/checkout/sessions/{session}/complete", {"card": card})

    def settle(self) -> None:
        """Let Stripe send what it has, and the sync run until nothing waits."""
        self.stage.stripe.post("/_sandbox/tick")
        for _ in range(3):
            self.sync()
            self.advance(seconds=31)

    def use(self, cost_nano_usd: int, tenant_id: str = "acme") -> None:
        """One request that ends now, as its line in the warehouse says."""
        self.requests += 1
        usage = line(
            f"r{self.requests}", at=rfc3339(self.stage.clock.now()), tenant_id=tenant_id,
            input_tokens=0, output_tokens=0, total_tokens=0, cost_nano_usd=str(cost_nano_usd),
        )  # fmt: skip
        self.stage.insert("usage_raw.run_googleapis_com_stdout", usage)

    def advance(self, **by: float) -> None:
        """Time passes in Stripe, with everything that it brings; webhooks are posted."""
        self.stage.stripe.advance(**by)

    def sync(self, depth: Depth = "recent") -> Run:
        """One run of the sync."""
        run = synchronise(self.job, depth)
        assert run.error is None, run.error
        return run

    def now(self, tenant_id: str = "acme") -> Tenant:
        """A tenant as it is stored."""
        tenant = get_tenant(self.stage.database, tenant_id)
        assert tenant is not None
        return tenant

    def segments(self, tenant_id: str = "acme") -> list[BillingSegment]:
        """A tenant's segments as they hold now."""
        return newest(segments_of(self.stage.database, tenant_id))

    def subscription(self, customer: str) -> Any:
        """A customer's newest subscription."""
        return self.client.v1.subscriptions.list({"customer": customer, "status": "all"}).data[0]

    def item(self, customer: str, kind: str) -> Any:
        """The item of a kind in the customer's newest subscription."""
        items = self.subscription(customer)["items"].data
        return next(item for item in items if item.price.metadata["tallygate_kind"] == kind)

    def payments(self, customer: str, outcome: str) -> None:
        """What comes of the customer's payments from now on."""
        self.stage.stripe.post(f"/_sandbox/customers/{customer}/payment", {"outcome": outcome})

    def waiting(self) -> list[InboxRow]:
        """All rows that wait, due or not."""
        return due(self.stage.database, self.stage.clock.now() + timedelta(days=400), 1000)

    def parked(self) -> list[tuple[str, str]]:
        """Type and reason of the parked events."""
        found = self.stage.database.query("inbox", [Condition("state", "==", "parked")])
        return sorted((row["type"], row["reason"]) for _, row in found)

    def ledger_segments(self) -> list[dict[str, Any]]:
        """What the warehouse has of the segments."""
        return self.stage.rows("ledger.billing_segments")


@contextmanager
def open_shop(stage: Stage, *, cloudevents_url: str | None = None) -> Iterator[Shop]:
    """Publish the sandbox's plans and connect the webhook."""
    folder = REPOSITORY / "sandbox" / "config"
    now = stage.clock.now()
    plans = load_plans(folder / "plans.json", load_catalogue(folder / "catalogue.json", now=now))
    client = stage.stripe.client()
    publish(client, plans, dry_run=False)
    secrets = stage.folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / STRIPE_API_KEY).write_text("sk_test_double")
    settings = SyncSettings(
        project_id=PROJECT_ID, dataset_raw="usage_raw", dataset_ledger="ledger", app_database="unused:",
        secrets=FileSecrets(secrets), clock=stage.clock, livemode=False, stripe_api_base=stage.stripe.url,
        cloudevents_url=cloudevents_url, bigquery_emulator=True, plans=plans, grace=timedelta(days=7),
        invoice_grace=GRACE, invoice_hold=timedelta(hours=6),
    )  # fmt: skip
    permitted = lambda: None  # noqa: E731 - the clock stands, so nobody may wait for it
    receiver = wiring.receiver(settings, stage.database, permitted)
    job = wiring.sync(settings, stage.database, permitted)
    shop = Shop(stage, client, plans, settings, receiver, job)
    with _listening(receiver) as url:
        keep = (secrets / STRIPE_WEBHOOK_SECRET).write_text
        connect_webhook(client, url, kept=(), keep=lambda secret: str(keep(secret)))
        yield shop


@contextmanager
def _listening(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = receiver.receive(body, self.headers.get("stripe-signature"))
            self.send_response(answer.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
