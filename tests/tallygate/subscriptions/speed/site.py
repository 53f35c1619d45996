"""Real processes to measure: two instances of the webhook, one of the sync, Stripe's and BigQuery's doubles.

The proxy's part is its own Authenticator, in this process, over the same app database: a key is read anew
when its cache entry is older than the product's default.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import stripe

from proxy.auth import Authenticator
from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID, REPOSITORY
from sandbox.parts import free_port
from sandbox.seed import pending_tenant
from sandbox.stripe.store import Store
from sandbox.warehouse import create_warehouse
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.catalogue import load_catalogue
from tallygate.clock import SystemClock
from tallygate.plans import Plan, load_plans
from tallygate.secrets import STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET
from tallygate.subscriptions.account import TENANT_KEY
from tallygate.subscriptions.binding import bind
from tallygate.subscriptions.events import THIN_EVENTS
from tallygate.subscriptions.prices import current_prices, wanted_prices
from tallygate.subscriptions.publishing import publish
from tallygate.tenants import issue_key, put_tenant
from tests.support.gateway import keys_only
from tests.support.stage import bigquery_client
from tests.support.stripe_events import SECRET

INSTANCES: Final = 2
"""Of the webhook."""
SYNC_EVERY_SECONDS: Final = 60.0
"""As modules/scheduler/jobs.json has it."""
KEY: Final = "sk_test_of_the_measurement"
_START_SECONDS: Final = 120
_FOLDER: Final = REPOSITORY / "sandbox" / "config"
_NOWHERE: Final = "http://127.0.0.1:9"


@dataclass
class Site:
    """What is measured."""

    folder: Path
    stripe_url: str
    webhooks: list[str]
    sync: str
    database: SQLiteDatabase
    client: stripe.StripeClient
    plan: Plan
    prices: dict[str, str]
    keys: dict[str, str] = field(default_factory=dict)
    """API keys by tenant."""

    def tenant(self, tenant_id: str, customer: str) -> None:
        """A tenant that is bound to a customer and waits for its first event."""
        put_tenant(self.database, pending_tenant(tenant_id, self.plan))
        bind(self.database, tenant_id, customer)
        now = datetime.now(UTC)
        self.keys[tenant_id] = issue_key(self.database, tenant_id, label="measured", now=now).secret

    def customer(self, tenant_id: str) -> str:
        """A new customer."""
        made = self.client.v1.customers.create({"name": tenant_id, "metadata": {TENANT_KEY: tenant_id}})
        return made.id

    def subscribe(self, customer: str, **changes: Any) -> Any:
        """A subscription of the plan."""
        items: list[Any] = []
        for wanted in wanted_prices(self.plan):
            quantity = {} if wanted.is_metered else {"quantity": 1}
            items.append({"price": self.prices[wanted.lookup_key], **quantity})
        params: Any = {"customer": customer, "items": items, **changes}
        return self.client.v1.subscriptions.create(params)

    def multiply(self, customer: str, subscription: str, count: int) -> list[tuple[str, str]]:
        """Copies of a customer and its subscription, straight in the double's store: ids of each pair."""
        store = Store(self.folder / "stripe" / "stripe.sqlite")
        made = []
        try:
            of_customer = json.dumps(store.get("customer", customer))
            of_subscription = store.get("subscription", subscription)
            items = [item["id"] for item in of_subscription["items"]]
            text = json.dumps(of_subscription)
            with store.transaction():
                for number in range(count):
                    pair = f"cus_copy{number:06}", f"sub_copy{number:06}"
                    copy = text.replace(customer, pair[0]).replace(subscription, pair[1])
                    for place, item in enumerate(items):
                        copy = copy.replace(item, f"si_copy{number:06}x{place}")
                    store.add("customer", json.loads(of_customer.replace(customer, pair[0])))
                    store.add("subscription", json.loads(copy), owner=pair[0])
                    made.append(pair)
        finally:
            store.close()
        return made

    def connect(self) -> None:
        """Let Stripe send its events to the first instance."""
        made = self.client.v2.core.event_destinations.create(
            {
                "name": "measured",
                "type": "webhook_endpoint",
                "event_payload": "thin",
                "enabled_events": list(THIN_EVENTS),
                "webhook_endpoint": {"url": self.webhooks[0]},
                "include": ["webhook_endpoint.signing_secret"],
            }
        )
        assert made.webhook_endpoint is not None
        secret = made.webhook_endpoint.signing_secret
        (self.folder / "secrets" / STRIPE_WEBHOOK_SECRET).write_text(f"{secret}\n{SECRET}")

    def slow_stripe(self, seconds: float) -> None:
        """Let every answer of Stripe take so long, as over the internet."""
        fault = {"kind": "latency", "rate": 1.0, "seed": 1, "seconds": seconds}
        httpx.post(f"{self.stripe_url}/_sandbox/faults", json=fault, trust_env=False).raise_for_status()

    def calls(self) -> list[tuple[float, str, str]]:
        """When Stripe was asked what, and about which customer, since the calls were last forgotten."""
        lines = (self.folder / "calls").read_text().splitlines()
        parts = [line.split(" ") for line in lines]
        return [(float(at), f"{method} {path}", customer) for at, method, path, customer in parts]

    def forget_calls(self) -> None:
        """Count from here."""
        os.truncate(self.folder / "calls", 0)

    def authenticator(self) -> Authenticator:
        """The proxy's own, with its default cache."""
        return Authenticator(
            self.database, SystemClock(), identities=keys_only(), fresh_seconds=key_cache_seconds()
        )

    async def synchronise(self) -> dict[str, Any]:
        """One run of the sync."""
        async with httpx.AsyncClient(timeout=400, trust_env=False) as http:
            answer = await http.post(self.sync, json={"depth": "recent"})
        found: dict[str, Any] = answer.json()
        return found

    async def schedule(self, first_seconds: float) -> None:
        """Runs of the sync as the scheduler makes them, until cancelled."""
        await asyncio.sleep(first_seconds)
        running: set[asyncio.Task[Any]] = set()
        while True:
            task = asyncio.create_task(self.synchronise())  # the scheduler does not wait for the last one
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(SYNC_EVERY_SECONDS)


def key_cache_seconds() -> float:
    """For how long the proxy believes a cached key, where nothing else is set."""
    text = (REPOSITORY / "proxy" / "settings.py").read_text()
    found = re.search(r'"TALLYGATE_KEY_CACHE_SECONDS", default=(\d+)', text)
    assert found is not None, "proxy/settings.py reads TALLYGATE_KEY_CACHE_SECONDS otherwise than before"
    return float(found[1])


@contextmanager
def open_site(folder: Path, *, attempts_fail: bool = False) -> Iterator[Site]:
    """Start everything in a folder; ``attempts_fail``: the webhook can't reach Stripe, the sync can."""
    (folder / "secrets").mkdir()
    (folder / "secrets" / STRIPE_API_KEY).write_text(KEY)
    (folder / "secrets" / STRIPE_WEBHOOK_SECRET).write_text(SECRET)
    (folder / "calls").touch()
    with ExitStack() as stack:
        stripe_port, bigquery_port = free_port(), free_port()
        stripe_url, bigquery_url = (f"http://127.0.0.1:{port}" for port in (stripe_port, bigquery_port))
        double = [
            "tests.tallygate.subscriptions.speed.account", "--port", str(stripe_port),
            "--state", str(folder / "stripe"), "--calls", str(folder / "calls"),
        ]  # fmt: skip
        warehouse = [
            "sandbox.bigquery", "--port", str(bigquery_port), "--state", str(folder / "bigquery"),
            "--project", PROJECT_ID,
        ]  # fmt: skip
        for name, module in (("stripe", double), ("bigquery", warehouse)):
            stack.enter_context(_process(folder, name, ("-m", *module), {}))
        _await(f"{stripe_url}/_sandbox/next")
        _await(f"{bigquery_url}/_sandbox/faults")
        client = bigquery_client(bigquery_url)
        create_warehouse(client, project=PROJECT_ID, raw=DATASET_RAW, ledger=DATASET_LEDGER)
        client.close()
        database = SQLiteDatabase(folder / "app.sqlite")
        stack.callback(database.close)
        urls = []
        for number in range(INSTANCES + 1):
            name = "stripe_webhook" if number < INSTANCES else "stripe_sync"
            unreachable = attempts_fail and name == "stripe_webhook"
            environment = _environment(folder, _NOWHERE if unreachable else stripe_url, bigquery_url)
            urls.append(stack.enter_context(_function(folder, name, number, environment)))
        for url in urls:
            _await(f"{url}/robots.txt", 404)
        plans = load_plans(
            _FOLDER / "plans.json", load_catalogue(_FOLDER / "catalogue.json", now=datetime.now(UTC))
        )
        api = stripe.StripeClient(KEY, base_addresses={"api": stripe_url, "meter_events": stripe_url})
        publish(api, plans, dry_run=False)
        yield Site(
            folder, stripe_url, urls[:INSTANCES], urls[INSTANCES], database, api, plans.plans["scale"],
            current_prices(api, plans),
        )  # fmt: skip


def _environment(folder: Path, stripe_url: str, bigquery_url: str) -> dict[str, str]:
    return {
        "TALLYGATE_PROJECT_ID": PROJECT_ID,
        "TALLYGATE_APP_DATABASE": f"sqlite:{folder / 'app.sqlite'}",
        "TALLYGATE_SECRETS": f"file:{folder / 'secrets'}",
        "TALLYGATE_STRIPE_API_BASE": stripe_url,
        "TALLYGATE_CATALOGUE": str(_FOLDER / "catalogue.json"),
        "TALLYGATE_PLANS": str(_FOLDER / "plans.json"),
        "BIGQUERY_EMULATOR_HOST": bigquery_url,
        "THREADS": "20",  # as modules/function sets it to the webhook's concurrency
    }


@contextmanager
def _function(folder: Path, name: str, number: int, environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    arguments = (
        "-m", "functions_framework", "--source", str(REPOSITORY / "functions" / "main.py"), "--target", name,
        "--host", "127.0.0.1", "--port", str(port),
    )  # fmt: skip
    with _process(folder, f"{name}-{number}", arguments, environment):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _process(
    folder: Path, name: str, arguments: Sequence[str], environment: dict[str, str]
) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=log, stderr=log, cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **environment},
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(url: str, status: int = 200) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == status:
                return
        except (httpx.HTTPError, OSError):
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} does not answer")
        time.sleep(0.1)
