"""Subscriptions with flat, seat and metered items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, refusal

T0 = int(START.timestamp())
FEBRUARY = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp())
MARCH = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())


def items_of(client: stripe.StripeClient, shop: Shop) -> dict[str, Any]:
    return {item.price.id: item for item in client.v1.subscriptions.retrieve(shop.subscription)["items"].data}


def test_the_period_stands_on_the_items_and_not_on_the_subscription(
    client: stripe.StripeClient, shop: Shop
) -> None:
    subscription = client.v1.subscriptions.retrieve(shop.subscription)

    periods = {(item.current_period_start, item.current_period_end) for item in subscription["items"].data}
    assert periods == {(T0, FEBRUARY)}
    assert "current_period_end" not in subscription.to_dict()
    assert subscription.billing_mode.type == "flexible"


def test_a_metered_item_has_no_quantity(client: stripe.StripeClient, shop: Shop) -> None:
    items = items_of(client, shop)
    assert items[shop.seat_price].quantity == 3
    assert "quantity" not in items[shop.tokens_price].to_dict()

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscription_items.update(items[shop.tokens_price].id, {"quantity": 2})


def test_a_period_rolls_at_its_end(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.advance(days=31)

    periods = {
        (item.current_period_start, item.current_period_end) for item in items_of(client, shop).values()
    }
    assert periods == {(FEBRUARY, MARCH)}


def test_a_period_that_begins_on_the_31st_ends_on_the_last_day_of_a_shorter_month(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=30)
    params: Any = {"customer": shop.customer, "items": [{"price": shop.flat_price}]}
    made = client.v1.subscriptions.create(params).id
    ends = []

    for _ in range(3):
        item = client.v1.subscriptions.retrieve(made)["items"].data[0]
        ends.append(datetime.fromtimestamp(item.current_period_end, UTC))
        double.advance(seconds=(ends[-1] - double.clock.at).total_seconds())

    assert [(end.month, end.day) for end in ends] == [(2, 28), (3, 31), (4, 30)]


def test_subscriptions_are_listed_by_customer_and_status_with_what_they_refer_to(
    client: stripe.StripeClient, shop: Shop
) -> None:
    client.v1.subscriptions.cancel(shop.subscription)
    params: Any = {"customer": shop.customer, "items": [{"price": shop.flat_price}]}
    second = client.v1.subscriptions.create(params).id

    running = client.v1.subscriptions.list(
        {"customer": shop.customer, "expand": ["data.customer", "data.latest_invoice"]}
    ).data
    every = client.v1.subscriptions.list({"customer": shop.customer, "status": "all"}).data

    assert [one.id for one in running] == [second]
    assert [(one.id, one.status) for one in every] == [(second, "active"), (shop.subscription, "canceled")]
    row: Any = running[0]
    assert (row.customer.name, row.latest_invoice.status) == ("aurora", "paid")


def test_expanding_deeper_than_four_levels_is_refused(client: stripe.StripeClient, shop: Shop) -> None:
    product: Any = client.v1.subscriptions.retrieve(
        shop.subscription, {"expand": ["items.data.price.product"]}
    )
    assert product["items"].data[0].price.product.name == "Gateway"

    with pytest.raises(stripe.InvalidRequestError, match="more than 4 levels"):
        client.v1.subscriptions.list({"expand": ["data.items.data.price.product"]})
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.subscriptions.retrieve(shop.subscription, {"expand": ["status"]})


def test_more_seats_cost_the_rest_of_the_period_on_the_next_invoice(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=15, hours=12)  # half of January
    seat = items_of(client, shop)[shop.seat_price]

    client.v1.subscription_items.update(seat.id, {"quantity": 5, "proration_behavior": "create_prorations"})
    double.advance(days=15, hours=12)

    invoice = client.v1.invoices.list({"customer": shop.customer}).data[0]
    details = [
        (line.amount, line.parent and line.parent.subscription_item_details) for line in invoice.lines.data
    ]
    prorated = [amount for amount, detail in details if detail and detail.proration]
    assert sorted(prorated) == [-1500, 2500]
    assert [line.amount for line in invoice.lines.data if line.quantity == 5 and line.amount == 5000] == [
        5000
    ]


def test_prorations_can_be_left_out(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.advance(days=10)
    seat = items_of(client, shop)[shop.seat_price]

    client.v1.subscription_items.update(seat.id, {"quantity": 5, "proration_behavior": "none"})
    double.advance(days=21)

    invoice = client.v1.invoices.list({"customer": shop.customer}).data[0]
    assert sorted(line.amount for line in invoice.lines.data) == [0, 0, 5000, 5000]


def test_prorations_can_be_invoiced_at_once(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    double.advance(days=15, hours=12)
    seat = items_of(client, shop)[shop.seat_price]

    client.v1.subscription_items.update(seat.id, {"quantity": 4, "proration_behavior": "always_invoice"})

    invoice = client.v1.invoices.list({"customer": shop.customer}).data[0]
    assert (invoice.status, invoice.billing_reason, invoice.total) == ("paid", "subscription_update", 500)


def test_a_canceled_subscription_ends_at_once_and_bills_its_usage_only_if_asked(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=3)

    ended = client.v1.subscriptions.cancel(shop.subscription, {"invoice_now": True})

    assert (ended.status, ended.ended_at) == ("canceled", T0 + 3 * 86_400)
    invoice = client.v1.invoices.list({"customer": shop.customer}).data[0]
    assert (invoice.status, invoice.period_end) == ("draft", T0 + 3 * 86_400)
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.subscriptions.cancel(shop.subscription)
    assert refusal(error.value) == (404, "resource_missing")


def test_a_subscription_that_is_to_end_does_so_at_the_end_of_its_period(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    client.v1.subscriptions.update(shop.subscription, {"cancel_at_period_end": True})

    double.advance(days=40)

    ended = client.v1.subscriptions.retrieve(shop.subscription)
    assert (ended.status, ended.ended_at) == ("canceled", FEBRUARY)
    last = client.v1.invoices.list({"customer": shop.customer}).data[0]
    assert {line.period.end for line in last.lines.data} == {FEBRUARY}


def test_an_item_can_be_added_swapped_and_removed(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    items = items_of(client, shop)
    changes: Any = {
        "items": [
            {"id": items[shop.seat_price].id, "deleted": True},
            {"id": items[shop.cost_price].id, "metadata": {"unit": "nano-USD"}},
        ],
        "proration_behavior": "none",
    }

    client.v1.subscriptions.update(shop.subscription, changes)

    left = items_of(client, shop)
    assert set(left) == {shop.flat_price, shop.tokens_price, shop.cost_price}
    assert left[shop.cost_price].metadata["unit"] == "nano-USD"


def test_one_price_stands_on_a_subscription_once(client: stripe.StripeClient, shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="distinct prices"):
        client.v1.subscription_items.create({"subscription": shop.subscription, "price": shop.flat_price})

    assert len(items_of(client, shop)) == 4


def test_metadata_is_merged_and_an_empty_value_removes_a_key(client: stripe.StripeClient, shop: Shop) -> None:
    client.v1.subscriptions.update(shop.subscription, {"metadata": {"a": "1", "b": "2"}})

    changed = client.v1.subscriptions.update(shop.subscription, {"metadata": {"a": "", "c": "3"}})

    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}


def test_a_subscription_may_be_anchored_to_a_day_of_the_month(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    params: Any = {
        "customer": shop.customer,
        "items": [{"price": shop.flat_price}, {"price": shop.tokens_price}],
        "billing_cycle_anchor_config": {"day_of_month": 16, "hour": 12, "minute": 0, "second": 0},
    }

    made = client.v1.subscriptions.create(params)

    item = made["items"].data[0]
    anchor = START + timedelta(days=15, hours=12)
    assert (item.current_period_start, item.current_period_end) == (T0, int(anchor.timestamp()))
    first = client.v1.invoices.retrieve(made.latest_invoice)  # type: ignore[arg-type]
    assert first.total == 2500  # half of January
    double.advance(days=16)
    item = client.v1.subscriptions.retrieve(made.id)["items"].data[0]
    assert datetime.fromtimestamp(item.current_period_end, UTC) == datetime(2026, 2, 16, 12, tzinfo=UTC)


def test_a_subscription_may_have_begun_earlier(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(days=10)
    params: Any = {
        "customer": shop.customer, "items": [{"price": shop.tokens_price}], "backdate_start_date": T0,
    }  # fmt: skip

    made = client.v1.subscriptions.create(params)

    item = made["items"].data[0]
    assert (made.start_date, item.current_period_start, item.current_period_end) == (T0, T0, FEBRUARY)


def test_deleting_a_customer_ends_the_subscriptions(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    gone = client.v1.customers.delete(shop.customer)

    assert gone.deleted
    assert client.v1.subscriptions.retrieve(shop.subscription).status == "canceled"
    assert client.v1.customers.retrieve(shop.customer).deleted
    params: Any = {"customer": shop.customer, "items": [{"price": shop.flat_price}]}
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.subscriptions.create(params)
    assert refusal(error.value) == (404, "resource_missing")
