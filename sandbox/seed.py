"""Fills a new sandbox: the warehouse, the plans in Stripe, and tenants by way of their subscriptions.

What a tenant may use is not written here: Stripe tells of the subscriptions, and the gateway's own functions
follow.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import stripe
import typer
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID, STRIPE_API_KEY, Layout
from sandbox.warehouse import create_warehouse
from tallygate.appdb import Database, open_database
from tallygate.catalogue import load_catalogue
from tallygate.clock import clock_from
from tallygate.plans import Plan, load_plans
from tallygate.secrets import STRIPE_WEBHOOK_SECRET
from tallygate.subscriptions.checkout import checkout_link
from tallygate.subscriptions.connecting import connect_webhook
from tallygate.subscriptions.prices import current_prices
from tallygate.subscriptions.publishing import publish
from tallygate.tenants import Tenant, issue_key, put_tenant, tenant_from

TENANTS: Final = {"aurora": "starter", "borealis": "team", "corvus": "scale"}
"""One tenant per charge basis; the plan of each."""
SEATS: Final = 3


_LOOK_AGAIN_SECONDS: Final = 0.2
SIGNED_UP_SECONDS: Final = 60
"""In real time: how long the gateway may take to follow Stripe."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts listen that seeding needs."""

    stripe: str
    webhook: str
    sync: str


def seed(
    layout: Layout, addresses: Addresses, client: stripe.StripeClient, warehouse: bigquery.Client
) -> list[dict[str, Any]]:
    """Make everything; the tenants with their keys, as ``state.json`` lists them."""
    clock = clock_from(f"file:{layout.clock}")
    catalogue = load_catalogue(layout.catalogue, now=clock.now())
    plans = load_plans(layout.plans, catalogue)
    create_warehouse(warehouse, project=PROJECT_ID, raw=DATASET_RAW, ledger=DATASET_LEDGER)
    publish(client, plans, dry_run=False)
    _connect_webhook(client, layout, addresses.webhook)
    prices = current_prices(client, plans)
    database = open_database(f"sqlite:{layout.app_database}", project_id=PROJECT_ID)
    tenants = []
    for tenant_id, plan_name in TENANTS.items():
        plan = plans.plans[plan_name]
        put_tenant(database, pending_tenant(tenant_id, plan))
        _subscribe(client, addresses, tenant_id, plan, prices)
        key = issue_key(database, tenant_id, label="sandbox", now=clock.now())
        tenants.append({"tenant_id": tenant_id, "api_key": key.secret, "plan": plan_name})
    customers = _follow(database, addresses)
    database.close()
    return [{**tenant, "stripe_customer": customers[tenant["tenant_id"]]} for tenant in tenants]


def _connect_webhook(client: stripe.StripeClient, layout: Layout, url: str) -> None:
    """Make the event destination; its signing secret goes to where the functions read secrets."""

    def keep(secret: str) -> str:
        (layout.secrets / STRIPE_WEBHOOK_SECRET).write_text(secret)
        return "1"

    connect_webhook(client, url, kept=(), keep=keep)


def _subscribe(
    client: stripe.StripeClient, addresses: Addresses, tenant_id: str, plan: Plan, prices: Mapping[str, str]
) -> None:
    """A person of the tenant pays on the page of a Checkout session."""
    link = checkout_link(
        client, tenant_id=tenant_id, plan=plan, prices=prices, seats=SEATS,
        success_url="https://example.com/thanks",
    )  # fmt: skip
    page = f"{addresses.stripe}/_sandbox/checkout/sessions/{link.session_id}/complete"
    httpx.post(page, json={"name": tenant_id}, timeout=30, trust_env=False).raise_for_status()


def _follow(database: Database, addresses: Addresses) -> dict[str, str | None]:
    """Let Stripe send its events, and the sync apply what they left, until every tenant is served.

    Returns the customer of each tenant.
    """
    deadline = time.monotonic() + SIGNED_UP_SECONDS
    with httpx.Client(timeout=SIGNED_UP_SECONDS, trust_env=False) as http:
        while True:
            http.post(f"{addresses.stripe}/_sandbox/tick").raise_for_status()
            answer = http.post(addresses.sync, json={"depth": "recent"})
            tenants = [tenant_from(document) for _, document in database.query("tenants")]
            waiting = sorted(tenant.tenant_id for tenant in tenants if tenant.status != "active")
            if answer.status_code == 200 and not waiting:
                return {tenant.tenant_id: tenant.stripe_customer for tenant in tenants}
            if time.monotonic() > deadline:
                raise RuntimeError(f"Stripe's events did not activate {', '.join(waiting)}: {answer.text}")
            time.sleep(_LOOK_AGAIN_SECONDS)


def pending_tenant(tenant_id: str, plan: Plan) -> Tenant:
    """A tenant before it has subscribed: nothing is served, and no customer is known."""
    return Tenant(
        tenant_id=tenant_id,
        status="pending",
        grace_until=None,
        plan=plan.name,
        models=plan.models,
        rpm=plan.quotas.rpm,
        tpm=plan.quotas.tpm,
        max_parallel=plan.quotas.max_parallel,
        monthly_budget_nano_usd=plan.monthly_budget_nano_usd,
        stripe_customer=None,
    )


def main(
    root: Annotated[Path, typer.Option()],
    stripe_url: Annotated[str, typer.Option("--stripe")],
    bigquery_url: Annotated[str, typer.Option("--bigquery")],
    webhook_url: Annotated[str, typer.Option("--webhook")],
    sync_url: Annotated[str, typer.Option("--sync")],
) -> None:
    """Seed a sandbox and print its tenants as JSON."""
    os.environ["BIGQUERY_EMULATOR_HOST"] = bigquery_url
    client = stripe.StripeClient(STRIPE_API_KEY, base_addresses={"api": stripe_url})
    warehouse = bigquery.Client(project=PROJECT_ID, credentials=AnonymousCredentials())
    addresses = Addresses(stripe_url, webhook_url, sync_url)
    print(json.dumps(seed(Layout(root), addresses, client, warehouse)))


if __name__ == "__main__":
    typer.run(main)
