"""Invoice items: what waits for the next invoice of a customer, or is put on a draft at once."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from stripe import params as sdk

from sandbox.stripe.calls import Call, Operation, in_range, names, page
from sandbox.stripe.errors import StripeRefusalError, bad_parameter, missing_object
from sandbox.stripe.invoices import INVOICE, PENDING, item_line, put_line
from sandbox.stripe.periods import cents
from sandbox.stripe.store import Document, Store, merge_metadata
from sandbox.stripe.wire import new_id

_FROM_LINE: Final = names("amount currency description metadata period pricing quantity quantity_decimal")


def add_pending(store: Store, seconds: int, customer: str, item_id: str, line: Document) -> Document:
    """Keep an item whose line waits for an invoice."""
    item: Document = {
        "id": item_id,
        "customer": customer,
        "date": seconds,
        "invoice": None,
        "line": line,
        "taken": False,
    }
    return store.add(PENDING, item, owner=customer)


def take_pending(store: Store, customer: str, subscription: str | None) -> list[Document]:
    """Lines of the pending items of a customer (and subscription), which are no longer pending then."""
    lines = []
    for item in store.every(PENDING, owner=customer):
        if item["taken"] or (subscription is not None and item["line"]["subscription"] != subscription):
            continue
        store.save({**item, "taken": True})
        lines.append(item["line"])
    return lines


def show(item: Document) -> Document:
    """An invoice item as the API shows it."""
    line = item["line"]
    details = line["parent"][line["parent"]["type"]]
    of_subscription = line["parent"]["type"] == "subscription_item_details"
    parent = {
        "type": "subscription_details",
        "subscription_details": {
            "subscription": line["subscription"],
            "subscription_item": details.get("subscription_item"),
        },
    }
    return {
        "id": item["id"],
        "object": "invoiceitem",
        "customer": item["customer"],
        "date": item["date"],
        "discountable": True,
        "invoice": item["invoice"],
        "livemode": False,
        "parent": parent if of_subscription else None,
        "proration": details["proration"],
        **{name: line[name] for name in _FROM_LINE},
    }


def _create(call: Call) -> Document:
    params = call.params
    if params.get("customer") is None:
        raise bad_parameter("Missing required param: customer.", "customer", "parameter_missing")
    if call.store.get("customer", params["customer"], param="customer").get("deleted"):
        raise missing_object("customer", params["customer"], "customer")
    item_id = new_id("ii")
    line = _line_of(call, item_id)
    line |= {"description": params.get("description"), "metadata": params.get("metadata") or {}}
    invoice = params.get("invoice")
    if invoice is not None:
        draft = call.store.get(INVOICE, invoice, param="invoice")
        if draft["status"] != "draft":
            raise bad_parameter("The invoice is already finalized.", "invoice", "invoice_not_editable")
        if draft["customer"] != params["customer"]:
            raise bad_parameter("The invoice is another customer's.", "invoice", None)
    add_pending(call.store, call.seconds, params["customer"], item_id, line)
    if invoice is not None:
        put_line(call.store, invoice, line)
    return show(call.store.get(PENDING, item_id))


def _line_of(call: Call, item_id: str) -> Document:
    params = call.params
    given = params.get("period", {"start": call.seconds, "end": call.seconds})
    period = (given["start"], given["end"])
    if "amount" in params:
        for name in ("pricing", "quantity", "unit_amount_decimal"):
            if name in params:
                raise bad_parameter(f"You may not give both `amount` and `{name}`.", name, None)
        _check_currency(params.get("currency"))
        return item_line(None, item_id, 1, params["amount"], period)
    quantity = params.get("quantity", 1)
    if quantity < 0:
        raise bad_parameter("Invalid non-negative integer", "quantity", "parameter_invalid_integer")
    if "unit_amount_decimal" in params:
        _check_currency(params.get("currency"))
        unit = {"unit_amount_decimal": str(Decimal(params["unit_amount_decimal"]))}
        return item_line(None, item_id, quantity, cents(unit, quantity), period)
    price_id = params.get("pricing", {}).get("price")
    if price_id is None:
        raise bad_parameter(
            "You must give one of `amount`, `unit_amount_decimal` and `pricing[price]`.", "amount",
            "parameter_missing",
        )  # fmt: skip
    price = call.store.get("price", price_id, param="pricing[price]")
    return item_line(price, item_id, quantity, cents(price, quantity), period)


def _check_currency(currency: str | None) -> None:
    if currency is None:
        raise bad_parameter("Missing required param: currency.", "currency", "parameter_missing")
    if currency != "usd":
        raise bad_parameter("The sandbox bills in usd only.", "currency")


def _retrieve(call: Call) -> Document:
    return show(call.store.get(PENDING, call.id, stale=call.stale))


def _list(call: Call) -> Document:
    wanted = call.params
    every = call.store.every(PENDING, owner=wanted.get("customer"), newest_first=True, stale=call.stale)
    chosen = [
        item
        for item in every
        if wanted.get("invoice") in (None, item["invoice"])
        and wanted.get("pending") in (None, not item["taken"])
        and in_range(item["date"], wanted.get("created"))
    ]
    found = page(call, chosen)
    return {**found, "data": [show(item) for item in found["data"]]}


def _waiting(call: Call) -> Document:
    item = call.store.get(PENDING, call.id)
    if item["taken"]:
        raise StripeRefusalError(
            400, "The item is on an invoice already; the sandbox leaves it there.", "invoice_not_editable"
        )
    return item


def _update(call: Call) -> Document:
    item = _waiting(call)
    if "description" in call.params:
        item["line"]["description"] = call.params["description"] or None
    merge_metadata(item["line"], call.params)
    return show(call.store.save(item))


def _delete(call: Call) -> Document:
    call.store.remove(_waiting(call)["id"])
    return {"id": call.id, "object": "invoiceitem", "deleted": True}


OPERATIONS: Final = (
    Operation(
        "POST", "/v1/invoiceitems", sdk.InvoiceItemCreateParams, _create,
        names(
            "customer pricing quantity amount unit_amount_decimal currency period description metadata "
            "invoice"
        ),
    ),
    Operation("GET", "/v1/invoiceitems", sdk.InvoiceItemListParams, _list, names(
        "customer invoice pending created limit starting_after ending_before"
    )),
    Operation("GET", "/v1/invoiceitems/{id}", sdk.InvoiceItemRetrieveParams, _retrieve),
    Operation(
        "POST", "/v1/invoiceitems/{id}", sdk.InvoiceItemUpdateParams, _update, names("description metadata"),
    ),
    Operation("DELETE", "/v1/invoiceitems/{id}", sdk.InvoiceItemDeleteParams, _delete),
)  # fmt: skip
