"""The draft of a period waits for the period's usage, and no longer than it must."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

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
    """The schedule of so many minutes: the sync every five, the reporter too."""
    for _ in range(minutes // 5):
        shop.advance(minutes=5)
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
    assert draft(shop, customer) is None
    assert metered_amount(shop, customer) == 360


def test_an_invoice_goes_out_after_the_hold_and_somebody_is_told(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = shop.subscribe(plan="scale")
    to_period_end(shop, timedelta(minutes=2))
    shop.use(COST)
    shop.stage.stripe.arm("error_500", rate=1.0, seed=1, match={"path": "/v2/billing/meter_events"})

    work(shop, 370)

    assert draft(shop, customer) is None
    assert '"event": "invoice_unbalanced"' in capsys.readouterr().out
    assert shop.waiting() == []


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
