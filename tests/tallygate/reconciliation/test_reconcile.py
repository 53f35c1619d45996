"""The reconciler against the real clients: what it confirms, finds, repairs and tells."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import pytest

from tallygate.reconciliation import repairs
from tallygate.reconciliation.reconcile import Run, reconcile
from tallygate.spend import document, document_id
from tests.sandbox.stripe.double import use
from tests.sql.cases import INPUT, ONLY_INPUT, admit, line, segment
from tests.support.stage import PATIENCE, Stage

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
EVENTS: Final = "/v2/billing/meter_events"


@pytest.fixture
def customer(on_stage: Stage) -> str:
    """The customer of tenant acme, who has used 100 input tokens."""
    made = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=made))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    on_stage.database.put("tenants", "acme", {"tenant_id": "acme"})
    return made


def run_reconciler(stage: Stage, depth: str = "hourly") -> Run:
    """One run."""
    return reconcile(stage.reconciler(), depth)


def state(stage: Stage) -> tuple[str, str | None]:
    """State and reason of the only billable row."""
    (row,) = [row for row in stage.deliveries() if row["disposition"] == "billable"]
    return row["delivery"], row["delivery_reason"]


def told(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """The structured lines of an event."""
    return [one for one in map(json.loads, capsys.readouterr().out.splitlines()) if one["event"] == event]


def test_what_stripe_counts_is_confirmed_and_not_read_again(on_stage: Stage, customer: str) -> None:
    on_stage.report()
    on_stage.advance(hours=3)

    first = run_reconciler(on_stage)
    on_stage.advance(hours=7)
    second = run_reconciler(on_stage)

    assert (first.compared.confirmed, first.compared.reads, first.error) == (1, 2, None)
    assert (second.compared.confirmed, second.compared.reads) == (0, 0)
    assert state(on_stage) == ("confirmed", None)
    (kept,) = [row for row in on_stage.rows("ledger.reconciliations") if row["kind"] == "summary"]
    assert (kept["ledger_value"], kept["witness_value"], kept["difference"]) == (100, 100, 0)
    assert kept["action"] == "confirmed"


def test_a_row_that_arrived_though_nobody_heard_is_found_after_two_reads(
    on_stage: Stage, customer: str
) -> None:
    on_stage.stripe.arm("commit_then_drop", match={"path": EVENTS})
    on_stage.stripe.arm("outage", count=PATIENCE.tries - 1, match={"path": EVENTS})
    on_stage.report()
    on_stage.advance(hours=26)

    first = run_reconciler(on_stage)
    between = state(on_stage)
    on_stage.advance(hours=6)
    second = run_reconciler(on_stage)
    run = on_stage.report(depth="hourly")

    assert (first.compared.waiting, between) == (1, ("sending", "unknown_outcome"))
    assert second.compared.found == 1
    assert state(on_stage) == ("sent", "found")
    assert (run.sent, run.held) == (0, 0)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_row_that_never_arrived_is_sent_again_after_two_reads(on_stage: Stage, customer: str) -> None:
    on_stage.stripe.arm("outage", count=PATIENCE.tries, match={"path": EVENTS})
    on_stage.report()
    on_stage.advance(hours=26)

    run_reconciler(on_stage)
    on_stage.advance(hours=6)
    released = run_reconciler(on_stage)
    run = on_stage.report(depth="hourly")

    assert released.compared.resent == 1
    assert (run.sent, run.backlog) == (1, 0)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_stale_read_repairs_nothing(on_stage: Stage, customer: str) -> None:
    """The first read shows a sum of before; the next one the true one."""
    on_stage.report()
    on_stage.clock.advance(hours=3)  # Stripe has had no time to sum
    on_stage.stripe.arm("stale_read", count=1000)

    run = run_reconciler(on_stage)

    assert run.compared.resent == run.compared.cancelled == run.compared.proposed == 0
    assert state(on_stage)[0] in ("sent", "confirmed")


def test_an_event_that_stripe_refused_later_is_sent_again(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stage.stripe.arm("async_reject", match={"path": EVENTS})
    on_stage.report()
    on_stage.advance(hours=3)
    run_reconciler(on_stage)
    on_stage.advance(hours=24)

    run_reconciler(on_stage)
    run = on_stage.report(depth="hourly")

    assert run.sent == 1
    assert on_stage.billed() == {(customer, INPUT): 100}
    (difference,) = told(capsys, "reconciliation_difference")
    assert (difference["ledger_value"], difference["witness_value"], difference["action"]) == (
        100, 0, "resent",
    )  # fmt: skip


def test_an_excess_of_the_last_day_is_cancelled(on_stage: Stage, customer: str) -> None:
    on_stage.report()
    use(on_stage.stripe.client(), customer, 100, "by hand", on_stage.now, meter=INPUT)
    on_stage.advance(hours=3)

    run_reconciler(on_stage)
    on_stage.advance(hours=6)
    run = run_reconciler(on_stage)

    assert run.compared.cancelled == 1
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_an_excess_that_no_row_explains_is_proposed_and_told(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stage.report()
    use(on_stage.stripe.client(), customer, 7, "by hand", on_stage.now, meter=INPUT)
    on_stage.advance(hours=3)

    run_reconciler(on_stage)
    on_stage.advance(hours=6)
    run = run_reconciler(on_stage)

    assert run.compared.proposed == 1
    (proposal,) = told(capsys, "repair_proposed")
    assert (proposal["tenant_id"], proposal["meter"]) == ("acme", INPUT)
    assert (proposal["ledger_value"], proposal["witness_value"]) == (100, 107)
    (kept,) = repairs.every(on_stage.database)
    assert (kept.state, kept.difference, kept.remedy) == ("pending", 7, "meter_event")
    assert kept.repair_id in proposal["detail"]
    assert on_stage.billed() == {(customer, INPUT): 107}, "nothing is done without an approval"


def test_a_customers_meter_is_read_four_times_a_day_at_most(on_stage: Stage, customer: str) -> None:
    on_stage.report()
    use(on_stage.stripe.client(), customer, 7, "by hand", on_stage.now, meter=INPUT)
    on_stage.advance(hours=2)
    reads = 0
    for _ in range(24):
        on_stage.advance(hours=1)
        reads += run_reconciler(on_stage).compared.reads > 1

    assert 3 <= reads <= 4


def test_after_days_without_reads_the_first_run_reads_all_of_them(on_stage: Stage, customer: str) -> None:
    """A read reaches over 96 hours; the days of a long outage must not wait for a turn each."""
    on_stage.insert(STDOUT, line("r2", at="2026-03-15T14:20:00Z", **ONLY_INPUT))
    on_stage.go_to("2026-03-16T10:00:00Z")
    on_stage.report(depth="daily")
    on_stage.advance(hours=3)

    run = run_reconciler(on_stage, "daily")

    assert (run.compared.confirmed, run.compared.left, run.compared.reads) == (2, 0, 1 + 2)


def test_losses_are_told_once_with_their_tenants(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stage.insert(
        STDOUT,
        admit("gone"),
        line("r5", seq=9, at="2026-03-10T14:20:00Z"),
    )
    on_stage.insert(
        "usage_raw.export_errors",
        {
            "insertId": "bad",
            "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
            "timestamp": "2026-03-10T14:12:00Z",
            "schemaErrorDetail": "input_tokens is no number",
            "logEntry": '{"tenant_id":"acme"}',
        },
    )
    on_stage.insert(
        "usage_raw.run_googleapis_com_requests",
        {
            "timestamp": "2026-03-10T14:15:00Z",
            "trace": "projects/p/traces/1",
            "httpRequest": {
                "requestMethod": "POST",
                "requestUrl": "https://gateway.example/v1/chat/completions",
                "status": 200,
            },
        },
    )
    on_stage.advance(minutes=45)

    first = run_reconciler(on_stage, "recent")
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    second = run_reconciler(on_stage, "recent")

    assert first.losses.unrecorded_usage == 2
    assert first.losses.sequence_gap == 6
    assert first.losses.export_errors == 1
    assert {(one["event"], one["witness"], one.get("tenant_id")) for one in lines if "witness" in one} == {
        ("unrecorded_usage", "admit_line", "acme"),
        ("unrecorded_usage", "request_log", None),
        ("sequence_gap", "sequence", None),
        ("export_errors", "export_errors", "acme"),
    }
    assert (second.losses.unrecorded_usage, second.losses.sequence_gap) == (0, 0)


def test_a_request_that_the_gateway_counted_and_no_line_tells_of_is_told(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hours = {"2026-03-10T14": Counter({"requests": 2, "llm_cost_nano_usd": 12_000})}
    on_stage.database.put(
        "spend", document_id("acme", "2026-03", "i1"), document("acme", "2026-03", "i1", hours)
    )
    on_stage.advance(hours=1)

    run = run_reconciler(on_stage, "recent")
    again = run_reconciler(on_stage, "recent")

    assert (run.spending.missing, again.spending.missing) == (1, 0)
    (difference,) = told(capsys, "reconciliation_difference")
    assert (difference["kind"], difference["tenant_id"], difference["requests"]) == ("spend", "acme", 1)
    assert difference["cost_nano_usd"] == "12000"
    kept = {row["meter"]: row for row in on_stage.rows("ledger.reconciliations")}
    assert kept["requests"]["difference"] == 1


def test_counters_that_a_killed_instance_took_along_are_tolerated(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stage.advance(hours=1)

    run = run_reconciler(on_stage, "recent")

    assert (run.spending.hours, run.spending.missing) == (1, 0)
    assert told(capsys, "reconciliation_difference") == []
    assert {row["action"] for row in on_stage.rows("ledger.reconciliations")} == {"tolerated", "none"}


def test_stripe_away_is_told_and_what_needs_no_stripe_is_done(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stage.insert(STDOUT, admit("gone"))
    on_stage.report()
    on_stage.clock.advance(hours=3)
    on_stage.stripe.arm("outage", rate=1.0, match={"method": "GET"})
    capsys.readouterr()

    run = run_reconciler(on_stage)

    assert run.error is not None
    assert run.error.startswith("StripeReadError")
    assert run.losses.unrecorded_usage == 1
    (summary,) = told(capsys, "job_run")
    assert (summary["job"], summary["outcome"], summary["severity"]) == (
        "usage_reconciler", "failed", "ERROR",
    )  # fmt: skip


def test_a_run_beside_another_is_skipped(on_stage: Stage) -> None:
    on_stage.database.put(
        "leases", "usage_reconciler", {"holder": "other", "expires_at": "2026-03-10T23:00:00Z"}
    )

    assert run_reconciler(on_stage).answer()["skipped"] is True
