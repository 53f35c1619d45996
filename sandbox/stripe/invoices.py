"""Invoices: drafted at the end of a period, open for late usage for an hour, then final.

While an invoice is a draft, its metered lines are counted anew on every look; finalization freezes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from stripe import params as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, first_page, in_range, names, page
from sandbox.stripe.deliveries import is_undelivered
from sandbox.stripe.errors import StripeRefusalError, bad_parameter
from sandbox.stripe.meters import METER
from sandbox.stripe.periods import cents
from sandbox.stripe.store import Document, Store, merge_metadata
from sandbox.stripe.usage import billed_quantity
from sandbox.stripe.wire import at, new_id, unix

FINALIZED_AFTER: Final = timedelta(hours=1)
HELD_AT_MOST: Final = timedelta(days=5 * 365)
WAITS_AT_MOST: Final = timedelta(hours=72)
INVOICE: Final = "invoice"
LINE: Final = "line_item"
PENDING: Final = "invoiceitem"


def make_line(
    item: Document,
    start: int,
    end: int,
    *,
    quantity: int = 0,
    amount: int | None = None,
    proration: bool = False,
) -> Document:
    """A line for a subscription's item over a period; the quantity of a metered one is counted later."""
    price = item["price"]
    amount = cents(price, quantity) if amount is None else amount
    details = {
        "invoice_item": None,
        "proration": proration,
        "proration_details": {"credited_items": None},
        "subscription": item["subscription"],
        "subscription_item": item["id"],
    }
    parent = {"type": "subscription_item_details", "subscription_item_details": details}
    return _line(price, quantity, amount, (start, end), item["subscription"], parent)


def _line(
    price: Document,
    quantity: int,
    amount: int,
    period: tuple[int, int],
    subscription: str | None,
    parent: Document,
) -> Document:
    return {
        "id": new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": price["nickname"] or price["lookup_key"],
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": {
            "type": "price_details",
            "price_details": {"price": price["id"], "product": price["product"]},
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
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
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": unix(now),
        "currency": currency,
        "customer": customer,
        "livemode": False,
        "metadata": {},
        "number": None,
        "parent": parent if subscription else None,
        "period_start": period[0],
        "period_end": period[1],
        "status": "draft",
        "status_transitions": {
            "finalized_at": None, "paid_at": None, "voided_at": None, "marked_uncollectible_at": None,
        },
    }  # fmt: skip
    store.add(INVOICE, invoice, owner=customer)
    for line in lines:
        store.add(LINE, {**line, "invoice": invoice["id"]}, owner=invoice["id"])
    announce(store, now, "invoice.created", show(store, invoice))
    return invoice


def lines_of(store: Store, invoice: Document) -> list[Document]:
    """The lines of an invoice; those of a draft with the usage received so far."""
    lines = store.every(LINE, owner=invoice["id"])
    return [_counted(store, invoice, line) for line in lines] if invoice["status"] == "draft" else lines


def _counted(store: Store, invoice: Document, line: Document) -> Document:
    price = store.get("price", line["pricing"]["price_details"]["price"])
    meter_id = price["recurring"]["meter"] if price["recurring"] else None
    if meter_id is None or line["parent"]["type"] != "subscription_item_details":
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
    due = max(total, 0)
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
    """Freeze a draft. No money moves here, so it counts as paid at once."""
    for line in lines_of(store, invoice):
        store.save(line)
    number = 1 + store.count(
        "SELECT COUNT(*) FROM objects INDEXED BY invoices_by_number "
        "WHERE kind = 'invoice' AND json_extract(document, '$.number') > ''"
    )
    invoice["status_transitions"] |= {"finalized_at": unix(now), "paid_at": unix(now)}
    invoice |= {
        "automatically_finalizes_at": None, "auto_advance": False, "number": f"SANDBOX-{number:04d}",
    }  # fmt: skip
    announce(store, now, "invoice.finalized", show(store, {**invoice, "status": "open"}))
    store.save({**invoice, "status": "paid"})
    shown = show(store, {**invoice, "status": "paid"})
    announce(store, now, "invoice.paid", shown)
    return shown


def next_finalization(store: Store) -> tuple[int, Document] | None:
    """The draft that finalizes itself next, and when (seconds)."""
    row = store.execute(
        "SELECT document, json_extract(document, '$.automatically_finalizes_at') AS due FROM objects "
        "INDEXED BY invoices_by_finalization WHERE kind = 'invoice' "
        "AND json_extract(document, '$.auto_advance') = 1 AND due IS NOT NULL "
        "ORDER BY due LIMIT 1"
    ).fetchone()
    return None if row is None else (row["due"], json.loads(row["document"]))


def finalize_or_wait(store: Store, when: int, invoice: Document) -> None:
    """Finalize a draft at its time, unless an endpoint has not taken its ``invoice.created`` yet.

    Stripe waits for that so that the receiver can add what belongs on the invoice, but no longer than
    three days. It is looked at again every hour.
    """
    latest = invoice["created"] + int(WAITS_AT_MOST.total_seconds())
    if when < latest and is_undelivered(store, "invoice.created", invoice["id"]):
        again = when + int(FINALIZED_AFTER.total_seconds())
        store.save({**invoice, "automatically_finalizes_at": min(again, latest)})
        return
    finalize(store, at(when), invoice)


def _retrieve(call: Call) -> Document:
    return show(call.store, call.store.get(INVOICE, call.id, stale=call.stale))


def _list(call: Call) -> Document:
    wanted = call.params
    every = call.store.every(INVOICE, owner=wanted.get("customer"), newest_first=True, stale=call.stale)
    chosen = [
        invoice
        for invoice in every
        if wanted.get("status") in (None, invoice["status"])
        and wanted.get("subscription") in (None, _subscription_of(invoice))
        and in_range(invoice["created"], wanted.get("created"))
    ]
    found = page(call, chosen)
    return {**found, "data": [show(call.store, invoice) for invoice in found["data"]]}


def _subscription_of(invoice: Document) -> Any:
    return invoice["parent"]["subscription_details"]["subscription"] if invoice["parent"] else None


def _lines(call: Call) -> Document:
    return page(call, lines_of(call.store, call.store.get(INVOICE, call.id, stale=call.stale)))


def _draft_only(call: Call) -> Document:
    invoice = call.store.get(INVOICE, call.id)
    if invoice["status"] != "draft":
        raise StripeRefusalError(
            400, "This invoice is already finalized, you can't change it.", "invoice_not_editable"
        )
    return invoice


def _update(call: Call) -> Document:
    invoice = call.store.get(INVOICE, call.id)
    if set(call.params) - {"metadata"}:
        _draft_only(call)
    if "auto_advance" in call.params:
        invoice["auto_advance"] = call.params["auto_advance"]
        if not invoice["auto_advance"]:
            invoice["automatically_finalizes_at"] = None
        elif invoice["automatically_finalizes_at"] is None:
            invoice["automatically_finalizes_at"] = unix(call.now + FINALIZED_AFTER)
    when = call.params.get("automatically_finalizes_at")
    if when is not None:
        if not call.seconds < when <= unix(call.now + HELD_AT_MOST):
            raise bad_parameter("Must be within the next five years.", "automatically_finalizes_at")
        invoice["automatically_finalizes_at"] = when
    merge_metadata(invoice, call.params)
    return show(call.store, call.store.save(invoice))


def _finalize(call: Call) -> Document:
    return finalize(call.store, call.now, _draft_only(call))


def _create(call: Call) -> Document:
    """A one-off invoice of the customer's pending items."""
    customer = call.params.get("customer")
    if customer is None:
        raise bad_parameter("Missing required param: customer.", "customer", "parameter_missing")
    call.store.get("customer", customer, param="customer")
    lines: list[Document] = []
    if call.params.get("pending_invoice_items_behavior", "exclude") == "include":
        lines = take_pending(call.store, customer, None)
    invoice = draft(
        call.store, call.now, customer=customer, subscription=None, reason="manual",
        period=(call.seconds, call.seconds), lines=lines, currency=call.params.get("currency", "usd"),
        auto_advance=call.params.get("auto_advance", False),
    )  # fmt: skip
    merge_metadata(invoice, call.params)
    return show(call.store, call.store.save(invoice))


def take_pending(store: Store, customer: str, subscription: str | None) -> list[Document]:
    """Lines of the pending items of a customer (and subscription), which are no longer pending then."""
    lines = []
    for item in store.every(PENDING, owner=customer):
        if item["taken"] or (subscription is not None and item["line"]["subscription"] != subscription):
            continue
        store.save({**item, "taken": True})
        lines.append(item["line"])
    return lines


def _create_item(call: Call) -> Document:
    params = call.params
    if params.get("customer") is None:
        raise bad_parameter("Missing required param: customer.", "customer", "parameter_missing")
    call.store.get("customer", params["customer"], param="customer")
    price = call.store.get("price", params.get("pricing", {}).get("price", ""), param="pricing[price]")
    quantity = params.get("quantity", 1)
    period = params.get("period", {"start": call.seconds, "end": call.seconds})
    item_id = new_id("ii")
    parent = {
        "type": "invoice_item_details",
        "invoice_item_details": {"invoice_item": item_id, "proration": False},
    }
    line = _line(price, quantity, cents(price, quantity), (period["start"], period["end"]), None, parent)
    line |= {"description": params.get("description"), "metadata": params.get("metadata") or {}}
    invoice = params.get("invoice")
    if invoice is not None:
        if call.store.get(INVOICE, invoice, param="invoice")["status"] != "draft":
            raise bad_parameter("The invoice is already finalized.", "invoice", "invoice_not_editable")
        call.store.add(LINE, {**line, "invoice": invoice}, owner=invoice)
    item = {"id": item_id, "line": line, "taken": invoice is not None}
    call.store.add(PENDING, item, owner=params["customer"])
    shown = (
        "amount",
        "currency",
        "description",
        "metadata",
        "period",
        "pricing",
        "quantity",
        "quantity_decimal",
    )
    return {
        "id": item_id,
        "object": "invoiceitem",
        "customer": params["customer"],
        "date": call.seconds,
        "discountable": True,
        "invoice": invoice,
        "livemode": False,
        "parent": None,
        "proration": False,
        **{name: line[name] for name in shown},
    }


OPERATIONS: Final = (
    Operation(
        "POST", "/v1/invoices", sdk.InvoiceCreateParams, _create,
        names("customer currency auto_advance metadata pending_invoice_items_behavior description"),
    ),
    Operation("GET", "/v1/invoices", sdk.InvoiceListParams, _list, names(
        "customer status subscription created limit starting_after ending_before"
    )),
    Operation("GET", "/v1/invoices/{id}", sdk.InvoiceRetrieveParams, _retrieve),
    Operation(
        "POST", "/v1/invoices/{id}", sdk.InvoiceUpdateParams, _update,
        names("auto_advance automatically_finalizes_at metadata"),
    ),
    Operation("GET", "/v1/invoices/{id}/lines", sdk.InvoiceLineItemListParams, _lines),
    Operation(
        "POST", "/v1/invoices/{id}/finalize", sdk.InvoiceFinalizeInvoiceParams, _finalize,
        names("auto_advance"),
    ),
    Operation(
        "POST", "/v1/invoiceitems", sdk.InvoiceItemCreateParams, _create_item,
        names("customer pricing quantity period description metadata invoice"),
    ),
)  # fmt: skip
