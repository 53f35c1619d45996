"""Fills a new sandbox: the warehouse, the plans in Stripe, the tenants with their keys and segments.

Until subscriptions are followed by events, what ``stripe_sync`` would derive from a subscription is
written here, once, from the subscription as Stripe answers it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import stripe
import typer
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID, STRIPE_API_KEY, Layout
from sandbox.warehouse import create_warehouse
from tallygate.appdb.opening import open_database
from tallygate.catalogue import load_catalogue
from tallygate.clock import clock_from, rfc3339
from tallygate.plans import Plan, load_plans
from tallygate.records import METERS, BillingSegment, SegmentItem
from tallygate.tenants import Tenant, issue_key, put_tenant

TENANTS: Final = {"aurora": "starter", "borealis": "team", "corvus": "scale"}
"""One tenant per charge basis; the plan of each."""
SEATS: Final = 3


@dataclass(frozen=True, slots=True)
class _Prices:
    """Ids of one plan's prices in Stripe."""

    flat: str | None
    seat: str | None
    meters: Mapping[str, str]


def seed(layout: Layout, client: stripe.StripeClient, warehouse: bigquery.Client) -> list[dict[str, Any]]:
    """Make everything; the tenants with their keys, as ``state.json`` lists them."""
    clock = clock_from(f"file:{layout.clock}")
    catalogue = load_catalogue(layout.catalogue, now=clock.now())
    plans = load_plans(layout.plans, catalogue).plans
    create_warehouse(warehouse, project=PROJECT_ID, raw=DATASET_RAW, ledger=DATASET_LEDGER)
    meters = {meter: _make_meter(client, meter) for meter in METERS}
    prices = {name: _make_prices(client, plan, meters) for name, plan in plans.items()}
    database = open_database(f"sqlite:{layout.app_database}", project_id=PROJECT_ID)
    tenants, segments = [], []
    for tenant_id, plan_name in TENANTS.items():
        plan = plans[plan_name]
        customer = client.v1.customers.create({"name": tenant_id, "metadata": {"tenant_id": tenant_id}})
        segment = _subscribe(client, tenant_id, customer.id, plan, prices[plan_name], clock.now())
        segments.append(segment)
        put_tenant(database, _tenant(tenant_id, plan, customer.id))
        database.put("segments", segment.segment_id, _document(segment))
        key = issue_key(database, tenant_id, label="sandbox", now=clock.now())
        tenants.append(
            {"tenant_id": tenant_id, "api_key": key.secret, "stripe_customer": customer.id, "plan": plan_name}
        )
    _mirror(warehouse, segments)
    database.close()
    return tenants


def _make_meter(client: stripe.StripeClient, meter: str) -> str:
    made = client.v1.billing.meters.create(
        {
            "event_name": meter,
            "display_name": meter,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
    )
    return made.id


def _make_prices(client: stripe.StripeClient, plan: Plan, meters: Mapping[str, str]) -> _Prices:
    product = client.v1.products.create({"name": f"Tallygate {plan.name}"}).id

    def licensed(cents: int | None, kind: str) -> str | None:
        if cents is None:
            return None
        made = client.v1.prices.create(
            {
                "product": product,
                "currency": "usd",
                "unit_amount": cents,
                "recurring": {"interval": "month"},
                "lookup_key": f"{plan.name}-{kind}",
            }
        )
        return made.id

    metered = {
        meter: client.v1.prices.create(
            {
                "product": product,
                "currency": "usd",
                "unit_amount_decimal": cents,
                "recurring": {"interval": "month", "usage_type": "metered", "meter": meters[meter]},
                "lookup_key": f"{plan.name}-{meter}",
            }
        ).id
        for meter, cents in plan.unit_cents.items()
    }
    return _Prices(licensed(plan.flat_cents, "flat"), licensed(plan.seat_cents, "seat"), metered)


def _subscribe(
    client: stripe.StripeClient, tenant_id: str, customer: str, plan: Plan, prices: _Prices, now: datetime
) -> BillingSegment:
    items: list[Any] = [{"price": price} for price in prices.meters.values()]
    if prices.flat:
        items.append({"price": prices.flat, "quantity": 1})
    if prices.seat:
        items.append({"price": prices.seat, "quantity": SEATS})
    made = client.v1.subscriptions.create(
        {"customer": customer, "items": items, "metadata": {"tenant_id": tenant_id}}
    )
    lines = made["items"].data
    by_price = {line.price.id: line.id for line in lines}
    start = datetime.fromtimestamp(lines[0].current_period_start, UTC)
    return BillingSegment(
        segment_id=f"seg_{uuid.uuid4().hex[:20]}",
        tenant_id=tenant_id,
        stripe_customer=customer,
        subscription_id=made.id,
        plan=plan.name,
        charge_basis=plan.charge_basis,
        items=tuple(
            SegmentItem(meter=meter, subscription_item=by_price[price], price=price)
            for meter, price in prices.meters.items()
        ),
        period_start=start,
        period_end=datetime.fromtimestamp(lines[0].current_period_end, UTC),
        valid_from=start,
        valid_to=None,
        known_at=now,
    )


def _tenant(tenant_id: str, plan: Plan, customer: str) -> Tenant:
    return Tenant(
        tenant_id=tenant_id,
        status="active",
        grace_until=None,
        plan=plan.name,
        models=plan.models,
        rpm=plan.quotas.rpm,
        tpm=plan.quotas.tpm,
        max_parallel=plan.quotas.max_parallel,
        monthly_budget_nano_usd=plan.monthly_budget_nano_usd,
        stripe_customer=customer,
    )


def _document(segment: BillingSegment) -> dict[str, Any]:
    return {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in (asdict(segment) | {"items": [asdict(item) for item in segment.items]}).items()
    }


def _mirror(warehouse: bigquery.Client, segments: list[BillingSegment]) -> None:
    table = warehouse.get_table(f"{PROJECT_ID}.{DATASET_LEDGER}.billing_segments")
    errors = warehouse.insert_rows_json(
        table,
        [_document(segment) for segment in segments],
        row_ids=[segment.segment_id for segment in segments],
    )
    if errors:
        raise RuntimeError(f"billing segments were refused: {errors}")


def main(
    root: Annotated[Path, typer.Option()],
    stripe_url: Annotated[str, typer.Option("--stripe")],
    bigquery_url: Annotated[str, typer.Option("--bigquery")],
) -> None:
    """Seed a sandbox and print its tenants as JSON."""
    os.environ["BIGQUERY_EMULATOR_HOST"] = bigquery_url
    client = stripe.StripeClient(STRIPE_API_KEY, base_addresses={"api": stripe_url})
    warehouse = bigquery.Client(project=PROJECT_ID, credentials=AnonymousCredentials())
    print(json.dumps(seed(Layout(root), client, warehouse)))


if __name__ == "__main__":
    typer.run(main)
