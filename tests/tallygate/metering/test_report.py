"""One run of the reporter as a whole: the lease, what it tells, and what it does when a part is away."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest
from google.cloud import bigquery

from sandbox.layout import PROJECT_ID
from tallygate.appdb.faults import arm, faults_path
from tallygate.metering.report import report
from tallygate.metering.sinks import UsageSink
from tallygate.secrets import SecretMissingError
from tests.sql.cases import INPUT, ONLY_INPUT, line, segment
from tests.support.stage import APP_DATABASE, Stage

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"


@pytest.fixture
def customer(on_stage: Stage) -> str:
    """The customer of tenant acme, who has used 100 input tokens."""
    made = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=made))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    return made


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The structured lines."""
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


def test_a_run_tells_one_summary(on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = on_stage.report()

    (summary,) = told(capsys)
    assert summary["event"] == "job_run"
    assert summary["job"] == "usage_reporter"
    assert {name: summary[name] for name in run.answer()} == run.answer()
    assert summary["oldest_unsent_seconds"] == 0
    assert summary["duration_ms"] >= 0
    assert summary["outcome"] == "done"


def test_a_run_while_another_holds_the_lease_is_skipped(on_stage: Stage, customer: str) -> None:
    on_stage.database.put(
        "leases", "usage_reporter", {"holder": "other", "expires_at": "2026-03-10T14:31:00Z"}
    )

    skipped = on_stage.report()
    on_stage.advance(minutes=2)
    run = on_stage.report()

    assert skipped.answer()["skipped"] is True
    assert (skipped.sealed, skipped.error) == (0, None)
    assert (run.skipped, run.sent) == (False, 1)


def test_a_run_gives_its_lease_back(on_stage: Stage, customer: str) -> None:
    on_stage.report()

    assert on_stage.database.get("leases", "usage_reporter") is None


def test_a_dry_run_changes_nothing_and_counts_what_would_be_done(on_stage: Stage, customer: str) -> None:
    on_stage.insert(STDOUT, line("bad", input_tokens=-1))

    run = on_stage.report(dry_run=True)

    assert (run.sealed, run.rejected_lines, run.error) == (1, 1, None)
    assert on_stage.deltas() == []
    assert on_stage.rows("ledger.rejected_lines") == []
    assert on_stage.events() == []


def test_what_the_seal_parks_is_counted_as_parked(on_stage: Stage) -> None:
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=None))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))

    run = on_stage.report()

    assert (run.sealed, run.parked, run.sent) == (1, 1, 0)
    assert on_stage.events() == []


def test_what_is_stopped_is_told_with_both_sums(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stage.report()
    # what was used can't shrink; here the raw line is replaced as if it had
    on_stage.client.query_and_wait("DELETE FROM `usage_raw.run_googleapis_com_stdout` WHERE TRUE")
    capsys.readouterr()

    run = on_stage.report()

    assert run.stopped_buckets == 1
    (stopped,) = [one for one in told(capsys) if one["event"] == "sealing_stopped"]
    assert (stopped["severity"], stopped["tenant_id"], stopped["meter"]) == ("ERROR", "acme", INPUT)
    assert (stopped["used"], stopped["sealed"]) == (0, 100)


def test_without_the_app_database_nothing_is_sealed_and_the_caller_hears_of_it(
    on_stage: Stage, customer: str
) -> None:
    fault: dict[str, Any] = {"kind": "outage", "count": None, "rate": 1.0, "seed": 1, "match": {}}
    arm(faults_path(on_stage.folder / APP_DATABASE), fault)

    run = on_stage.report()

    assert run.error is not None
    assert run.error.startswith("DatabaseUnavailableError")
    assert on_stage.deltas() == []


def test_without_stripes_key_what_is_used_is_sealed_all_the_same(on_stage: Stage, customer: str) -> None:
    def no_key() -> UsageSink:
        raise SecretMissingError("secret 'stripe-api-key' is empty")

    run = report(replace(on_stage.reporter(), sink=no_key), on_stage.window())

    assert run.error == "SecretMissingError: secret 'stripe-api-key' is empty"
    assert run.sealed == 1
    assert on_stage.report().sent == 1


def test_with_the_warehouse_away_the_caller_hears_of_it_and_the_next_run_does_all(
    on_stage: Stage, customer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as impatient:
        impatient.setattr("tallygate.metering.warehouse._RETRY", bigquery.DEFAULT_RETRY.with_timeout(0.1))
        on_stage.warehouse_fault("error_500", rate=1.0)
        broken = on_stage.report()
    on_stage.http.delete(f"{on_stage.bigquery_url}/_sandbox/faults")

    run = on_stage.report()

    assert broken.error is not None
    assert (run.sealed, run.sent, run.error) == (1, 1, None)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_history_that_cannot_be_written_stops_before_the_first_call(on_stage: Stage, customer: str) -> None:
    """A row that is sent must be known to be under way."""
    on_stage.client.delete_table(f"{PROJECT_ID}.ledger.meter_deliveries")

    run = on_stage.report()

    assert run.error is not None
    assert on_stage.events() == []
