"""A warehouse and a Stripe account on one clock: what metering works on, with the official clients.

Usage is put into the raw table as the sink would write it; what comes of it is read where anyone would look:
in the ledger's tables, and in the Stripe double's own books.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sandbox.bigquery.app import create_app
from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID
from sandbox.warehouse import create_warehouse
from tallygate.appdb import Database
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock, parse_rfc3339
from tallygate.metering.report import Reporter, Run, report
from tallygate.metering.send import SendPolicy
from tallygate.metering.sinks import UsageSink
from tallygate.metering.sinks.stripe import StripeSink
from tallygate.metering.sinks.stripe_invoices import StripeInvoices
from tallygate.metering.warehouse import Warehouse
from tallygate.metering.window import Window, window_from
from tallygate.reconciliation.books import open_books
from tallygate.reconciliation.reconcile import Reconciler
from tallygate.reconciliation.summaries import StripeSummaries
from tallygate.records import METERS
from tests.sandbox.stripe.double import Double, Host, make_meter
from tests.support.host import Host as ServerHost

GRACE: Final = timedelta(hours=1)
"""How long after a period's end Stripe's invoice takes usage."""
BEGIN: Final = datetime(2026, 3, 10, 14, 30, tzinfo=UTC)
"""Where the clock stands at first."""
APP_DATABASE: Final = "app.sqlite3"
PATIENCE: Final = SendPolicy(closes_after=GRACE, tries=3, backoff_seconds=0.01, failures_to_stop=50)
"""Short waits, and no giving up on the few rows of a test."""


@dataclass
class Stage:
    """One warehouse, one Stripe account, one app database, one clock."""

    clock: FixedClock
    stripe: Double
    bigquery_url: str
    client: bigquery.Client
    database: Database
    http: httpx.Client
    folder: Path
    """Where all of it is kept."""
    policy: SendPolicy = PATIENCE
    meters: dict[str, str] = field(default_factory=dict)
    """Stripe's ids of the meters, by event name."""

    @property
    def now(self) -> datetime:
        """The time on the clock."""
        return self.clock.at

    def warehouse(self) -> Warehouse:
        """As a run makes it."""
        return Warehouse(self.client, raw=DATASET_RAW, ledger=DATASET_LEDGER)

    def sink(self, api_key: str = "sk_test_double") -> StripeSink:
        """As a run makes it."""
        return StripeSink(api_key, api_base=self.stripe.url)

    def invoices(self, api_key: str = "sk_test_double") -> StripeInvoices:
        """As a run makes it."""
        return StripeInvoices(api_key, api_base=self.stripe.url)

    def reporter(self, sink: UsageSink | None = None, **changes: Any) -> Reporter:
        """The usage reporter."""
        given: dict[str, Any] = {
            "warehouse": self.warehouse,
            "sink": lambda: sink or self.sink(),
            "database": self.database,
            "clock": self.clock,
            "invoice_grace": GRACE,
            "policy": self.policy,
            "invoices": self.invoices,
        }
        return Reporter(**(given | changes))

    def reconciler(self) -> Reconciler:
        """The usage reconciler."""
        return Reconciler(
            warehouse=self.warehouse,
            stripe=lambda: StripeSummaries("sk_test_double", api_base=self.stripe.url),
            books=lambda: open_books("sk_test_double", api_base=self.stripe.url),
            sink=self.sink,
            database=self.database,
            clock=self.clock,
        )

    def report(self, sink: UsageSink | None = None, **body: Any) -> Run:
        """One run of the reporter, as its request body asks for."""
        return report(self.reporter(sink), self.window(**body))

    def window(self, **body: Any) -> Window:
        """What a request body asks for now."""
        return window_from({name.rstrip("_"): value for name, value in body.items()}, self.now)

    def customer(self, tenant_id: str = "acme") -> str:
        """A new Stripe customer's id."""
        made = self.stripe.client().v1.customers.create(
            {"name": tenant_id, "metadata": {"tenant_id": tenant_id}}
        )
        return made.id

    def insert(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Stream rows into ``dataset.table``."""
        whole = self.client.get_table(f"{PROJECT_ID}.{table}")
        assert self.client.insert_rows_json(whole, list(rows), row_ids=[None] * len(rows)) == []

    def rows(self, table: str, order: str = "1") -> list[dict[str, Any]]:
        """All rows of ``dataset.table`` or of a view."""
        found = self.client.query_and_wait(f"SELECT * FROM `{table}` AS t ORDER BY {order}")  # noqa: S608
        return [dict(row.items()) for row in found]

    def deltas(self) -> list[dict[str, Any]]:
        """The sealed rows, by seal."""
        return self.rows(f"{DATASET_LEDGER}.meter_deltas", "seal_number, identifier")

    def deliveries(self) -> list[dict[str, Any]]:
        """Where the delivery of each sealed row stands."""
        return self.rows(f"{DATASET_LEDGER}.delivery_states", "identifier")

    def billed(self) -> dict[tuple[str, str], int]:
        """What Stripe counts, by customer and meter."""
        sums: dict[tuple[str, str], int] = {}
        for row in self.stripe.get("/_sandbox/ledger")["meter_hours"]:
            key = row["customer"], row["meter"]
            sums[key] = sums.get(key, 0) + int(row["value"])
        return sums

    def events(self) -> list[dict[str, Any]]:
        """The meter events that Stripe has taken."""
        found: list[dict[str, Any]] = self.stripe.get("/_sandbox/ledger")["events"]
        return found

    def warehouse_fault(self, kind: str, **fault: Any) -> None:
        """Arm a fault of the warehouse, for one occasion unless the test says otherwise."""
        body = {"kind": kind, **({} if "rate" in fault else {"count": 1}), **fault}
        self.http.post(f"{self.bigquery_url}/_sandbox/faults", json=body).raise_for_status()

    def warehouse_faults(self) -> list[dict[str, Any]]:
        """The warehouse's armed faults, with how often each was injected."""
        found: list[dict[str, Any]] = self.http.get(f"{self.bigquery_url}/_sandbox/faults").json()["faults"]
        return found

    def injected(self, kind: str) -> int:
        """How often a fault of either double was injected."""
        armed = [*self.warehouse_faults(), *self.stripe.get("/_sandbox/faults")["faults"]]
        return sum(fault["injected"] for fault in armed if fault["kind"] == kind)

    def advance(self, **by: float) -> None:
        """Let time pass, for both."""
        self.stripe.advance(**by)

    def go_to(self, moment: str) -> None:
        """Let time pass until an RFC 3339 timestamp."""
        self.advance(seconds=(parse_rfc3339(moment) - self.now).total_seconds())


@dataclass(frozen=True, slots=True)
class Hosts:
    """The servers of the doubles, for one stage after the other."""

    bigquery: ServerHost
    stripe: Host


@contextmanager
def hosts() -> Iterator[Hosts]:
    """Running servers."""
    here = Hosts(ServerHost(), Host())
    here.bigquery.start()
    here.stripe.start()
    try:
        yield here
    finally:
        here.bigquery.stop()
        here.stripe.stop()


@contextmanager
def stage(
    folder: Path, bigquery_host: ServerHost, stripe_host: Host, begin: datetime = BEGIN
) -> Iterator[Stage]:
    """A stage with all tables, views and meters, and no usage."""
    clock = FixedClock(begin)
    facade = create_app(folder / "bigquery", clock, PROJECT_ID)
    with (
        bigquery_host.serving(facade) as url,
        stripe_host.running(folder / "stripe", clock) as double,
        httpx.Client(timeout=30, trust_env=False) as http,
    ):
        client = bigquery_client(url)
        create_warehouse(client, project=PROJECT_ID, raw=DATASET_RAW, ledger=DATASET_LEDGER)
        here = Stage(clock, double, url, client, SQLiteDatabase(folder / APP_DATABASE), http, folder)
        here.meters = {meter: make_meter(double.client(), meter).id for meter in METERS}
        yield here
        here.database.close()
        client.close()


def bigquery_client(url: str) -> bigquery.Client:
    """The official client, pointed at a façade."""
    options = ClientOptions(api_endpoint=url)
    return bigquery.Client(project=PROJECT_ID, credentials=AnonymousCredentials(), client_options=options)
