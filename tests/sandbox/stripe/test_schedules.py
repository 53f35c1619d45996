"""Subscription schedules: prices that change when a billing period ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, use

MONTH = int((START + timedelta(days=31)).timestamp())


def own_items(client: stripe.StripeClient, shop: Shop) -> list[dict[str, Any]]:
    """The subscription's items as a phase names them."""
    return [
        {name: item[name] for name in ("quantity",) if name in item} | {"price": item["price"]["id"]}
        for item in client.v1.subscriptions.retrieve(shop.subscription).to_dict()["items"]["data"]
    ]


def dearer(client: stripe.StripeClient, shop: Shop) -> str:
    """A second metered price on the same meter, twice as dear."""
    old = client.v1.prices.retrieve(shop.tokens_price)
    params: Any = {
        "product": old.product, "currency": "usd", "unit_amount_decimal": "0.0006",
        "recurring": {"interval": "month", "usage_type": "metered", "meter": shop.tokens},
    }  # fmt: skip
    return client.v1.prices.create(params).id


def scheduled(client: stripe.StripeClient, shop: Shop, *later: Any, **params: Any) -> Any:
    made = client.v1.subscription_schedules.create({"from_subscription": shop.subscription})
    phases: Any = [{"items": own_items(client, shop), "end_date": MONTH}, *later]
    update: Any = {"phases": phases, **params}
    return client.v1.subscription_schedules.update(made.id, update)


def test_a_schedule_begins_as_what_runs(client: stripe.StripeClient, shop: Shop) -> None:
    made = client.v1.subscription_schedules.create({"from_subscription": shop.subscription})

    assert (made.status, made.subscription, made.end_behavior) == ("active", shop.subscription, "release")
    (phase,) = made.phases
    assert (phase.start_date, phase.end_date) == (int(START.timestamp()), MONTH)
    assert [item.price for item in phase["items"]] == [item["price"] for item in own_items(client, shop)]
    assert client.v1.subscriptions.retrieve(shop.subscription).schedule == made.id
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscription_schedules.create({"from_subscription": shop.subscription})


def test_a_metered_price_changes_at_the_end_of_the_period_and_not_before(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    """Usage of the old period has the old price, of the new one the new; nothing is prorated."""
    price = dearer(client, shop)
    items = [item for item in own_items(client, shop) if item["price"] != shop.tokens_price]
    scheduled(client, shop, {"items": [*items, {"price": price}]})
    use(client, shop.customer, 1_000_000, "old", START)
    double.advance(days=31, seconds=-1)
    before = own_items(client, shop)
    double.advance(seconds=1)
    after = own_items(client, shop)
    use(client, shop.customer, 1_000_000, "new", double.clock.at)
    double.advance(days=29)

    second, first = client.v1.invoices.list({"customer": shop.customer, "limit": 2}).data
    amounts = [
        {line.pricing.price_details.price: line.amount for line in invoice.lines.data}  # type: ignore[union-attr]
        for invoice in (first, second)
    ]
    assert {"price": shop.tokens_price} in before
    assert {"price": price} in after
    assert {"price": shop.tokens_price} not in after
    assert (amounts[0][shop.tokens_price], amounts[1][price]) == (300, 600)
    assert price not in amounts[0]
    assert shop.tokens_price not in amounts[1]


def test_the_quantity_of_a_seat_changes_with_the_phase(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    items = [
        {**item, "quantity": 9} if item["price"] == shop.seat_price else item
        for item in own_items(client, shop)
    ]
    scheduled(client, shop, {"items": items})

    double.advance(days=31, hours=2)

    invoice = client.v1.invoices.list({"customer": shop.customer, "limit": 1}).data[0]
    assert invoice.total == 5000 + 9 * 1000
    assert not any(
        line.parent.subscription_item_details.proration  # type: ignore[union-attr]
        for line in invoice.lines.data
    )


def test_a_schedule_that_ends_lets_the_subscription_go_on(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    made = scheduled(client, shop)

    double.advance(days=31)

    ended = client.v1.subscription_schedules.retrieve(made.id)
    subscription = client.v1.subscriptions.retrieve(shop.subscription)
    assert (ended.status, ended.released_subscription, ended.subscription) == (
        "released", shop.subscription, None,
    )  # fmt: skip
    assert (subscription.status, subscription.schedule) == ("active", None)


def test_a_schedule_can_end_the_subscription(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    made = scheduled(client, shop, end_behavior="cancel")
    use(client, shop.customer, 1_000_000, "last", START)

    double.advance(days=31, hours=2)

    assert client.v1.subscription_schedules.retrieve(made.id).status == "completed"
    assert client.v1.subscriptions.retrieve(shop.subscription).status == "canceled"
    assert client.v1.invoices.list({"customer": shop.customer, "limit": 1}).data[0].total == 300


def test_a_released_schedule_changes_nothing(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    price = dearer(client, shop)
    made = scheduled(client, shop, {"items": [{"price": price}]})

    released = client.v1.subscription_schedules.release(made.id)
    double.advance(days=31)

    assert released.status == "released"
    assert {"price": price} not in own_items(client, shop)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscription_schedules.release(made.id)


def test_a_canceled_schedule_ends_the_subscription_at_once(client: stripe.StripeClient, shop: Shop) -> None:
    made = scheduled(client, shop)
    assert client.v1.subscription_schedules.cancel(made.id).status == "canceled"
    assert client.v1.subscriptions.retrieve(shop.subscription).status == "canceled"


def test_a_subscription_that_is_canceled_takes_its_schedule_with_it(
    client: stripe.StripeClient, shop: Shop
) -> None:
    made = scheduled(client, shop)
    client.v1.subscriptions.cancel(shop.subscription)
    assert client.v1.subscription_schedules.retrieve(made.id).status == "canceled"


def test_phases_follow_one_another_month_by_month(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    flat = {"price": shop.flat_price}
    made = scheduled(
        client, shop,
        {"items": [{**flat, "quantity": 2}], "duration": {"interval": "month"}},
        {"items": [{**flat, "quantity": 3}], "duration": {"interval": "month", "interval_count": 2}},
    )  # fmt: skip
    seen = []
    for _ in range(4):
        double.advance(days=31)
        subscription = client.v1.subscriptions.retrieve(shop.subscription)
        seen.append((subscription["items"].data[0].quantity, subscription.schedule))

    assert seen == [(2, made.id), (3, made.id), (3, made.id), (3, None)]
    told = ["subscription_schedule.updated", "subscription_schedule.released"]
    types = [event.type for event in client.v1.events.list({"types": told}).data]
    assert types[:1] == ["subscription_schedule.released"]


def test_schedules_are_listed_and_expanded(client: stripe.StripeClient, shop: Shop) -> None:
    made = scheduled(client, shop)
    listed = client.v1.subscription_schedules.list({"customer": shop.customer}).data
    subscription = client.v1.subscriptions.retrieve(shop.subscription, {"expand": ["schedule"]})

    assert [one.id for one in listed] == [made.id]
    assert isinstance(subscription.schedule, stripe.SubscriptionSchedule)


@pytest.mark.parametrize(
    "phases",
    [
        [], [{"items": "own", "end_date": MONTH - 1}], [{"items": "own", "start_date": 5}],
        [{"items": "other", "end_date": MONTH}], [{"items": "own", "end_date": MONTH, "trial": True}],
        [{"items": "own", "duration": {"interval": "week"}}],
        [{"items": "own", "end_date": MONTH}, {"items": [{"price": "price_nothing"}]}],
    ],
)  # fmt: skip
def test_phases_that_cannot_be_carried_out_are_refused(
    client: stripe.StripeClient, shop: Shop, phases: Any
) -> None:
    made = client.v1.subscription_schedules.create({"from_subscription": shop.subscription})
    named = {"own": own_items(client, shop), "other": [{"price": shop.flat_price, "quantity": 7}]}
    filled = [{**phase, "items": named.get(str(phase["items"]), phase["items"])} for phase in phases]
    update: Any = {"phases": filled or ""}

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscription_schedules.update(made.id, update)

    assert len(client.v1.subscription_schedules.retrieve(made.id).phases) == 1


def test_a_schedule_is_made_from_a_subscription_only(client: stripe.StripeClient, shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscription_schedules.create({"customer": shop.customer})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscription_schedules.create({"from_subscription": "sub_nothing"})


def test_leaving_is_decided_in_the_schedule_while_it_runs(client: stripe.StripeClient, shop: Shop) -> None:
    made = scheduled(client, shop)

    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        client.v1.subscriptions.update(shop.subscription, {"cancel_at_period_end": True})

    client.v1.subscription_schedules.release(made.id)
    left = client.v1.subscriptions.update(shop.subscription, {"cancel_at_period_end": True})
    assert left.cancel_at_period_end


def test_seats_that_change_beside_a_schedule_split_what_runs_and_not_what_comes(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    items = own_items(client, shop)
    made = scheduled(client, shop, {"items": items})
    double.advance(days=3)
    seat = next(
        item
        for item in client.v1.subscriptions.retrieve(shop.subscription)["items"].data
        if item.price.id == shop.seat_price
    )

    client.v1.subscription_items.update(seat.id, {"quantity": 8})

    schedule = client.v1.subscription_schedules.retrieve(made.id)
    seats = [
        item.quantity for phase in schedule.phases for item in phase["items"] if item.price == shop.seat_price
    ]
    now = int(double.clock.at.timestamp())
    assert seats == [3, 8, 3]
    assert [phase.start_date for phase in schedule.phases] == [int(START.timestamp()), now, MONTH]
    assert schedule.current_phase is not None
    assert (schedule.current_phase.start_date, schedule.current_phase.end_date) == (now, MONTH)
    double.advance(days=28)
    assert {"price": shop.seat_price, "quantity": 3} in own_items(client, shop)


def test_an_item_shows_its_price_as_it_is_now(client: stripe.StripeClient, shop: Shop) -> None:
    client.v1.prices.update(shop.flat_price, {"active": False})

    items = client.v1.subscriptions.retrieve(shop.subscription)["items"].data
    assert [item.price.active for item in items if item.price.id == shop.flat_price] == [False]
