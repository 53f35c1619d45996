"""What counts and what was charged, for those who check the books."""

from __future__ import annotations

from typing import Any

from sandbox.stripe.invoices import INVOICE, lines_of
from sandbox.stripe.meters import METER
from sandbox.stripe.store import Document, Store
from sandbox.stripe.usage import HOUR, Usage, aggregate, by_window, ledger_events, moment
from sandbox.stripe.wire import at
from tallygate.clock import rfc3339


def ledger(store: Store) -> dict[str, Any]:
    """Every event that counts, their sums by hour, every invoice with its lines; values are text."""
    meters = {meter["id"]: meter for meter in store.every(METER)}
    prices = {price["id"]: price for price in store.every("price")}
    rows = ledger_events(store)
    hours: dict[tuple[str, str], list[Usage]] = {}
    for row in rows:
        usage = Usage(row["at"], row["received_at"], row["value"])
        hours.setdefault((row["customer"], row["meter"]), []).append(usage)
    return {
        "meter_hours": [
            {
                "customer": customer,
                "meter": meters[meter]["event_name"],
                "hour": rfc3339(moment(start)),
                "value": str(aggregate(meters[meter], group)),
            }
            for (customer, meter), events in sorted(hours.items())
            for start, group in sorted(by_window(events, HOUR).items())
        ],
        "events": [
            {
                "identifier": row["identifier"],
                "customer": row["customer"],
                "meter": row["event_name"],
                "timestamp": rfc3339(moment(row["at"])),
                "value": str(row["value"]),
                "received_at": rfc3339(moment(row["received_at"])),
            }
            for row in rows
        ],
        "invoices": [_invoice(store, invoice, prices, meters) for invoice in store.every(INVOICE)],
    }


def _invoice(
    store: Store, invoice: Document, prices: dict[str, Document], meters: dict[str, Document]
) -> dict[str, Any]:
    def line_of(line: Document) -> dict[str, Any]:
        price = prices[line["pricing"]["price_details"]["price"]] if line["pricing"] else None
        meter = (price["recurring"] or {}).get("meter") if price else None
        return {
            "price": price["id"] if price else None,
            "meter": meters[meter]["event_name"] if meter else None,
            "quantity": str(line["quantity"]),
            "amount": str(line["amount"]),
        }

    return {
        "id": invoice["id"],
        "customer": invoice["customer"],
        "status": invoice["status"],
        "period_start": rfc3339(at(invoice["period_start"])),
        "period_end": rfc3339(at(invoice["period_end"])),
        "lines": [line_of(line) for line in lines_of(store, invoice)],
    }
