"""What the API does with invoices: reads, holds, finalizes, pays, voids them, and makes one-off ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from stripe import params as sdk

from sandbox.stripe.calls import Call, Operation, in_range, names, page
from sandbox.stripe.collection import (
    attempt,
    close_unpaid,
    finalize_and_collect,
    mark_paid,
    subscription_id_of,
    void,
)
from sandbox.stripe.errors import StripeRefusalError, bad_parameter, declined, missing_object
from sandbox.stripe.invoice_items import take_pending
from sandbox.stripe.invoices import FINALIZED_AFTER, INVOICE, LINE, PENDING, draft, lines_of, show
from sandbox.stripe.store import Document, merge_metadata
from sandbox.stripe.wire import unix

HELD_AT_MOST: Final = timedelta(days=5 * 365)


def _retrieve(call: Call) -> Document:
    return show(call.store, call.store.get(INVOICE, call.id, stale=call.stale))


def _list(call: Call) -> Document:
    wanted = call.params
    every = call.store.every(INVOICE, owner=wanted.get("customer"), newest_first=True, stale=call.stale)
    chosen = [
        invoice
        for invoice in every
        if wanted.get("status") in (None, invoice["status"])
        and wanted.get("subscription") in (None, subscription_id_of(invoice))
        and in_range(invoice["created"], wanted.get("created"))
    ]
    found = page(call, chosen)
    return {**found, "data": [show(call.store, invoice) for invoice in found["data"]]}


def _lines(call: Call) -> Document:
    return page(call, lines_of(call.store, call.store.get(INVOICE, call.id, stale=call.stale)))


def _draft_only(call: Call) -> Document:
    invoice = call.store.get(INVOICE, call.id)
    if invoice["status"] != "draft":
        raise StripeRefusalError(
            400, "This invoice is already finalized, you can't change it.", "invoice_not_editable"
        )
    return invoice


def _open_only(call: Call) -> Document:
    invoice = call.store.get(INVOICE, call.id)
    if invoice["status"] == "paid":
        raise StripeRefusalError(400, "Invoice is already paid", "invoice_already_paid")
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeRefusalError(
            400, f"The invoice is {invoice['status']}; it must be open.", "invoice_not_open"
        )
    return invoice


def _update(call: Call) -> Document:
    invoice = call.store.get(INVOICE, call.id)
    if set(call.params) - {"metadata", "auto_advance"}:
        _draft_only(call)
    if "auto_advance" in call.params:
        if invoice["status"] not in ("draft", "open"):
            _draft_only(call)
        invoice["auto_advance"] = call.params["auto_advance"]
        if not invoice["auto_advance"]:
            invoice["automatically_finalizes_at"] = None
        elif invoice["status"] == "draft" and invoice["automatically_finalizes_at"] is None:
            invoice["automatically_finalizes_at"] = unix(call.now + FINALIZED_AFTER)
    when = call.params.get("automatically_finalizes_at")
    if when is not None:
        if not call.seconds < when <= unix(call.now + HELD_AT_MOST):
            raise bad_parameter("Must be within the next five years.", "automatically_finalizes_at")
        invoice["automatically_finalizes_at"] = when
    if "description" in call.params:
        invoice["description"] = call.params["description"] or None
    merge_metadata(invoice, call.params)
    return show(call.store, call.store.save(invoice))


def _finalize(call: Call) -> Document:
    invoice = _draft_only(call)
    invoice["auto_advance"] = call.params.get("auto_advance", invoice["auto_advance"])
    return show(call.store, finalize_and_collect(call.store, call.now, invoice))


def _pay(call: Call) -> Document:
    """One attempt; that it failed is kept, whatever the answer."""
    invoice = call.store.get(INVOICE, call.id)
    if invoice["status"] == "draft":
        invoice["auto_advance"] = False
        invoice = finalize_and_collect(call.store, call.now, invoice)
        if invoice["status"] == "paid":
            return show(call.store, invoice)
    invoice = _open_only(call)
    if call.params.get("paid_out_of_band"):
        return show(call.store, mark_paid(call.store, call.now, invoice))
    invoice = attempt(call.store, call.now, invoice, on_demand=True)
    if invoice["status"] != "paid":
        raise declined(keeps_work=True)
    return show(call.store, invoice)


def _void(call: Call) -> Document:
    return show(call.store, void(call.store, call.now, _open_only(call)))


def _mark_uncollectible(call: Call) -> Document:
    return show(call.store, close_unpaid(call.store, call.now, _open_only(call), "uncollectible"))


def _delete(call: Call) -> Document:
    """A one-off draft goes away with its lines; a subscription's can't."""
    invoice = _draft_only(call)
    if invoice["parent"]:
        raise bad_parameter("You can only delete one-off invoices.", "id", None)
    for line in call.store.every(LINE, owner=invoice["id"]):
        item_id = line["parent"][line["parent"]["type"]]["invoice_item"]
        call.store.change(PENDING, item_id, lambda item: item.update(taken=False, invoice=None))
        call.store.remove(line["id"])
    call.store.remove(invoice["id"])
    return {"id": call.id, "object": "invoice", "deleted": True}


def _create(call: Call) -> Document:
    """A one-off invoice of the customer's pending items."""
    customer = call.params.get("customer")
    if customer is None:
        raise bad_parameter("Missing required param: customer.", "customer", "parameter_missing")
    if call.store.get("customer", customer, param="customer").get("deleted"):
        raise missing_object("customer", customer, "customer")
    if call.params.get("currency", "usd") != "usd":
        raise bad_parameter("The sandbox bills in usd only.", "currency")
    lines: list[Document] = []
    if call.params.get("pending_invoice_items_behavior", "exclude") == "include":
        lines = take_pending(call.store, customer, None)
    invoice = draft(
        call.store, call.now, customer=customer, subscription=None, reason="manual",
        period=(call.seconds, call.seconds), lines=lines,
        auto_advance=call.params.get("auto_advance", False),
    )  # fmt: skip
    invoice["description"] = call.params.get("description")
    merge_metadata(invoice, call.params)
    return show(call.store, call.store.save(invoice))


_URL: Final = "/v1/invoices"
OPERATIONS: Final = (
    Operation(
        "POST", _URL, sdk.InvoiceCreateParams, _create,
        names("customer currency auto_advance metadata pending_invoice_items_behavior description"),
    ),
    Operation("GET", _URL, sdk.InvoiceListParams, _list, names(
        "customer status subscription created limit starting_after ending_before"
    )),
    Operation("GET", f"{_URL}/{{id}}", sdk.InvoiceRetrieveParams, _retrieve),
    Operation(
        "POST", f"{_URL}/{{id}}", sdk.InvoiceUpdateParams, _update,
        names("auto_advance automatically_finalizes_at metadata description"),
    ),
    Operation("DELETE", f"{_URL}/{{id}}", sdk.InvoiceDeleteParams, _delete),
    Operation("GET", f"{_URL}/{{id}}/lines", sdk.InvoiceLineItemListParams, _lines),
    Operation(
        "POST", f"{_URL}/{{id}}/finalize", sdk.InvoiceFinalizeInvoiceParams, _finalize,
        names("auto_advance"),
    ),
    Operation(
        "POST", f"{_URL}/{{id}}/pay", sdk.InvoicePayParams, _pay, names("paid_out_of_band off_session")
    ),
    Operation("POST", f"{_URL}/{{id}}/void", sdk.InvoiceVoidInvoiceParams, _void),
    Operation(
        "POST", f"{_URL}/{{id}}/mark_uncollectible", sdk.InvoiceMarkUncollectibleParams, _mark_uncollectible
    ),
)  # fmt: skip
