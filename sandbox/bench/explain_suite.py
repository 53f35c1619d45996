"""How long ``tallygate invoice explain`` takes for one line of many requests: the command itself, as typed.

One tenant's usage of a day is put into the raw table, sealed, sent to the double of Stripe and invoiced
there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Final

import httpx
import stripe
from google.cloud import bigquery

from sandbox.bench.warehouse import JOB_SECONDS, TOKENS, Usage, WrongSumError, answers, facade, load
from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID, REPOSITORY
from sandbox.parts import free_port
from sandbox.warehouse import create_warehouse
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock, write_offset
from tallygate.metering.report import Reporter, report
from tallygate.metering.sinks.stripe import StripeSink
from tallygate.metering.warehouse import Warehouse
from tallygate.metering.window import window_from

KEY: Final = "sk_test_bench"
METER: Final = "llm_input_tokens"
SUBSCRIBED: Final = datetime(2026, 3, 10, tzinfo=UTC)
SEALED: Final = datetime(2026, 3, 10, 23, 59, tzinfo=UTC)
INVOICED: Final = datetime(2026, 4, 10, 2, tzinfo=UTC)
_START_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Explained:
    """How long the command took."""

    sums_seconds: float
    """The sums of the line at every level."""
    list_seconds: float | None = None
    """The list of its requests; None: not asked for."""


def run(events: int, *, listed: bool = False) -> Explained:
    """Measure a line of so many requests; ``listed``: their list too, which takes minutes for a million.

    Raises:
        WrongSumError: when the command does not find the sums equal, or not all requests.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _stripe(folder) as account:
            segment = account.subscribe()
            state = folder / "bigquery"
            with facade(state) as (client, _):
                create_warehouse(client, PROJECT_ID, DATASET_RAW, DATASET_LEDGER)
                client.insert_rows_json(f"{PROJECT_ID}.{DATASET_LEDGER}.billing_segments", [segment])
            load(state, Usage(events, SUBSCRIBED + timedelta(hours=1), 22 * 3600, tenants=1))
            with facade(state) as (client, _):
                account.at(SEALED)
                _report(client, folder, account.url)
                account.at(INVOICED)
                invoice = account.invoice(segment["stripe_customer"])
                environment = _environment(folder, account.url, str(client._connection.API_BASE_URL))
                return _measured(invoice, environment, events, listed=listed)


def _measured(invoice: str, environment: dict[str, str], events: int, *, listed: bool) -> Explained:
    sums = ["invoice", "explain", invoice, "--format", "csv"]
    sums_seconds, printed = _timed(sums, environment)
    if f",requests,all hours,{events * TOKENS // 2},{events}" not in printed:
        raise WrongSumError(f"invoice explain printed {printed[-500:]}")
    if not listed:
        return Explained(sums_seconds)
    list_seconds, text = _timed([*sums, "--requests"], environment)
    if text.count("\n") != events + 1:
        raise WrongSumError(f"invoice explain listed {text.count(chr(10)) - 1} requests, not {events}")
    return Explained(sums_seconds, list_seconds)


def _timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """The command in a process of its own, from its start to its end; what it prints."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tallygate.cli", *arguments],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - started
    if done.returncode:
        raise WrongSumError(f"invoice explain ended with {done.returncode}: {done.stderr[-500:]}")
    return seconds, done.stdout


def _environment(folder: Path, stripe_url: str, bigquery_url: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "TALLYGATE_PROJECT_ID": PROJECT_ID,
        "TALLYGATE_APP_DATABASE": f"sqlite:{folder / 'app.sqlite3'}",
        "TALLYGATE_DATASET_RAW": DATASET_RAW,
        "TALLYGATE_DATASET_LEDGER": DATASET_LEDGER,
        "TALLYGATE_STRIPE_API_BASE": stripe_url,
        "TALLYGATE_CLOCK": f"file:{folder / 'clock'}",
        "BIGQUERY_EMULATOR_HOST": bigquery_url,
        "STRIPE_API_KEY": KEY,
    }


def _segment(customer: str, start: int, end: int) -> dict[str, Any]:
    """The tenant's billing segment, as the sync would write it; ``start`` and ``end`` as Stripe says."""
    period_start, period_end = (datetime.fromtimestamp(at, UTC).isoformat() for at in (start, end))
    return {
        "segment_id": "seg-0",
        "tenant_id": "tenant-0",
        "stripe_customer": customer,
        "subscription_id": "sub_0",
        "plan": "team",
        "charge_basis": "tokens",
        "items": [{"meter": METER, "subscription_item": "si_0", "price": "price_0"}],
        "period_start": period_start,
        "period_end": period_end,
        "valid_from": period_start,
        "valid_to": None,
        "known_at": period_start,
    }


def _report(client: bigquery.Client, folder: Path, stripe_url: str) -> None:
    clock = FixedClock(SEALED)
    database = SQLiteDatabase(folder / "app.sqlite3")
    reporter = Reporter(
        warehouse=lambda: Warehouse(client, DATASET_RAW, DATASET_LEDGER, job_seconds=JOB_SECONDS),
        sink=lambda: StripeSink(KEY, api_base=stripe_url),
        database=database,
        clock=clock,
        invoice_grace=timedelta(hours=1),
    )
    with redirect_stdout(StringIO()):  # its summary line is for Cloud Logging
        done = report(reporter, window_from({"depth": "hourly"}, clock.now()))
    database.close()
    if done.error or done.backlog:
        raise WrongSumError(done.error or f"{done.backlog} rows were not sent")


@dataclass(frozen=True, slots=True)
class _Account:
    """The double of Stripe in a process of its own, and its clock."""

    url: str
    clock: Path

    def at(self, moment: datetime) -> None:
        """Let time pass until a moment; it runs on from there."""
        write_offset(self.clock, moment - datetime.now(UTC))
        httpx.post(f"{self.url}/_sandbox/tick", timeout=60, trust_env=False).raise_for_status()

    def client(self) -> stripe.StripeClient:
        """The official SDK."""
        return stripe.StripeClient(KEY, base_addresses={"api": self.url, "meter_events": self.url})

    def subscribe(self) -> dict[str, Any]:
        """A customer with a metered subscription; its billing segment."""
        client = self.client()
        meter: Any = {
            "display_name": METER,
            "event_name": METER,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
        price: Any = {
            "product": client.v1.products.create({"name": "Gateway"}).id,
            "currency": "usd",
            "unit_amount_decimal": "0.0001",
            "recurring": {
                "interval": "month",
                "usage_type": "metered",
                "meter": client.v1.billing.meters.create(meter).id,
            },
        }
        customer = client.v1.customers.create({"name": "tenant-0"}).id
        items: Any = [{"price": client.v1.prices.create(price).id}]
        made = client.v1.subscriptions.create({"customer": customer, "items": items})
        (bought,) = made["items"].data
        return _segment(customer, bought.current_period_start, bought.current_period_end)

    def invoice(self, customer: str) -> str:
        """The invoice of the period that is over."""
        every = self.client().v1.invoices.list({"customer": customer}).data
        return next(str(one.id) for one in every if one.billing_reason == "subscription_cycle")


@contextmanager
def _stripe(folder: Path) -> Iterator[_Account]:
    port = free_port()
    account = _Account(f"http://127.0.0.1:{port}", folder / "clock")
    write_offset(account.clock, SUBSCRIBED - datetime.now(UTC))
    command = [sys.executable, "-m", "sandbox.stripe", "--port", str(port), "--state", str(folder / "stripe")]
    process = subprocess.Popen([*command, "--clock", f"file:{account.clock}"], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(f"{account.url}/_sandbox/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError("the double of Stripe did not start")
            time.sleep(_LOOK_SECONDS)
        yield account
    finally:
        process.terminate()
        process.wait()
