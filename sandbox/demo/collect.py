"""Asks each source for its column of the proof, over its public interface."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import httpx
import stripe
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from sandbox.demo.proof import Amounts, Bucket, Sources
from sandbox.layout import STRIPE_API_KEY, Layout
from sandbox.state import read_state
from tallygate.metering.sinks.stripe_invoices import METER_KEY
from tallygate.records import ADMIT_EVENT, METERS, USAGE_EVENT

_SUMMARY_PAGE: Final = 100
_ONE_OFF: Final = "manual"
"""``billing_reason`` of an invoice that was made outside the subscription's cycle."""

_WAREHOUSE: Final = """
SELECT h.tenant_id, h.meter, SUM(h.value) AS value
FROM `{ledger}.usage_hours` AS h
GROUP BY h.tenant_id, h.meter
"""
_SEALED: Final = """
WITH newest AS (
  SELECT d.identifier, d.state
  FROM `{ledger}.meter_deliveries` AS d
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY d.identifier ORDER BY d.at DESC, d.attempt DESC) = 1
)
SELECT m.tenant_id, m.meter, IF(n.state IN ('rejected', 'parked'), 'parked', m.disposition) AS outcome,
  SUM(m.value) AS value
FROM `{ledger}.meter_deltas` AS m
LEFT JOIN newest AS n ON n.identifier = m.identifier
GROUP BY m.tenant_id, m.meter, outcome
"""
_REJECTED: Final = """
SELECT DISTINCT r.request_id
FROM `{ledger}.rejected_lines` AS r
LEFT JOIN `{ledger}.usage_events` AS e ON e.request_id = r.request_id
WHERE e.request_id IS NULL
"""
"""A line of a tenant whose segment came later is noted as rejected, and counts once the segment is there."""


@dataclass(frozen=True, slots=True)
class Connections:
    """Clients of a running sandbox, made from its ``state.json``."""

    layout: Layout
    state: Mapping[str, Any]
    stripe: stripe.StripeClient
    warehouse: bigquery.Client


def connect(layout: Layout) -> Connections:
    """Unmodified clients, pointed at the doubles.

    Raises:
        NotRunningError: when no sandbox runs there.
    """
    state = read_state(layout.state)
    os.environ["BIGQUERY_EMULATOR_HOST"] = state["bigquery_url"]
    return Connections(
        layout,
        state,
        stripe.StripeClient(STRIPE_API_KEY, base_addresses={"api": state["stripe_url"]}),
        bigquery.Client(project=state["project_id"], credentials=AnonymousCredentials()),
    )


def collect(connections: Connections, *, since: datetime, until: datetime) -> Sources:
    """Everything that the proof compares, of the time between two moments."""
    state = connections.state
    ledger = httpx.get(f"{state['provider_url']}/_sandbox/ledger", timeout=30, trust_env=False).json()
    customers = {tenant["stripe_customer"]: tenant["tenant_id"] for tenant in state["tenants"]}
    invoice, one_off = _invoice_lines(connections, customers)
    return Sources(
        provider_ledger=ledger["rows"],
        lines=list(captured_lines(Path(state["log_dir"]))),
        warehouse=_amounts(_query(connections, _WAREHOUSE)),
        sealed=_sealed(connections),
        stripe=_summaries(connections, customers, since, until),
        invoice=invoice,
        one_off=one_off,
        rejected=frozenset(row["request_id"] for row in _query(connections, _REJECTED) if row["request_id"]),
    )


def captured_lines(log_dir: Path) -> Iterator[dict[str, Any]]:
    """The usage events and admit lines on the proxies' stdout, in order."""
    for path in sorted(log_dir.glob("proxy-*.stdout.log")):
        for text in path.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and line.get("event") in (USAGE_EVENT, ADMIT_EVENT):
                yield line


def _query(connections: Connections, sql: str) -> list[Mapping[str, Any]]:
    text = sql.format(ledger=connections.state["dataset_ledger"])
    return [dict(row.items()) for row in connections.warehouse.query_and_wait(text)]


def _amounts(rows: Iterable[Mapping[str, Any]]) -> Amounts:
    return {(row["tenant_id"], row["meter"]): int(row["value"]) for row in rows}


def _sealed(connections: Connections) -> Mapping[str, Amounts]:
    sealed: dict[str, Counter[Bucket]] = {}
    for row in _query(connections, _SEALED):
        bucket = row["tenant_id"], row["meter"]
        sealed.setdefault(row["outcome"], Counter())[bucket] += int(row["value"])
    return sealed


def _summaries(
    connections: Connections, customers: Mapping[str, str], since: datetime, until: datetime
) -> Amounts:
    start = int(since.replace(minute=0, second=0, microsecond=0).timestamp())
    end = int((until.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)).timestamp())
    meters = connections.stripe.v1.billing.meters.list({"limit": 100}).auto_paging_iter()
    sums: Counter[Bucket] = Counter()
    for meter in meters:
        if meter.event_name not in METERS:
            continue
        for customer, tenant in customers.items():
            summaries = connections.stripe.v1.billing.meters.event_summaries.list(
                meter.id,
                {"customer": customer, "limit": _SUMMARY_PAGE, "start_time": start, "end_time": end},
            )
            for summary in summaries.auto_paging_iter():
                sums[tenant, meter.event_name] += _whole(summary.aggregated_value)
    return sums


def _whole(value: float) -> int:
    """Summaries are floats on the wire; ours are whole numbers below 2**53, which a float holds exactly.

    Raises:
        ValueError: for a fraction.
    """
    exact = Decimal(str(value))
    if exact != exact.to_integral_value():
        raise ValueError(f"a summary is not a whole number: {value}")
    return int(exact)


def _invoice_lines(connections: Connections, customers: Mapping[str, str]) -> tuple[Amounts, Amounts]:
    """Metered quantities on finalized invoices: all of them, and those on one-off invoices."""
    names = {
        meter.id: meter.event_name
        for meter in connections.stripe.v1.billing.meters.list({"limit": 100}).auto_paging_iter()
    }
    prices = {
        price.id: names[price.recurring.meter]
        for price in connections.stripe.v1.prices.list({"limit": 100}).auto_paging_iter()
        if price.recurring and price.recurring.meter
    }
    every: Counter[Bucket] = Counter()
    one_off: Counter[Bucket] = Counter()
    for customer, tenant in customers.items():
        for invoice in connections.stripe.v1.invoices.list({"customer": customer}).auto_paging_iter():
            if invoice.status == "draft":
                continue
            for line in connections.stripe.v1.invoices.line_items.list(invoice.id).auto_paging_iter():
                meter = _meter_of(line, prices)
                if meter is None:
                    continue
                every[tenant, meter] += line.quantity or 0
                if invoice.billing_reason == _ONE_OFF:
                    one_off[tenant, meter] += line.quantity or 0
    return every, one_off


def _meter_of(line: stripe.InvoiceLineItem, prices: Mapping[str, str]) -> str | None:
    """The meter of a line: of its price, or as a one-off item names it; None: it charges no usage."""
    named: str | None = line.metadata.to_dict().get(METER_KEY)
    return named or prices.get(_price_of(line))


def _price_of(line: stripe.InvoiceLineItem) -> str:
    """The id of the price of an invoice line; empty for a line without one."""
    details = line.pricing.price_details if line.pricing else None
    return str(details.price) if details else ""


def moment(timestamp: int) -> datetime:
    """A Unix timestamp as an aware moment."""
    return datetime.fromtimestamp(timestamp, UTC)
