"""A metered price that changes, with everything that follows: segments, usage, invoices, seats, leaving."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from tallygate.plans import Plans
from tallygate.records import COST_METER
from tallygate.subscriptions.prices import current_prices
from tallygate.subscriptions.publishing import publish
from tests.tallygate.subscriptions.shop import Shop

SCALE = "scale-llm_cost_nano_usd"


def dearer(shop: Shop) -> Plans:
    """The plans with another price for cost in plan scale: twice the cost, not a fifth more."""
    scale = replace(shop.plans.plans["scale"], unit_cents={COST_METER: Decimal("0.0000002")})
    return Plans({**shop.plans.plans, "scale": scale})


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


def seats_planned(shop: Shop, customer: str) -> list[int]:
    (schedule,) = shop.client.v1.subscription_schedules.list({"customer": customer}).data
    return [item.quantity for item in schedule.phases[-1]["items"] if item.quantity]


def dearer_tokens(shop: Shop) -> Plans:
    team = shop.plans.plans["team"]
    cents = {meter: cents * 2 for meter, cents in team.unit_cents.items()}
    return Plans({**shop.plans.plans, "team": replace(team, unit_cents=cents)})


def test_usage_before_the_boundary_has_the_old_price_and_after_it_the_new_one(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    old = current_prices(shop.client, shop.plans)[SCALE]
    shop.use(3_000_000_000)

    told = publish(shop.client, dearer(shop), dry_run=True)
    done = publish(shop.client, dearer(shop), dry_run=False)

    new = current_prices(shop.client, shop.plans)[SCALE]
    assert (
        [one.change for one in told] == [one.change for one in done] == ["replace_price", "move_subscriber"]
    )
    assert told[1:] == done[1:]
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

    to_period_end(shop, minutes=10)
    for _ in range(8):
        shop.advance(hours=1)
        shop.sync()
    lines = metered_lines(shop, customer)
    assert lines[old] == (3_000_000_000, 360)
    assert lines[new] == (5_000_000_000, 1000)
    assert shop.parked() == []


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
