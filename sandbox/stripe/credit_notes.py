"""Credit notes: what is taken back of a final invoice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stripe import params as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, first_page, in_range, names, page
from sandbox.stripe.collection import mark_paid
from sandbox.stripe.errors import StripeRefusalError, bad_parameter, missing_object
from sandbox.stripe.invoices import INVOICE, LINE, amount_due
from sandbox.stripe.invoices import show as show_invoice
from sandbox.stripe.periods import share
from sandbox.stripe.store import Document, merge_metadata
from sandbox.stripe.wire import new_id

CREDIT_NOTE: Final = "credit_note"
_LINE: Final = "credit_note_line"
_WAYS_BACK: Final = ("credit_amount", "refund_amount", "out_of_band_amount")
_LINE_FIELDS: Final = names("type invoice_line_item quantity amount unit_amount description metadata")


def _create(call: Call) -> Document:
    params = call.params
    invoice = call.store.get(INVOICE, params["invoice"], param="invoice")
    if invoice["status"] not in ("open", "paid"):
        raise StripeRefusalError(
            400, f"A credit note needs an open or paid invoice; this one is {invoice['status']}.",
            "invoice_not_open", param="invoice",
        )  # fmt: skip
    if ("lines" in params) == ("amount" in params):
        raise bad_parameter("Give either `lines` or `amount`.", "amount", None)
    note_id = new_id("cn")
    lines = [_line(call, invoice, given, number) for number, given in enumerate(params.get("lines", []))]
    total = sum(line["amount"] for line in lines) if lines else params.get("amount", 0)
    credited = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    if not 0 < total <= show_invoice(call.store, invoice)["total"] - credited:
        raise bad_parameter(
            "The sum of credit notes must be above zero and at most the invoice's total.", "amount", None
        )
    paid = invoice["status"] == "paid"
    _check_way_back(params, total if paid else 0)
    note: Document = {
        "id": note_id,
        "object": "credit_note",
        "amount": total,
        "amount_shipping": 0,
        "created": call.seconds,
        "currency": "usd",
        "customer": invoice["customer"],
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": call.seconds,
        "invoice": invoice["id"],
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": {},
        "number": f"{invoice['number']}-CN-{_count(call, invoice) + 1:02d}",
        "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": f"{call.base}/_sandbox/credit_notes/{note_id}",
        "post_payment_amount": total if paid else 0,
        "pre_payment_amount": 0 if paid else total,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "status": "issued",
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
        "total_taxes": [],
        "type": "post_payment" if paid else "pre_payment",
        "voided_at": None,
    }
    merge_metadata(note, params)
    call.store.add(CREDIT_NOTE, note, owner=invoice["customer"])
    for line in lines:
        call.store.add(_LINE, line, owner=note_id)
    _credit(call, invoice, note, 1)
    announce(call.store, call.now, "credit_note.created", _show(call, note))
    return _show(call, note)


def _count(call: Call, invoice: Document) -> int:
    every = call.store.every(CREDIT_NOTE, owner=invoice["customer"])
    return sum(note["invoice"] == invoice["id"] for note in every)


def _check_way_back(params: Mapping[str, Any], paid: int) -> None:
    given = sum(params.get(name, 0) for name in _WAYS_BACK)
    if given != paid:
        raise bad_parameter(
            f"The sum of {', '.join(_WAYS_BACK)} ({given}) must be the part that was paid ({paid}).",
            "credit_amount", None,
        )  # fmt: skip


def _line(call: Call, invoice: Document, given: Mapping[str, Any], number: int) -> Document:
    where = f"lines[{number}]"
    for name in given:
        if name not in _LINE_FIELDS:
            raise bad_parameter(
                f"The sandbox does not carry out `{name}` here.", f"{where}[{name}]", "parameter_unsupported"
            )
    if given["type"] != "invoice_line_item":
        raise bad_parameter("The sandbox credits lines of the invoice only.", f"{where}[type]")
    line_id = given.get("invoice_line_item", "")
    found = call.store.find(LINE, line_id)
    if found is None or found["invoice"] != invoice["id"]:
        raise missing_object("invoice line item", line_id, f"{where}[invoice_line_item]")
    if ("quantity" in given) == ("amount" in given):
        raise bad_parameter("Give either `quantity` or `amount`.", f"{where}[quantity]", None)
    quantity = given.get("quantity")
    if quantity is not None and not 0 < quantity <= found["quantity"]:
        raise bad_parameter("At most the line's own quantity can be credited.", f"{where}[quantity]", None)
    amount = given["amount"] if quantity is None else share(found["amount"], quantity, found["quantity"])
    if not 0 < amount <= found["amount"]:
        raise bad_parameter("At most the line's own amount can be credited.", f"{where}[amount]", None)
    return {
        "id": new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": given.get("description") or found["description"],
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": line_id,
        "livemode": False,
        "metadata": given.get("metadata") or {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": "invoice_line_item",
        "unit_amount": None,
        "unit_amount_decimal": None,
    }


def _credit(call: Call, invoice: Document, note: Document, sign: int) -> None:
    """Count a note for (1) or against (-1) its invoice; nothing left to pay is paid."""
    for name in ("pre_payment", "post_payment"):
        invoice[f"{name}_credit_notes_amount"] += sign * note[f"{name}_amount"]
    call.store.save(invoice)
    if sign > 0 and invoice["status"] == "open" and amount_due(call.store, invoice) == 0:
        mark_paid(call.store, call.now, invoice)


def _show(call: Call, note: Document) -> Document:
    lines = call.store.every(_LINE, owner=note["id"])
    return {**note, "lines": first_page(f"{_URL}/{note['id']}/lines", lines)}


def _retrieve(call: Call) -> Document:
    return _show(call, call.store.get(CREDIT_NOTE, call.id, stale=call.stale))


def _list(call: Call) -> Document:
    wanted = call.params
    every = call.store.every(CREDIT_NOTE, owner=wanted.get("customer"), newest_first=True, stale=call.stale)
    chosen = [
        note
        for note in every
        if wanted.get("invoice") in (None, note["invoice"])
        and in_range(note["created"], wanted.get("created"))
    ]
    found = page(call, chosen)
    return {**found, "data": [_show(call, note) for note in found["data"]]}


def _lines(call: Call) -> Document:
    call.store.get(CREDIT_NOTE, call.id)
    return page(call, call.store.every(_LINE, owner=call.id))


def _void(call: Call) -> Document:
    note = call.store.get(CREDIT_NOTE, call.id)
    invoice = call.store.get(INVOICE, note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open":
        raise bad_parameter("Only an issued credit note of an open invoice can be voided.", "id", None)
    note |= {"status": "void", "voided_at": call.seconds}
    call.store.save(note)
    _credit(call, invoice, note, -1)
    announce(call.store, call.now, "credit_note.voided", _show(call, note))
    return _show(call, note)


_URL: Final = "/v1/credit_notes"
OPERATIONS: Final = (
    Operation(
        "POST", _URL, sdk.CreditNoteCreateParams, _create,
        names("invoice amount lines memo metadata reason credit_amount refund_amount out_of_band_amount"),
    ),
    Operation("GET", _URL, sdk.CreditNoteListParams, _list, names(
        "customer invoice created limit starting_after ending_before"
    )),
    Operation("GET", f"{_URL}/{{id}}", sdk.CreditNoteRetrieveParams, _retrieve),
    Operation("GET", f"{_URL}/{{id}}/lines", sdk.CreditNoteLineItemListParams, _lines),
    Operation("POST", f"{_URL}/{{id}}/void", sdk.CreditNoteVoidCreditNoteParams, _void),
)  # fmt: skip
