"""Usage that was sent for a period which no invoice covers is told once, and a person is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tallygate.reconciliation import repairs
from tests.sql.cases import INPUT
from tests.support.invoiced import bill_from_begin, final_invoice, subscribe, use_twice
from tests.support.stage import Stage
from tests.tallygate.reconciliation.test_invoices import daily, results, told

ENDED = "2026-03-10T15:10:00Z"


def end_at_once(stage: Stage, customer: str, **params: Any) -> None:
    """End the subscription in the middle of its period as the Dashboard does it, and let the ledger know."""
    client = stage.stripe.client()
    (subscription,) = client.v1.subscriptions.list({"customer": customer}).data
    stage.go_to(ENDED)
    given: Any = params
    client.v1.subscriptions.cancel(subscription.id, given)
    bill_from_begin(stage, customer, valid_to=ENDED, known_at=ENDED)


def test_a_subscription_that_is_ended_without_an_invoice_is_found(
    on_stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = subscribe(on_stage)
    use_twice(on_stage)
    end_at_once(on_stage, customer)

    on_stage.advance(hours=2)
    early = daily(on_stage)
    on_stage.advance(hours=2)
    found, again = daily(on_stage), daily(on_stage)

    assert (early.uninvoiced, found.uninvoiced, again.uninvoiced) == (0, 1, 0)
    assert found.answer()["uninvoiced"] == 1
    (repair,) = repairs.every(on_stage.database)
    assert (repair.remedy, repair.difference, repair.invoice) == ("none", -200, None)
    assert "no invoice covers this period" in repair.why
    (difference,) = told(capsys, "reconciliation_difference")
    assert (difference["tenant_id"], difference["meter"], difference["invoice"]) == ("acme", INPUT, None)
    assert (difference["ledger_value"], difference["witness_value"]) == (200, 0)
    (kept,) = results(on_stage)
    assert (kept["action"], kept["difference"]) == ("proposed", -200)
    assert kept["detail"] == f"no invoice; {repair.repair_id}"


def test_a_subscription_that_is_ended_with_its_invoice_is_in_order(on_stage: Stage) -> None:
    """The draft is enough; its line is compared once it is final."""
    customer = subscribe(on_stage)
    use_twice(on_stage)
    end_at_once(on_stage, customer, invoice_now=True)

    on_stage.advance(hours=4)
    run = daily(on_stage)

    assert run.uninvoiced == 0
    assert (run.invoices.invoice_lines, run.invoices.invoice_differences) == (1, 0)


def test_a_period_with_its_invoice_is_in_order(on_stage: Stage) -> None:
    customer = subscribe(on_stage)
    use_twice(on_stage)
    final_invoice(on_stage, customer)

    on_stage.advance(hours=2)

    assert daily(on_stage).uninvoiced == 0


def test_a_void_invoice_bills_nothing(on_stage: Stage) -> None:
    customer = subscribe(on_stage, cents="1")
    on_stage.stripe.pays(customer, "declines")
    use_twice(on_stage)
    invoice = final_invoice(on_stage, customer)
    on_stage.stripe.client().v1.invoices.void_invoice(invoice)

    on_stage.advance(hours=2)
    run = daily(on_stage)

    assert run.uninvoiced == 1


def test_what_a_person_has_decided_is_not_asked_again(on_stage: Stage) -> None:
    customer = subscribe(on_stage)
    use_twice(on_stage)
    end_at_once(on_stage, customer)
    on_stage.advance(hours=4)
    daily(on_stage)
    (repair,) = repairs.every(on_stage.database)

    repairs.decide(
        on_stage.database, repair.repair_id, approve=False, by="sam", caller=None, comment="charged by hand",
        now=on_stage.now,
    )  # fmt: skip
    on_stage.advance(days=1)

    assert daily(on_stage).uninvoiced == 0
    assert len(repairs.every(on_stage.database)) == 1
