"""Invoices: drafted at the end of a period, counted until they are final, then frozen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, make_meter, refusal, use

FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)


def latest(client: stripe.StripeClient, shop: Shop) -> stripe.Invoice:
    return client.v1.invoices.list({"customer": shop.customer, "limit": 1}).data[0]


def quantities(invoice: stripe.Invoice) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for line in invoice.lines.data:
        assert line.pricing is not None
        assert line.pricing.price_details is not None
        found.setdefault(str(line.pricing.price_details.price), []).append(line.quantity)
    return found


def test_licensed_items_are_charged_ahead_and_at_once(client: stripe.StripeClient, shop: Shop) -> None:
    first = latest(client, shop)

    assert (first.status, first.billing_reason, first.total) == ("paid", "subscription_create", 8000)
    assert quantities(first) == {shop.flat_price: [1], shop.seat_price: [3]}


def test_usage_is_charged_behind_seats_ahead_in_one_line_per_item(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, 1_000_000, "tokens 1", START)
    use(client, shop.customer, 234_567, "tokens 2", START)
    use(client, shop.customer, 5_000_000_000, "cost", START, meter="cost")

    double.advance(days=31, hours=2)

    invoice = latest(client, shop)
    assert invoice.status == "paid"
    assert quantities(invoice) == {
        shop.tokens_price: [1_234_567], shop.cost_price: [5_000_000_000],
        shop.flat_price: [1], shop.seat_price: [3],
    }  # fmt: skip
    # 1,234,567 × 0.0003 ¢ = 370.3701 ¢, 5e9 × 0.0000001 ¢ = 500 ¢, each line rounded once
    assert sorted(line.amount for line in invoice.lines.data) == [370, 500, 3000, 5000]
    assert invoice.total == 8870


def test_a_draft_stands_for_an_hour_and_then_becomes_final(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    seen = []
    for minutes in (31 * 24 * 60 - 1, 1, 59, 1):
        double.advance(minutes=minutes)
        invoice = latest(client, shop)
        seen.append((invoice.billing_reason, invoice.status))

    assert seen == [
        ("subscription_create", "paid"), ("subscription_cycle", "draft"),
        ("subscription_cycle", "draft"), ("subscription_cycle", "paid"),
    ]  # fmt: skip


def test_usage_of_the_period_counts_until_the_invoice_is_final(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    before = FEBRUARY - timedelta(seconds=1)
    double.advance(days=31, minutes=59)
    use(client, shop.customer, 7, "in the grace", before)
    assert quantities(latest(client, shop))[shop.tokens_price] == [7]

    double.advance(minutes=2)
    use(client, shop.customer, 90, "too late", before)
    double.advance(days=40)

    billed = [
        quantities(invoice).get(shop.tokens_price, [0])
        for invoice in client.v1.invoices.list({"customer": shop.customer}).data
    ]
    assert sum(sum(quantity or 0 for quantity in one) for one in billed) == 7


def test_the_moment_of_a_boundary_belongs_to_the_period_that_begins(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=31, minutes=30)
    use(client, shop.customer, 1, "last second", FEBRUARY - timedelta(seconds=1))
    use(client, shop.customer, 20, "boundary", FEBRUARY)

    double.advance(hours=1)
    assert quantities(latest(client, shop))[shop.tokens_price] == [1]

    double.advance(days=28)
    assert quantities(latest(client, shop))[shop.tokens_price] == [20]


def test_a_period_total_below_zero_is_charged_as_zero(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, 5, "plus", START)
    use(client, shop.customer, -8, "minus", START)

    double.advance(days=31, hours=2)

    assert quantities(latest(client, shop))[shop.tokens_price] == [0]


def test_usage_of_a_metered_price_that_was_removed_is_still_billed(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    """Billing mode ``flexible``; ``classic`` would drop it without a word."""
    use(client, shop.customer, 11, "before", START)
    double.advance(days=5)
    items = client.v1.subscriptions.retrieve(shop.subscription)["items"].data
    client.v1.subscription_items.delete(next(one.id for one in items if one.price.id == shop.tokens_price))
    use(client, shop.customer, 500, "after", START + timedelta(days=5, seconds=1))

    double.advance(days=27)

    assert quantities(latest(client, shop))[shop.tokens_price] == [11]


def test_a_draft_can_be_held_and_finalized_later(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=31, minutes=1)
    draft = latest(client, shop)
    later = int((FEBRUARY + timedelta(hours=6)).timestamp())

    client.v1.invoices.update(draft.id, {"auto_advance": True, "automatically_finalizes_at": later})

    double.advance(hours=5)
    use(client, shop.customer, 3, "late", FEBRUARY - timedelta(hours=1))
    assert latest(client, shop).status == "draft"
    double.advance(hours=1)
    final = latest(client, shop)
    assert (final.status, final.status_transitions.finalized_at) == ("paid", later)
    assert quantities(final)[shop.tokens_price] == [3]


def test_a_draft_without_auto_advance_waits_for_somebody(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=31, minutes=1)
    draft = latest(client, shop)
    client.v1.invoices.update(draft.id, {"auto_advance": False})
    double.advance(days=2)
    assert client.v1.invoices.retrieve(draft.id).status == "draft"

    final = client.v1.invoices.finalize_invoice(draft.id)
    double.advance(days=20)

    assert (final.status, final.number) == ("open", "SANDBOX-0002")
    assert client.v1.invoices.pay(draft.id).status == "paid"


def test_a_final_invoice_is_frozen(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.advance(days=31, hours=2)
    invoice = latest(client, shop)

    with pytest.raises(stripe.InvalidRequestError) as updated:
        client.v1.invoices.update(invoice.id, {"auto_advance": False})
    with pytest.raises(stripe.InvalidRequestError) as finalized:
        client.v1.invoices.finalize_invoice(invoice.id)

    assert refusal(updated.value) == refusal(finalized.value) == (400, "invoice_not_editable")
    use(client, shop.customer, 5, "late", START + timedelta(days=20))
    assert quantities(client.v1.invoices.retrieve(invoice.id))[shop.tokens_price] == [0]


def test_the_subscription_of_an_invoice_stands_under_its_parent(
    client: stripe.StripeClient, shop: Shop
) -> None:
    invoice = latest(client, shop)

    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == shop.subscription
    assert "subscription" not in invoice.to_dict()


def test_lines_are_paged_beyond_the_first_ten(client: stripe.StripeClient, double: Double) -> None:
    product = client.v1.products.create({"name": "Gateway"}).id
    customer = client.v1.customers.create({"name": "a"}).id
    prices = []
    for number in range(12):
        params: Any = {
            "product": product, "currency": "usd", "unit_amount": 100 + number,
            "recurring": {"interval": "month"},
        }  # fmt: skip
        prices.append(client.v1.prices.create(params).id)
    items: Any = [{"price": price} for price in prices]
    client.v1.subscriptions.create({"customer": customer, "items": items})

    invoice = client.v1.invoices.list({"customer": customer}).data[0]

    assert (len(invoice.lines.data), invoice.lines.has_more) == (10, True)
    assert invoice.total == sum(range(100, 112))
    assert len(list(client.v1.invoices.line_items.list(invoice.id).auto_paging_iter())) == 12


def test_a_one_off_invoice_charges_what_is_put_on_it(client: stripe.StripeClient, shop: Shop) -> None:
    draft = client.v1.invoices.create({"customer": shop.customer, "auto_advance": False})
    client.v1.invoice_items.create(
        {"customer": shop.customer, "invoice": draft.id, "pricing": {"price": shop.flat_price}, "quantity": 2}
    )

    final = client.v1.invoices.finalize_invoice(draft.id)

    assert (final.billing_reason, final.total, final.status) == ("manual", 10_000, "open")
    assert client.v1.invoices.pay(draft.id).status == "paid"


def test_rounding_is_half_up_once_a_line(client: stripe.StripeClient, double: Double) -> None:
    meter = make_meter(client, "units")
    product = client.v1.products.create({"name": "Gateway"}).id
    customer = client.v1.customers.create({"name": "a"}).id
    params: Any = {
        "product": product, "currency": "usd", "unit_amount_decimal": "0.5",
        "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
    }  # fmt: skip
    price = client.v1.prices.create(params).id
    client.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]})
    use(client, customer, 5, "one", START, meter="units")

    double.advance(days=31, hours=2)

    assert client.v1.invoices.list({"customer": customer}).data[0].total == 3


@pytest.mark.parametrize("decimals", ["0.000000000001", "12.5"])
def test_a_price_has_at_most_twelve_decimals(client: stripe.StripeClient, decimals: str) -> None:
    product = client.v1.products.create({"name": "Gateway"}).id

    def make(amount: str) -> None:
        params: Any = {"product": product, "currency": "usd", "unit_amount_decimal": amount}
        client.v1.prices.create(params)

    make(decimals)
    with pytest.raises(stripe.InvalidRequestError):
        make(decimals + "0000000000001")


def test_a_lookup_key_finds_one_price_and_can_move_on(client: stripe.StripeClient) -> None:
    product = client.v1.products.create({"name": "Gateway"}).id
    params: Any = {"product": product, "currency": "usd", "unit_amount": 100, "lookup_key": "team-flat"}
    client.v1.prices.create(params)
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        client.v1.prices.create(params)

    params |= {"unit_amount": 200, "transfer_lookup_key": True}
    second = client.v1.prices.create(params)

    assert [one.id for one in client.v1.prices.list({"lookup_keys": ["team-flat"]}).data] == [second.id]


def test_a_negative_event_of_version_1_corrects_the_period(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    for identifier, value in (("too much", "1000"), ("correction", "-400")):
        params: Any = {
            "event_name": "tokens", "identifier": identifier, "timestamp": int(START.timestamp()),
            "payload": {"stripe_customer_id": shop.customer, "value": value},
        }  # fmt: skip
        client.v1.billing.meter_events.create(params)

    double.advance(days=31, hours=2)

    assert quantities(latest(client, shop))[shop.tokens_price] == [600]


def test_an_adjustment_never_changes_an_invoice_that_is_final(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=31, minutes=30)
    use(client, shop.customer, 50, "in the grace", FEBRUARY - timedelta(seconds=1))
    double.advance(hours=1)

    client.v1.billing.meter_event_adjustments.create(
        {"type": "cancel", "event_name": "tokens", "cancel": {"identifier": "in the grace"}}
    )

    invoice = latest(client, shop)
    assert invoice.status == "paid"
    assert quantities(invoice)[shop.tokens_price] == [50]
