"""Invoices: drafted at the end of a period, open for late usage for an hour, then final.

While an invoice is a draft, its metered lines are counted anew on every look; finalization freezes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import first_page
from sandbox.stripe.meters import METER
from sandbox.stripe.periods import cents
from sandbox.stripe.store import Document, Store
from sandbox.stripe.usage import billed_quantity
from sandbox.stripe.wire import new_id, unix

FINALIZED_AFTER: Final = timedelta(hours=1)
INVOICE: Final = "invoice"
LINE: Final = "line_item"
_NUMBERED: Final = "invoices_numbered"
PENDING: Final = "invoiceitem"


def make_line(
    item: Document,
    start: int,
    end: int,
    *,
    quantity: int = 0,
    amount: int | None = None,
    invoice_item: str | None = None,
) -> Document:
    """A line for a subscription's item over a period; the quantity of a metered one is counted later.

    ``invoice_item``: the pending item that a proration is.
    """
    price = item["price"]
    amount = cents(price, quantity) if amount is None else amount
    details = {
        "invoice_item": invoice_item,
        "proration": invoice_item is not None,
        "proration_details": {"credited_items": None},
        "subscription": item["subscription"],
        "subscription_item": item["id"],
    }
    parent = {"type": "subscription_item_details", "subscription_item_details": details}
    return _line(price, quantity, amount, (start, end), item["subscription"], parent)


def item_line(
    price: Document | None,
    item_id: str,
    quantity: int,
    amount: int,
    period: tuple[int, int],
) -> Document:
    """A line for an invoice item; without a price it is an amount of its own."""
    details = {"invoice_item": item_id, "proration": False}
    parent = {"type": "invoice_item_details", "invoice_item_details": details}
    return _line(price, quantity, amount, period, None, parent)


def _line(
    price: Document | None,
    quantity: int,
    amount: int,
    period: tuple[int, int],
    subscription: str | None,
    parent: Document,
) -> Document:
    pricing = price and {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": price["unit_amount_decimal"],
    }
    return {
        "id": new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"] if price else "usd",
        "description": (price["nickname"] or price["lookup_key"]) if price else None,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": pricing,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": subscription,
        "subtotal": amount,
        "taxes": [],
    }


def draft(
    store: Store, now: datetime, *, customer: str, subscription: str | None, reason: str,
    period: tuple[int, int], lines: Sequence[Document], currency: str = "usd", auto_advance: bool = True,
) -> Document:  # fmt: skip
    """A new draft with its lines, which finalizes itself after an hour unless told otherwise."""
    details: Document = {"metadata": {}, "subscription": subscription}
    parent = {"type": "subscription_details", "subscription_details": details, "quote_details": None}
    invoice: Document = {
        "id": new_id("in"),
        "object": "invoice",
        "auto_advance": auto_advance,
        "automatically_finalizes_at": unix(now + FINALIZED_AFTER) if auto_advance else None,
        "attempt_count": 0,
        "attempted": False,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": unix(now),
        "currency": currency,
        "customer": customer,
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "parent": parent if subscription else None,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "period_start": period[0],
        "period_end": period[1],
        "status": "draft",
        "status_transitions": {
            "finalized_at": None, "paid_at": None, "voided_at": None, "marked_uncollectible_at": None,
        },
    }  # fmt: skip
    store.add(INVOICE, invoice, owner=customer)
    for line in lines:
        put_line(store, invoice["id"], line)
    announce(store, now, "invoice.created", show(store, invoice))
    return invoice


def put_line(store: Store, invoice_id: str, line: Document) -> None:
    """Put a line on a draft; the item that it comes from, if any, knows the invoice then."""
    store.add(LINE, {**line, "invoice": invoice_id}, owner=invoice_id)
    item_id = line["parent"][line["parent"]["type"]]["invoice_item"]
    if item_id is not None:
        store.change(PENDING, item_id, lambda item: item.update(taken=True, invoice=invoice_id))


def lines_of(store: Store, invoice: Document) -> list[Document]:
    """The lines of an invoice; those of a draft with the usage received so far."""
    lines = store.every(LINE, owner=invoice["id"])
    return [_counted(store, invoice, line) for line in lines] if invoice["status"] == "draft" else lines


def _counted(store: Store, invoice: Document, line: Document) -> Document:
    if line["parent"]["type"] != "subscription_item_details":
        return line
    price = store.get("price", line["pricing"]["price_details"]["price"])
    meter_id = price["recurring"]["meter"] if price["recurring"] else None
    if meter_id is None:
        return line
    period = line["period"]
    meter = store.get(METER, meter_id)
    quantity = billed_quantity(store, meter, invoice["customer"], period["start"], period["end"])
    amount = cents(price, quantity)
    return {
        **line,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "amount": amount,
        "subtotal": amount,
    }


def show(store: Store, invoice: Document) -> Document:
    """An invoice as the API shows it: with lines and sums."""
    lines = lines_of(store, invoice)
    total = sum(line["amount"] for line in lines)
    due = max(total - invoice["pre_payment_credit_notes_amount"], 0)
    paid = due if invoice["status"] == "paid" else 0
    url = f"/v1/invoices/{invoice['id']}/lines"
    return {
        **invoice,
        "amount_due": due,
        "amount_paid": paid,
        "amount_remaining": due - paid,
        "lines": first_page(url, lines),
        "subtotal": total,
        "total": total,
        "starting_balance": 0,
        "ending_balance": None if invoice["status"] == "draft" else 0,
    }


def finalize(store: Store, now: datetime, invoice: Document) -> Document:
    """Freeze a draft: it has its number and its amounts and is open for payment."""
    for line in lines_of(store, invoice):
        store.save(line)
    number = store.mark(_NUMBERED) + 1
    store.set_mark(_NUMBERED, number)
    invoice["status_transitions"] |= {"finalized_at": unix(now)}
    invoice |= {"automatically_finalizes_at": None, "number": f"SANDBOX-{number:04d}", "status": "open"}
    store.save(invoice)
    announce(store, now, "invoice.finalized", show(store, invoice))
    return invoice


def amount_due(store: Store, invoice: Document) -> int:
    """What is to be paid, in cents; never below zero."""
    due: int = show(store, invoice)["amount_due"]
    return due


def next_finalization(store: Store) -> tuple[int, Document] | None:
    """The draft that finalizes itself next, and when (seconds)."""
    row = store.execute(
        "SELECT document, json_extract(document, '$.automatically_finalizes_at') AS due FROM objects "
        "INDEXED BY invoices_by_finalization WHERE kind = 'invoice' "
        "AND json_extract(document, '$.auto_advance') = 1 AND due IS NOT NULL "
        "ORDER BY due LIMIT 1"
    ).fetchone()
    return None if row is None else (row["due"], json.loads(row["document"]))
