"""What somebody changes in the Dashboard is told, and what it leaves without a price is parked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.records import COST_METER
from tallygate.subscriptions.prices import current_prices
from tests.tallygate.subscriptions.shop import Shop

SCALE = "scale-llm_cost_nano_usd"


KINDS = ("item_missing", "plan_unknown", "price_changed")


def told(capsys: pytest.CaptureFixture[str], *kinds: str) -> list[tuple[str, str]]:
    """Findings among the lines written since the last time: event and detail."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    found = [(line["event"], line.get("detail", "")) for line in lines]
    return sorted(
        {one for one in found if one[0] in (kinds or ("item_missing", "plan_unknown", "price_changed"))}
    )


def by_hand(shop: Shop, **changes: Any) -> str:
    """Another metered price on the cost meter, as the Dashboard makes it."""
    plan_price = shop.client.v1.prices.retrieve(current_prices(shop.client, shop.plans)[SCALE])
    assert plan_price.recurring is not None
    params: Any = {
        "product": plan_price.product,
        "currency": "usd",
        "unit_amount_decimal": "0.0000005",
        "recurring": {"interval": "month", "usage_type": "metered", "meter": plan_price.recurring.meter},
    } | changes
    return shop.client.v1.prices.create(params).id


def states(shop: Shop) -> list[tuple[int, str, str | None]]:
    """Value, disposition and reason of the sealed rows of the cost meter."""
    rows = [row for row in shop.stage.deltas() if row["meter"] == COST_METER]
    return [(row["value"], row["disposition"], row["reason"]) for row in rows]


def test_usage_of_an_item_that_was_removed_is_told_and_parked_and_billed_once_it_is_back(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = shop.subscribe(plan="scale")
    shop.use(1_000_000_000)
    shop.advance(minutes=5)
    shop.stage.report()
    item = shop.item(customer, COST_METER)
    capsys.readouterr()

    shop.client.v1.subscription_items.delete(item.id, {"proration_behavior": "none"})
    shop.settle()
    assert [event for event, _ in told(capsys)] == ["item_missing"]
    shop.advance(hours=1)
    shop.use(2_000_000_000)
    shop.advance(minutes=10)
    shop.stage.report()
    assert states(shop) == [(1_000_000_000, "billable", None), (2_000_000_000, "parked", "no_item")]

    again: Any = {
        "subscription": shop.subscription(customer).id,
        "price": item.price.id,
        "proration_behavior": "none",
    }
    shop.client.v1.subscription_items.create(again)
    shop.settle()
    assert told(capsys, "item_missing") == []
    shop.advance(hours=1)
    shop.use(4_000_000_000)
    shop.advance(minutes=10)
    shop.stage.report()
    assert sum(value for value, _, _ in states(shop)) == 7_000_000_000
    assert states(shop)[-1] == (4_000_000_000, "billable", None)


def test_a_price_of_nobody_s_plan_in_the_middle_of_a_period_is_told_until_the_period_ends(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = shop.subscribe(plan="scale")
    shop.advance(hours=2)
    item, price = shop.item(customer, COST_METER), by_hand(shop)
    capsys.readouterr()

    shop.client.v1.subscription_items.update(item.id, {"price": price, "proration_behavior": "none"})
    shop.settle()

    findings = dict(told(capsys))
    assert set(findings) == {"plan_unknown", "price_changed"}
    assert f"{COST_METER} {item.price.id} {price}" in findings["price_changed"]
    before, after = shop.segments()
    assert [one.price for one in before.items] == [item.price.id]
    assert [one.price for one in after.items] == [price]
    assert before.valid_to == after.valid_from

    shop.advance(seconds=(after.period_end - shop.stage.now).total_seconds() + 60)
    shop.settle()
    capsys.readouterr()
    shop.advance(days=2)
    shop.client.v1.subscriptions.update(shop.subscription(customer).id, {"metadata": {"any": "change"}})
    shop.settle()
    assert [event for event, _ in told(capsys)] == ["plan_unknown"]


def test_a_labelled_price_that_is_swapped_in_is_told_too(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says the right plan, and still nobody may change it in the middle of a period."""
    customer = shop.subscribe(plan="scale")
    shop.advance(hours=2)
    price = by_hand(shop, metadata={"tallygate_plan": "scale", "tallygate_kind": COST_METER})
    capsys.readouterr()

    shop.client.v1.subscription_items.update(
        shop.item(customer, COST_METER).id, {"price": price, "proration_behavior": "none"}
    )
    shop.settle()

    assert [event for event, _ in told(capsys)] == ["price_changed"]


def test_a_price_that_changes_at_the_boundary_is_nobody_s_concern(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.subscribe(plan="scale")
    capsys.readouterr()
    end = shop.segments()[-1].period_end

    shop.advance(seconds=(end - shop.stage.now).total_seconds() + 60)
    shop.settle()

    assert told(capsys) == []
