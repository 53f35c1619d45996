"""A metered price that changes: subscribers follow at the end of their period, by Stripe's own schedule."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import stripe

from tallygate.plans import Plans
from tallygate.records import COST_METER
from tallygate.subscriptions.changing import cancel, set_seats
from tallygate.subscriptions.moving import MOVE_KEY, moves
from tallygate.subscriptions.prices import current_prices
from tallygate.subscriptions.publishing import Action, publish
from tests.tallygate.subscriptions.shop import Shop

SCALE = "scale-llm_cost_nano_usd"
DEARER = Decimal("0.0000002")
"""Cents for a nano-USD: twice the cost, where the plan had a fifth on it."""


def dearer(shop: Shop, cents: Decimal = DEARER) -> Plans:
    """The plans with another price for cost in plan scale."""
    scale = replace(shop.plans.plans["scale"], unit_cents={COST_METER: cents})
    return Plans({**shop.plans.plans, "scale": scale})


def changes(actions: list[Action]) -> list[str]:
    return [action.change for action in actions]


def to_period_end(shop: Shop, **beyond: float) -> None:
    end = shop.segments()[-1].period_end
    shop.advance(seconds=(end - shop.stage.now).total_seconds())
    shop.advance(**beyond)
    shop.settle()


def prices_of(shop: Shop, customer: str) -> list[str]:
    return [item.price.id for item in shop.subscription(customer)["items"].data]


def metered_lines(shop: Shop, customer: str) -> dict[str, tuple[int, int]]:
    """Quantity and amount by price, of all invoices."""
    found: dict[str, tuple[int, int]] = {}
    for invoice in shop.client.v1.invoices.list({"customer": customer, "limit": 100}).data:
        for line in invoice.lines.data:
            price = line.pricing.price_details.price  # type: ignore[union-attr]
            quantity, amount = found.get(str(price), (0, 0))
            found[str(price)] = (quantity + (line.quantity or 0), amount + line.amount)
    return found


def test_usage_before_the_boundary_has_the_old_price_and_after_it_the_new_one(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    old = current_prices(shop.client, shop.plans)[SCALE]
    shop.use(3_000_000_000)

    told = publish(shop.client, dearer(shop), dry_run=True)
    done = publish(shop.client, dearer(shop), dry_run=False)

    new = current_prices(shop.client, shop.plans)[SCALE]
    assert changes(told) == changes(done) == ["replace_price", "move_subscriber"]
    assert [(one.name, one.detail) for one in told[1:]] == [(one.name, one.detail) for one in done[1:]]
    assert old in prices_of(shop, customer)
    (before,) = shop.segments()
    shop.stage.report()

    to_period_end(shop, minutes=10)
    shop.use(5_000_000_000)
    shop.advance(minutes=10)
    shop.stage.report()
    first, second = shop.segments()
    assert second.valid_from == first.valid_to == before.period_end
    assert [item.price for item in first.items] == [old]
    assert [item.price for item in second.items] == [new]
    assert new in prices_of(shop, customer)
    assert old not in prices_of(shop, customer)

    for _ in range(31):
        shop.advance(days=1)
        shop.sync()
    shop.stage.report()
    shop.settle()
    shop.advance(hours=8)
    shop.sync()
    shop.advance(hours=2)
    lines = metered_lines(shop, customer)
    assert lines[old] == (3_000_000_000, 360)
    assert lines[new] == (5_000_000_000, 1000)
    assert shop.parked() == []


def test_a_second_run_plans_nothing_and_the_old_price_is_closed_when_all_have_moved(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    old = current_prices(shop.client, shop.plans)[SCALE]
    publish(shop.client, dearer(shop), dry_run=False)

    assert publish(shop.client, dearer(shop), dry_run=False) == []
    assert shop.client.v1.prices.retrieve(old).active

    to_period_end(shop)
    assert changes(publish(shop.client, dearer(shop), dry_run=False)) == ["close_price"]
    assert not shop.client.v1.prices.retrieve(old).active
    assert old not in prices_of(shop, customer)


def test_a_price_that_changes_again_before_the_boundary_moves_to_the_last_one(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    publish(shop.client, dearer(shop), dry_run=False)

    again = publish(shop.client, dearer(shop, DEARER * 2), dry_run=False)

    assert changes(again) == ["replace_price", "move_subscriber", "close_price"]
    to_period_end(shop)
    assert current_prices(shop.client, shop.plans)[SCALE] in prices_of(shop, customer)


def test_a_run_that_was_cut_off_is_gone_on_with(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    subscription = shop.subscription(customer).id
    shop.client.v1.subscription_schedules.create({"from_subscription": subscription})

    publish(shop.client, dearer(shop), dry_run=False)

    (schedule,) = shop.client.v1.subscription_schedules.list({"customer": customer}).data
    assert schedule.metadata is not None
    assert MOVE_KEY in schedule.metadata.to_dict()
    assert len(schedule.phases) == 2


def test_who_leaves_at_the_period_s_end_is_left_alone(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    shop.client.v1.subscriptions.update(shop.subscription(customer).id, {"cancel_at_period_end": True})

    assert changes(publish(shop.client, dearer(shop), dry_run=False)) == ["replace_price"]


def test_a_schedule_of_somebody_else_is_left_alone_and_told(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    made = shop.client.v1.subscription_schedules.create({"from_subscription": shop.subscription(customer).id})
    marked: Any = {"metadata": {"made_by": "somebody"}}
    shop.client.v1.subscription_schedules.update(made.id, marked)

    *_, told = publish(shop.client, dearer(shop), dry_run=False)

    assert told.change == "cannot_move"
    assert f"has the schedule {made.id} of somebody else" in told.detail
    assert len(shop.client.v1.subscription_schedules.retrieve(made.id).phases) == 1


def test_a_price_of_a_seat_changes_nobody_who_has_it(shop: Shop) -> None:
    customer = shop.subscribe(plan="team")
    old = current_prices(shop.client, shop.plans)["team-seat"]
    team = replace(shop.plans.plans["team"], seat_cents=9900)

    actions = publish(shop.client, Plans({**shop.plans.plans, "team": team}), dry_run=False)

    assert changes(actions) == ["replace_price", "update_portal"]
    assert old in prices_of(shop, customer)
    assert shop.client.v1.prices.retrieve(old).active


def test_a_closed_price_among_the_items_is_opened_for_the_schedule(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    flat = current_prices(shop.client, shop.plans)["scale-flat"]
    scale = replace(shop.plans.plans["scale"], flat_cents=100)
    publish(shop.client, Plans({**shop.plans.plans, "scale": scale}), dry_run=False)
    shop.client.v1.prices.update(flat, {"active": False})

    both = replace(scale, unit_cents={COST_METER: DEARER})
    publish(shop.client, Plans({**shop.plans.plans, "scale": both}), dry_run=False)

    to_period_end(shop)
    assert sorted(prices_of(shop, customer)) == sorted([flat, current_prices(shop.client, shop.plans)[SCALE]])


def seats_planned(shop: Shop, customer: str) -> list[int]:
    (schedule,) = shop.client.v1.subscription_schedules.list({"customer": customer}).data
    return [item.quantity for item in schedule.phases[-1]["items"] if item.quantity]


def dearer_tokens(shop: Shop) -> Plans:
    team = shop.plans.plans["team"]
    cents = {meter: cents * 2 for meter, cents in team.unit_cents.items()}
    return Plans({**shop.plans.plans, "team": replace(team, unit_cents=cents)})


def test_seats_that_change_while_a_move_waits_are_not_set_back(shop: Shop) -> None:
    """Whoever changes them: the sync brings them into the schedule."""
    customer = shop.subscribe(plan="team", seats=3)
    publish(shop.client, dearer_tokens(shop), dry_run=False)
    assert seats_planned(shop, customer) == [3]
    shop.advance(days=2)

    shop.client.v1.subscription_items.update(shop.item(customer, "seat").id, {"quantity": 9})
    shop.settle()

    assert seats_planned(shop, customer) == [9]
    to_period_end(shop, minutes=5)
    assert shop.item(customer, "seat").quantity == 9
    assert shop.now().seats == 9


def test_an_operator_s_change_of_seats_reaches_the_schedule_at_once(shop: Shop) -> None:
    customer = shop.subscribe(plan="team", seats=3)
    publish(shop.client, dearer_tokens(shop), dry_run=False)

    set_seats(shop.client, customer, 5)

    assert seats_planned(shop, customer) == [5]
    assert publish(shop.client, dearer_tokens(shop), dry_run=False) == []


def test_a_schedule_is_released_when_its_change_has_happened(shop: Shop) -> None:
    """While it is there, nobody can leave at a period's end."""
    customer = shop.subscribe(plan="scale")
    publish(shop.client, dearer(shop), dry_run=False)
    subscription = shop.subscription(customer).id

    to_period_end(shop, minutes=5)

    assert shop.subscription(customer).schedule is None
    shop.client.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})


def test_a_settling_that_fails_is_tried_again(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    publish(shop.client, dearer(shop), dry_run=False)
    shop.stage.stripe.arm("error_500", match={"operation": "/v1/subscription_schedules/{id}/release"})

    to_period_end(shop, minutes=5)
    for _ in range(3):
        shop.advance(minutes=1)
        shop.sync()

    assert shop.stage.injected("error_500") == 1
    assert shop.subscription(customer).schedule is None
    assert [row for row in shop.waiting() if row.topic != "invoice"] == []


def test_who_leaves_while_a_move_waits_is_not_moved(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    old = current_prices(shop.client, shop.plans)[SCALE]
    publish(shop.client, dearer(shop), dry_run=False)

    cancel(shop.client, customer, at_once=False)

    assert shop.subscription(customer).cancel_at_period_end
    assert old in prices_of(shop, customer)
    assert publish(shop.client, dearer(shop), dry_run=False) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"status": "trialing"}, "is in its trial"),
        ({"cancel_at": 4_000_000_000}, "ends at a moment of its own"),
        ({"automatic_tax": {"enabled": True}}, "discounts or taxes of its own"),
        ({"discounts": ["di_1"]}, "discounts or taxes of its own"),
        ({"default_tax_rates": [{"id": "txr_1"}]}, "discounts or taxes of its own"),
    ],
    ids=str,
)
def test_what_a_schedule_would_lose_blocks_the_move(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], reason: str
) -> None:
    customer = shop.subscribe(plan="scale")
    old = current_prices(shop.client, shop.plans)[SCALE]
    content = {**shop.subscription(customer).to_dict(), **changed}
    listed = stripe.ListObject[stripe.Subscription].construct_from(
        {"object": "list", "url": "/v1/subscriptions", "data": [content], "has_more": False}, "sk_test"
    )
    monkeypatch.setattr(stripe.SubscriptionService, "list", lambda *_: listed)

    (move,) = moves(shop.client, {old: "price_new"})

    assert move.state == "blocked"
    assert reason in move.reason
