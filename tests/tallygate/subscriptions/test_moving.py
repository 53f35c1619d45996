"""A metered price that changes: subscribers follow at the end of their period, by Stripe's own schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.layout import REPOSITORY
from tallygate.catalogue import load_catalogue
from tallygate.plans import Plans, load_plans
from tallygate.records import COST_METER
from tallygate.subscriptions.changing import cancel, set_seats
from tallygate.subscriptions.checkout import checkout_link
from tallygate.subscriptions.moving import MOVE_KEY, moves
from tallygate.subscriptions.prices import current_prices
from tallygate.subscriptions.publishing import Action, publish
from tests.sandbox.stripe.double import START, Double, Host

SCALE = "scale-llm_cost_nano_usd"
DEARER = Decimal("0.0000002")
"""Cents for a nano-USD: twice the cost, where the plan had a fifth on it."""


@dataclass
class Market:
    """The sandbox's plans for sale on a Stripe double, and nobody who follows it."""

    double: Double
    client: stripe.StripeClient
    plans: Plans

    def subscribe(self, plan: str, *, seats: int = 3) -> str:
        """A customer who has paid on a Checkout page."""
        link = checkout_link(
            self.client, tenant_id="acme", plan=self.plans.plans[plan], seats=seats,
            prices=current_prices(self.client, self.plans), success_url="https://example.com/thanks",
        )  # fmt: skip
        self.double.post(f"/_sandbox/checkout/sessions/{link.session_id}/complete")
        return str(self.client.v1.checkout.sessions.retrieve(link.session_id).customer)

    def subscription(self, customer: str) -> Any:
        """The customer's subscription."""
        return self.client.v1.subscriptions.list({"customer": customer}).data[0]

    def end_period(self, customer: str) -> None:
        """Time passes to the end of the customer's period."""
        end = self.subscription(customer)["items"].data[0].current_period_end
        self.double.advance(seconds=(datetime.fromtimestamp(end, UTC) - self.double.clock.at).total_seconds())


@pytest.fixture
def market(stripe_host: Host, tmp_path: Path) -> Iterator[Market]:
    folder = REPOSITORY / "sandbox" / "config"
    plans = load_plans(folder / "plans.json", load_catalogue(folder / "catalogue.json", now=START))
    with stripe_host.running(tmp_path / "stripe") as double:
        client = double.client()
        publish(client, plans, dry_run=False)
        yield Market(double, client, plans)


def dearer(market: Market, cents: Decimal = DEARER) -> Plans:
    """The plans with another price for cost in plan scale."""
    scale = replace(market.plans.plans["scale"], unit_cents={COST_METER: cents})
    return Plans({**market.plans.plans, "scale": scale})


def changes(actions: list[Action]) -> list[str]:
    return [action.change for action in actions]


def prices_of(market: Market, customer: str) -> list[str]:
    return [item.price.id for item in market.subscription(customer)["items"].data]


def test_a_second_run_plans_nothing_and_the_old_price_is_closed_when_all_have_moved(market: Market) -> None:
    customer = market.subscribe(plan="scale")
    old = current_prices(market.client, market.plans)[SCALE]
    publish(market.client, dearer(market), dry_run=False)

    assert publish(market.client, dearer(market), dry_run=False) == []
    assert market.client.v1.prices.retrieve(old).active

    market.end_period(customer)
    assert changes(publish(market.client, dearer(market), dry_run=False)) == ["close_price"]
    assert not market.client.v1.prices.retrieve(old).active
    assert old not in prices_of(market, customer)


def test_a_price_that_changes_again_before_the_boundary_moves_to_the_last_one(market: Market) -> None:
    customer = market.subscribe(plan="scale")
    publish(market.client, dearer(market), dry_run=False)

    again = publish(market.client, dearer(market, DEARER * 2), dry_run=False)

    assert changes(again) == ["replace_price", "move_subscriber", "close_price"]
    market.end_period(customer)
    assert current_prices(market.client, market.plans)[SCALE] in prices_of(market, customer)


def test_a_run_that_was_cut_off_is_gone_on_with(market: Market) -> None:
    customer = market.subscribe(plan="scale")
    subscription = market.subscription(customer).id
    market.client.v1.subscription_schedules.create({"from_subscription": subscription})

    publish(market.client, dearer(market), dry_run=False)

    (schedule,) = market.client.v1.subscription_schedules.list({"customer": customer}).data
    assert schedule.metadata is not None
    assert MOVE_KEY in schedule.metadata.to_dict()
    assert len(schedule.phases) == 2


def test_who_leaves_at_the_period_s_end_is_left_alone(market: Market) -> None:
    customer = market.subscribe(plan="scale")
    market.client.v1.subscriptions.update(market.subscription(customer).id, {"cancel_at_period_end": True})

    assert changes(publish(market.client, dearer(market), dry_run=False)) == ["replace_price"]


def test_a_schedule_of_somebody_else_is_left_alone_and_told(market: Market) -> None:
    customer = market.subscribe(plan="scale")
    made = market.client.v1.subscription_schedules.create(
        {"from_subscription": market.subscription(customer).id}
    )
    marked: Any = {"metadata": {"made_by": "somebody"}}
    market.client.v1.subscription_schedules.update(made.id, marked)

    *_, told = publish(market.client, dearer(market), dry_run=False)

    assert told.change == "cannot_move"
    assert f"has the schedule {made.id} of somebody else" in told.detail
    assert len(market.client.v1.subscription_schedules.retrieve(made.id).phases) == 1


def test_a_price_of_a_seat_changes_nobody_who_has_it(market: Market) -> None:
    customer = market.subscribe(plan="team")
    old = current_prices(market.client, market.plans)["team-seat"]
    team = replace(market.plans.plans["team"], seat_cents=9900)

    actions = publish(market.client, Plans({**market.plans.plans, "team": team}), dry_run=False)

    assert changes(actions) == ["replace_price", "update_portal"]
    assert old in prices_of(market, customer)
    assert market.client.v1.prices.retrieve(old).active


def test_a_closed_price_among_the_items_is_opened_for_the_schedule(market: Market) -> None:
    customer = market.subscribe(plan="scale")
    flat = current_prices(market.client, market.plans)["scale-flat"]
    scale = replace(market.plans.plans["scale"], flat_cents=100)
    publish(market.client, Plans({**market.plans.plans, "scale": scale}), dry_run=False)
    market.client.v1.prices.update(flat, {"active": False})

    both = replace(scale, unit_cents={COST_METER: DEARER})
    publish(market.client, Plans({**market.plans.plans, "scale": both}), dry_run=False)

    market.end_period(customer)
    assert sorted(prices_of(market, customer)) == sorted(
        [flat, current_prices(market.client, market.plans)[SCALE]]
    )


def seats_planned(market: Market, customer: str) -> list[int]:
    (schedule,) = market.client.v1.subscription_schedules.list({"customer": customer}).data
    return [item.quantity for item in schedule.phases[-1]["items"] if item.quantity]


def dearer_tokens(market: Market) -> Plans:
    team = market.plans.plans["team"]
    cents = {meter: cents * 2 for meter, cents in team.unit_cents.items()}
    return Plans({**market.plans.plans, "team": replace(team, unit_cents=cents)})


def test_an_operator_s_change_of_seats_reaches_the_schedule_at_once(market: Market) -> None:
    customer = market.subscribe(plan="team", seats=3)
    publish(market.client, dearer_tokens(market), dry_run=False)

    set_seats(market.client, customer, 5)

    assert seats_planned(market, customer) == [5]
    assert publish(market.client, dearer_tokens(market), dry_run=False) == []


def test_who_leaves_while_a_move_waits_is_not_moved(market: Market) -> None:
    customer = market.subscribe(plan="scale")
    old = current_prices(market.client, market.plans)[SCALE]
    publish(market.client, dearer(market), dry_run=False)

    cancel(market.client, customer, at_once=False)

    assert market.subscription(customer).cancel_at_period_end
    assert old in prices_of(market, customer)
    assert publish(market.client, dearer(market), dry_run=False) == []


def test_what_a_schedule_would_lose_blocks_the_move(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    content = market.subscription(market.subscribe(plan="scale")).to_dict()
    old = current_prices(market.client, market.plans)[SCALE]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"status": "trialing"}, "is in its trial"),
        ({"cancel_at": 4_000_000_000}, "ends at a moment of its own"),
        ({"automatic_tax": {"enabled": True}}, "discounts or taxes of its own"),
        ({"discounts": ["di_1"]}, "discounts or taxes of its own"),
        ({"default_tax_rates": [{"id": "txr_1"}]}, "discounts or taxes of its own"),
    ]
    for changed, reason in cases:
        page = {"object": "list", "url": "/v1/subscriptions", "data": [content | changed], "has_more": False}
        listed = stripe.ListObject[stripe.Subscription].construct_from(page, "sk_test")
        monkeypatch.setattr(stripe.SubscriptionService, "list", lambda *_, listed=listed: listed)

        (move,) = moves(market.client, {old: "price_new"})

        assert (move.state, reason in move.reason) == ("blocked", True), changed
