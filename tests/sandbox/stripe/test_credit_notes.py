"""Credit notes: taken back of final invoices, never more than was charged."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import Double, Shop


def first(client: stripe.StripeClient, shop: Shop) -> stripe.Invoice:
    return client.v1.invoices.list({"customer": shop.customer}).data[0]


def credit(client: stripe.StripeClient, invoice: stripe.Invoice, **params: Any) -> stripe.CreditNote:
    given: Any = {"invoice": invoice.id, **params}
    return client.v1.credit_notes.create(given)


@pytest.fixture
def owed(client: stripe.StripeClient, shop: Shop, double: Double) -> stripe.Invoice:
    """An open invoice of 80 dollars."""
    double.pays(shop.customer, "declines")
    double.advance(days=31, hours=1)
    return first(client, shop)


def test_a_paid_invoice_is_credited_by_its_lines(client: stripe.StripeClient, shop: Shop) -> None:
    invoice = first(client, shop)
    seats = next(line for line in invoice.lines.data if line.quantity == 3)
    lines = [{"type": "invoice_line_item", "invoice_line_item": seats.id, "quantity": 1}]

    note = credit(client, invoice, lines=lines, out_of_band_amount=1000, reason="order_change", memo="sorry")

    assert (note.status, note.type, note.amount, note.post_payment_amount) == (
        "issued", "post_payment", 1000, 1000,
    )  # fmt: skip
    assert note.number == f"{invoice.number}-CN-01"
    assert [line.amount for line in client.v1.credit_notes.line_items.list(note.id).data] == [1000]
    after = client.v1.invoices.retrieve(invoice.id)
    assert (after.status, after.total, after.post_payment_credit_notes_amount) == ("paid", 8000, 1000)


def test_an_open_invoice_is_credited_before_it_is_paid(
    client: stripe.StripeClient, owed: stripe.Invoice, shop: Shop, double: Double
) -> None:
    credit(client, owed, amount=3000)
    after = client.v1.invoices.retrieve(owed.id)
    double.pays(shop.customer, "works")
    paid = client.v1.invoices.pay(owed.id)

    assert (after.amount_due, after.amount_remaining, after.pre_payment_credit_notes_amount) == (
        5000, 5000, 3000,
    )  # fmt: skip
    assert (paid.status, paid.amount_paid) == ("paid", 5000)


def test_an_invoice_that_is_credited_whole_is_paid(
    client: stripe.StripeClient, owed: stripe.Invoice, shop: Shop
) -> None:
    credit(client, owed, amount=8000)
    assert client.v1.invoices.retrieve(owed.id).status == "paid"
    assert client.v1.subscriptions.retrieve(shop.subscription).status == "active"


def test_a_note_of_an_open_invoice_can_be_voided(client: stripe.StripeClient, owed: stripe.Invoice) -> None:
    note = credit(client, owed, amount=3000)

    voided = client.v1.credit_notes.void_credit_note(note.id)

    assert voided.status == "void"
    assert client.v1.invoices.retrieve(owed.id).amount_due == 8000
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.credit_notes.void_credit_note(note.id)
    types = ["credit_note.created", "credit_note.voided"]
    assert [e.type for e in client.v1.events.list({"types": types}).data] == types[::-1]


def test_notes_are_listed(client: stripe.StripeClient, owed: stripe.Invoice, shop: Shop) -> None:
    notes = [credit(client, owed, amount=amount).id for amount in (1, 2)]
    listed = client.v1.credit_notes.list
    paid = client.v1.invoices.list({"customer": shop.customer, "status": "paid"}).data[0].id

    assert [note.id for note in listed({"invoice": owed.id}).data] == notes[::-1]
    assert [note.id for note in listed({"customer": shop.customer}).data] == notes[::-1]
    assert listed({"invoice": paid}).data == []


def test_no_more_is_credited_than_was_charged(client: stripe.StripeClient, owed: stripe.Invoice) -> None:
    credit(client, owed, amount=7999)
    with pytest.raises(stripe.InvalidRequestError):
        credit(client, owed, amount=2)
    credit(client, owed, amount=1)
    assert client.v1.invoices.retrieve(owed.id).status == "paid"


@pytest.mark.parametrize(
    "params",
    [
        {}, {"amount": 0}, {"amount": 8001}, {"amount": 100, "out_of_band_amount": 100},
        {"lines": [{"type": "custom_line_item", "quantity": 1, "unit_amount": 5}]},
        {"lines": [{"type": "invoice_line_item", "invoice_line_item": "il_nothing", "quantity": 1}]},
    ],
)  # fmt: skip
def test_a_note_that_makes_no_sense_is_refused(
    client: stripe.StripeClient, owed: stripe.Invoice, params: dict[str, Any]
) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        credit(client, owed, **params)
    assert client.v1.credit_notes.list().data == []


def test_what_was_paid_has_to_go_back_somehow(client: stripe.StripeClient, shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="must be the part that was paid"):
        credit(client, first(client, shop), amount=100)


def test_a_draft_is_not_credited(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.advance(days=31, minutes=5)
    with pytest.raises(stripe.InvalidRequestError):
        credit(client, first(client, shop), amount=100)
