"""One-off charges: invoice items by amount or price, invoices beside the subscription's own."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import Double, Shop, refusal


def item(client: stripe.StripeClient, shop: Shop, **params: Any) -> stripe.InvoiceItem:
    given: Any = {"customer": shop.customer, **params}
    return client.v1.invoice_items.create(given)


def test_an_amount_is_charged_as_it_is_and_keeps_its_metadata(
    client: stripe.StripeClient, shop: Shop
) -> None:
    draft = client.v1.invoices.create({"customer": shop.customer, "auto_advance": True})
    late = {"identifier": "u1:a:aurora:tokens:0:1"}

    made = item(
        client, shop, invoice=draft.id, amount=123, currency="usd", description="Late usage", metadata=late
    )
    final = client.v1.invoices.finalize_invoice(draft.id)

    assert (made.amount, made.invoice, made.metadata and made.metadata.to_dict()) == (123, draft.id, late)
    assert (final.status, final.billing_reason, final.total) == ("paid", "manual", 123)
    (line,) = final.lines.data
    assert (line.description, line.metadata.to_dict(), line.pricing) == ("Late usage", late, None)


def test_the_ledger_shows_an_amount_without_a_price(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    draft = client.v1.invoices.create({"customer": shop.customer})
    item(client, shop, invoice=draft.id, amount=5, currency="usd")
    invoices = double.get("/_sandbox/ledger")["invoices"]
    lines = next(one for one in invoices if one["id"] == draft.id)["lines"]
    assert lines == [{"price": None, "meter": None, "quantity": "1", "amount": "5"}]


def test_a_draft_of_one_advances_by_itself_only_if_asked_to(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    drafts = [
        client.v1.invoices.create({"customer": shop.customer, "auto_advance": advances}).id
        for advances in (False, True)
    ]
    for draft in drafts:
        item(client, shop, invoice=draft, amount=100, currency="usd")

    double.advance(hours=2)

    assert [client.v1.invoices.retrieve(draft).status for draft in drafts] == ["draft", "paid"]


def test_pending_items_wait_for_the_next_invoice_that_takes_them(
    client: stripe.StripeClient, shop: Shop
) -> None:
    made = item(client, shop, amount=250, currency="usd")
    pending: Any = {"customer": shop.customer, "pending": True}
    waiting = client.v1.invoice_items.list(pending).data

    params: Any = {"customer": shop.customer, "pending_invoice_items_behavior": "include"}
    invoice = client.v1.invoices.create(params)

    assert [one.id for one in waiting] == [made.id]
    assert client.v1.invoice_items.list(pending).data == []
    assert client.v1.invoice_items.retrieve(made.id).invoice == invoice.id
    assert invoice.total == 250


def test_an_idempotency_key_makes_an_item_once(client: stripe.StripeClient, shop: Shop) -> None:
    params: Any = {"customer": shop.customer, "amount": 7, "currency": "usd"}
    first, again = (client.v1.invoice_items.create(params, {"idempotency_key": "late:1"}) for _ in range(2))
    assert first.id == again.id
    assert len(client.v1.invoice_items.list({"customer": shop.customer}).data) == 1


def test_items_change_and_go_until_they_are_on_an_invoice(client: stripe.StripeClient, shop: Shop) -> None:
    items = client.v1.invoice_items
    first, second = (item(client, shop, amount=n, currency="usd") for n in (1, 2))

    assert items.update(first.id, {"description": "One"}).description == "One"
    items.delete(second.id)
    params: Any = {"customer": shop.customer, "pending_invoice_items_behavior": "include"}
    client.v1.invoices.create(params)

    with pytest.raises(stripe.InvalidRequestError):
        items.retrieve(second.id)
    with pytest.raises(stripe.InvalidRequestError) as error:
        items.delete(first.id)
    assert refusal(error.value) == (400, "invoice_not_editable")


def test_a_draft_that_is_deleted_gives_its_items_back(client: stripe.StripeClient, shop: Shop) -> None:
    draft = client.v1.invoices.create({"customer": shop.customer})
    made = item(client, shop, invoice=draft.id, amount=9, currency="usd")

    client.v1.invoices.delete(draft.id)

    assert client.v1.invoice_items.retrieve(made.id).invoice is None
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.retrieve(draft.id)
    first = client.v1.invoices.list({"customer": shop.customer}).data[0].id
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.delete(first)


def test_prorations_are_items_that_wait(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.advance(days=15, hours=12)
    seat = next(
        one
        for one in client.v1.subscriptions.retrieve(shop.subscription)["items"].data
        if one.price.id == shop.seat_price
    )

    client.v1.subscription_items.update(seat.id, {"quantity": 5})
    waiting = client.v1.invoice_items.list({"customer": shop.customer, "pending": True}).data

    assert sorted(one.amount for one in waiting) == [-1500, 2500]
    assert all(one.proration and one.invoice is None for one in waiting)
    double.advance(days=16)
    assert client.v1.invoice_items.list({"customer": shop.customer, "pending": True}).data == []


@pytest.mark.parametrize(
    "params",
    [
        {}, {"amount": 5}, {"amount": 5, "currency": "eur"}, {"customer": "cus_nobody"},
        {"amount": 5, "currency": "usd", "quantity": 2}, {"pricing": {"price": "price_nothing"}},
        {"amount": 5, "currency": "usd", "invoice": "in_nothing"},
        {"unit_amount_decimal": "1", "quantity": -1, "currency": "usd"},
    ],
)  # fmt: skip
def test_an_item_that_makes_no_sense_is_refused(
    client: stripe.StripeClient, shop: Shop, params: dict[str, Any]
) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        item(client, shop, **params)
    assert client.v1.invoice_items.list({"customer": shop.customer}).data == []


def test_nothing_is_charged_to_a_customer_that_is_deleted(client: stripe.StripeClient) -> None:
    gone = client.v1.customers.create({"name": "gone"}).id
    client.v1.customers.delete(gone)
    for call in (
        lambda: client.v1.invoices.create({"customer": gone}),
        lambda: client.v1.invoice_items.create({"customer": gone, "amount": 1, "currency": "usd"}),
    ):
        with pytest.raises(stripe.InvalidRequestError) as error:
            call()
        assert refusal(error.value) == (404, "resource_missing")


def test_an_item_is_not_put_on_anothers_or_a_final_invoice(client: stripe.StripeClient, shop: Shop) -> None:
    other = client.v1.customers.create({"name": "other"}).id
    draft = client.v1.invoices.create({"customer": other}).id
    final = client.v1.invoices.list({"customer": shop.customer}).data[0].id
    for invoice in (draft, final):
        with pytest.raises(stripe.InvalidRequestError):
            item(client, shop, invoice=invoice, amount=1, currency="usd")
