"""The draft of a period waits for the period's usage, and no longer than it must."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tallygate.leases import Lease
from tallygate.records import COST_METER
from tests.support.stage import Stage
from tests.tallygate.subscriptions.shop import Shop, open_shop

HOLD = timedelta(hours=5, minutes=50)
"""What the reporter is told: Stripe's draft is held for six hours."""
COST = 3_000_000_000
"""Nano-USD: three dollars, 3.60 with the plan's markup."""


def to_period_end(shop: Shop, before: timedelta) -> datetime:
    """Let time pass until shortly before the period's end; the end."""
    end = shop.segments()[-1].period_end
    shop.advance(seconds=(end - before - shop.stage.clock.now()).total_seconds())
    return end


def draft(shop: Shop, customer: str) -> Any:
    """The customer's draft, or None."""
    found = shop.client.v1.invoices.list({"customer": customer, "status": "draft"}).data
    return found[0] if found else None


def metered_amount(shop: Shop, customer: str) -> int:
    """Cents for metered usage on the newest finalized invoice."""
    invoices = shop.client.v1.invoices.list({"customer": customer, "status": "paid"}).data
    lines = invoices[0].lines.data
    return sum(line.amount for line in lines if line.quantity and line.quantity > 1)


def work(shop: Shop, minutes: int) -> None:
    """So many minutes, with a run of each job in every fifteen: fewer than by schedule."""
    for _ in range(minutes // 15):
        shop.advance(minutes=15)
        shop.stage.report()
        shop.sync()


def test_usage_of_the_last_minutes_is_on_the_invoice(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    to_period_end(shop, timedelta(minutes=2))
    shop.use(COST)

    work(shop, 120)

    assert draft(shop, customer) is None
    assert metered_amount(shop, customer) == 360
    assert shop.waiting() == []


def to_new_period(shop: Shop) -> None:
    """Past the end of the period, a little: the drafts are announced, and the sync has looked at none."""
    to_period_end(shop, timedelta(0))
    shop.stage.stripe.post("/_sandbox/tick")


def test_what_remains_is_sent_when_the_draft_is_announced(shop: Shop) -> None:
    """By the sync, without waiting for the reporter's turn."""
    customer = shop.subscribe(plan="scale")
    to_period_end(shop, timedelta(minutes=2))
    shop.use(COST)
    to_new_period(shop)
    before = shop.stage.billed()

    shop.sync()

    assert before == {}
    assert shop.stage.billed() == {(customer, COST_METER): COST}


def test_one_run_of_the_reporter_serves_all_drafts(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    for tenant in ("acme", "bolt", "corvus"):
        shop.subscribe(tenant, plan="scale")
    to_period_end(shop, timedelta(minutes=2))
    for tenant in ("acme", "bolt", "corvus"):
        shop.use(COST, tenant)
    to_new_period(shop)
    capsys.readouterr()

    shop.sync()
    shop.sync()

    assert sum(shop.stage.billed().values()) == 3 * COST
    assert capsys.readouterr().out.count('"job": "usage_reporter"') == 1


def test_a_draft_waits_a_minute_for_a_reporter_that_runs_by_itself(shop: Shop) -> None:
    shop.subscribe(plan="scale")
    to_period_end(shop, timedelta(minutes=2))
    shop.use(COST)
    to_new_period(shop)
    lease = Lease(shop.stage.database, shop.stage.clock, "usage_reporter", "another", timedelta(minutes=10))
    lease.acquire()

    shop.sync()
    while_it_ran = shop.stage.billed()
    lease.release()
    shop.advance(seconds=61)
    shop.sync()

    assert while_it_ran == {}
    assert sum(shop.stage.billed().values()) == COST


def test_a_draft_is_held_while_usage_can_not_be_sent_and_let_go_when_it_is(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    shop.stage.policy = replace(shop.stage.policy, closes_after=HOLD)
    end = to_period_end(shop, timedelta(minutes=2))
    shop.use(COST)
    shop.stage.stripe.arm("error_500", rate=1.0, seed=1, match={"path": "/v2/billing/meter_events"})

    work(shop, 90)  # Stripe alone would have finalized it after an hour

    held = draft(shop, customer)
    assert held is not None
    assert datetime.fromtimestamp(held.automatically_finalizes_at, UTC) == end + timedelta(hours=6)

    shop.stage.http.delete(f"{shop.stage.stripe.url}/_sandbox/faults")
    work(shop, 30)
    shop.advance(minutes=2)
    assert draft(shop, customer) is None
    assert metered_amount(shop, customer) == 360


@pytest.mark.parametrize("late", [0, 15], ids=["in time", "by a sync that was down at the end of the hold"])
def test_an_invoice_goes_out_after_the_hold_and_somebody_is_told(
    shop: Shop, capsys: pytest.CaptureFixture[str], late: int
) -> None:
    customer = shop.subscribe(plan="scale")
    to_period_end(shop, timedelta(minutes=2))
    shop.use(COST)
    shop.stage.stripe.arm("error_500", rate=1.0, seed=1, match={"path": "/v2/billing/meter_events"})

    work(shop, 15)
    shop.advance(minutes=328 + late)
    work(shop, 15)
    shop.advance(minutes=5)

    assert draft(shop, customer) is None
    assert '"event": "invoice_unbalanced"' in capsys.readouterr().out
    assert [row for row in shop.waiting() if row.topic == "invoice"] == []


def test_a_plan_without_meters_is_not_held(shop: Shop) -> None:
    customer = shop.subscribe(plan="starter")
    end = to_period_end(shop, timedelta(0))
    shop.settle()

    found = draft(shop, customer)
    assert found is not None
    assert datetime.fromtimestamp(found.automatically_finalizes_at, UTC) == end + timedelta(hours=1)


def test_the_final_usage_is_on_the_final_invoice(shop: Shop) -> None:
    customer = shop.subscribe(plan="scale")
    shop.use(COST)
    shop.stage.report()
    shop.advance(minutes=2)

    shop.client.v1.subscriptions.cancel(shop.subscription(customer).id, {"invoice_now": True})
    work(shop, 120)
    assert draft(shop, customer) is None
    assert metered_amount(shop, customer) == 360


def test_no_draft_waits_for_usage_that_is_billed_elsewhere(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", on_stage.bigquery_url)
    with open_shop(on_stage, cloudevents_url="https://usage.example.com/events") as shop:
        customer = shop.subscribe(plan="scale")
        end = to_period_end(shop, timedelta(minutes=2))
        shop.use(COST)
        shop.advance(minutes=5)
        shop.settle()

        found = draft(shop, customer)
        assert found is not None
        assert datetime.fromtimestamp(found.automatically_finalizes_at, UTC) == end + timedelta(hours=1)
        assert shop.waiting() == []
