"""Every final invoice is compared with the ledger once, line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.reconciliation import repairs
from tallygate.reconciliation.reconcile import Run, reconcile
from tests.sql.cases import INPUT, delta
from tests.support.invoiced import final_invoice, invoice_of_a_month, subscribe, use_twice
from tests.support.stage import Stage


def daily(stage: Stage) -> Run:
    """A daily run."""
    run = reconcile(stage.reconciler(), "daily")
    assert run.error is None
    return run


def results(stage: Stage) -> list[dict[str, Any]]:
    """The results of comparing invoices."""
    return [row for row in stage.rows("ledger.reconciliations", "checked_at") if row["kind"] == "invoice"]


def told(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """The structured lines of an event about an invoice."""
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return [one for one in lines if one["event"] == event and one.get("kind") == "invoice"]


def test_a_right_invoice_leaves_a_result_and_is_not_looked_at_again(
    on_stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    invoice = invoice_of_a_month(on_stage)

    first, second = daily(on_stage), daily(on_stage)
    on_stage.advance(days=1)
    third = daily(on_stage)

    assert (first.invoices.invoice_lines, first.invoices.invoice_differences) == (1, 0)
    assert second.invoices.invoices == third.invoices.invoices == 0
    (kept,) = results(on_stage)
    assert (kept["ledger_value"], kept["witness_value"], kept["action"]) == (200, 200, "none")
    assert (kept["tenant_id"], kept["meter"], kept["detail"]) == ("acme", INPUT, f"{invoice} line 1")
    assert told(capsys, "reconciliation_difference") == []


def test_a_line_that_differs_is_told_and_a_repair_proposed(
    on_stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage that Stripe took after the invoice was final is on no invoice, though the ledger has sent it."""
    invoice = invoice_of_a_month(on_stage)
    late = delta(9, usage_hour="2026-03-10T16:00:00Z", booked_at="2026-03-10T16:00:00Z", value=30)
    customer = on_stage.deltas()[0]["stripe_customer"]
    identifier = "u1:e1:acme:llm_input_tokens:1773158400:9"
    on_stage.insert("ledger.meter_deltas", late | {"identifier": identifier, "stripe_customer": customer})
    on_stage.insert(
        "ledger.meter_deliveries",
        {
            "identifier": identifier,
            "usage_hour": "2026-03-10T16:00:00Z",
            "attempt": 1,
            "state": "confirmed",
            "at": "2026-04-10T16:30:00Z",
            "run_id": "r",
        },
    )

    run = daily(on_stage)

    assert run.invoices.invoice_differences == 1
    (difference,) = told(capsys, "reconciliation_difference")
    assert (difference["invoice"], difference["line"]) == (invoice, 1)
    assert (difference["ledger_value"], difference["witness_value"]) == (230, 200)
    (repair,) = repairs.every(on_stage.database)
    assert (repair.remedy, repair.difference, difference["repair_id"]) == ("none", -30, repair.repair_id)
    assert "less than a cent" in repair.why
    (kept,) = results(on_stage)
    assert (kept["difference"], kept["action"]) == (-30, "proposed")


def test_a_line_with_rows_on_their_way_is_compared_when_they_have_arrived(on_stage: Stage) -> None:
    customer = subscribe(on_stage)
    use_twice(on_stage)
    identifier = on_stage.deltas()[0]["identifier"]
    hour = on_stage.deltas()[0]["usage_hour"].isoformat()
    note: dict[str, Any] = {"identifier": identifier, "usage_hour": hour, "run_id": "r"}
    final_invoice(on_stage, customer)
    again = {"attempt": 2, "state": "sending", "reason": "not_found", "at": "2026-04-10T16:00:00Z"}
    lost = {"attempt": 1, "state": "rejected", "reason": "x", "at": "2026-04-10T15:59:00Z"}
    on_stage.insert("ledger.meter_deliveries", note | lost, note | again)

    first = daily(on_stage)
    on_stage.insert(
        "ledger.meter_deliveries",
        note | {"attempt": 2, "state": "sent", "reason": None, "at": "2026-04-10T16:50:00Z"},
    )
    second = daily(on_stage)

    assert (first.invoices.invoices_waiting, first.invoices.invoice_lines) == (1, 0)
    assert (second.invoices.invoices_waiting, second.invoices.invoice_lines) == (0, 1)
    assert [row["action"] for row in results(on_stage)] == ["none"]


def test_an_invoice_is_looked_at_again_after_a_run_that_failed(on_stage: Stage) -> None:
    invoice_of_a_month(on_stage)
    on_stage.stripe.arm("outage", count=3, match={"path": "/v1/invoices"})

    failed = reconcile(on_stage.reconciler(), "daily")
    done = daily(on_stage)

    assert failed.error is not None
    assert done.invoices.invoice_lines == 1


def test_only_the_daily_run_compares_invoices(on_stage: Stage) -> None:
    invoice_of_a_month(on_stage)

    run = reconcile(on_stage.reconciler(), "hourly")

    assert run.invoices.invoices == 0
