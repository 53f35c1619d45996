"""Statements that take effect at most once: job ids, attempts, and jobs that outlive who started them."""

from __future__ import annotations

from typing import Any

import pytest

from tallygate.metering.fence import Fenced, FenceError, run_fenced
from tallygate.metering.warehouse import JobRunningError, Warehouse
from tests.support.stage import Stage

NAMES = "ledger.ledger_epochs"


def genesis(warehouse: Warehouse, stage: Stage, name: str = "e1", prefix: str = "genesis") -> Fenced:
    """Name the ledger: a statement that writes one row, or none where there is one."""
    return run_fenced(warehouse, prefix, "genesis", {"ledger_epoch": name, "now": stage.now})


def job_ids(stage: Stage, prefix: str) -> list[str]:
    """The jobs of a prefix, oldest first."""
    ids = [job.job_id for job in stage.client.list_jobs(max_results=50) if job.job_id.startswith(prefix)]
    return ids[::-1]


def test_a_statement_runs_under_the_first_attempt(on_stage: Stage) -> None:
    fenced = genesis(on_stage.warehouse(), on_stage)

    assert fenced == Fenced(rows=1, taken=False)
    assert job_ids(on_stage, "genesis") == ["genesis-1"]


def test_a_number_that_another_run_has_taken_is_told_and_written_once(on_stage: Stage) -> None:
    genesis(on_stage.warehouse(), on_stage, "e1")

    fenced = genesis(on_stage.warehouse(), on_stage, "e2")

    assert fenced == Fenced(rows=0, taken=True)
    assert [row["ledger_epoch"] for row in on_stage.rows(NAMES)] == ["e1"]
    assert job_ids(on_stage, "genesis") == ["genesis-1"], "409 must not lead to another attempt"


def test_an_attempt_that_wrote_nothing_lets_the_next_one_try(on_stage: Stage) -> None:
    on_stage.insert(NAMES, {"ledger_epoch": "other", "created_at": "2026-03-01T00:00:00Z"})

    first = genesis(on_stage.warehouse(), on_stage)
    second = genesis(on_stage.warehouse(), on_stage)

    assert first == second == Fenced(rows=0, taken=False)
    assert job_ids(on_stage, "genesis") == ["genesis-1", "genesis-2"]


def test_an_attempt_that_failed_lets_the_next_one_try(on_stage: Stage) -> None:
    warehouse = on_stage.warehouse()
    broken = Warehouse(on_stage.client, raw=warehouse.raw, ledger="nowhere")
    with pytest.raises(FenceError, match="genesis-2"):
        genesis(broken, on_stage)

    fenced = genesis(warehouse, on_stage)

    assert fenced == Fenced(rows=1, taken=False)
    assert job_ids(on_stage, "genesis") == ["genesis-1", "genesis-2", "genesis-3"]


def test_a_running_attempt_is_waited_for_and_never_followed(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's patience ends; the job goes on and commits; whoever comes next finds it."""
    monkeypatch.setattr("sandbox.bigquery.app._LONG_POLL_SECONDS", 0.05)  # else the client waits 10 s a time
    on_stage.warehouse_fault("job_continues_after_client_dies", seconds=3.0, match={"job_id": "genesis-1"})
    impatient = on_stage.warehouse()
    impatient.job_seconds = 0.1

    for name in ("e1", "e2"):
        with pytest.raises(JobRunningError, match="genesis-1"):
            genesis(impatient, on_stage, name)
    patient = genesis(on_stage.warehouse(), on_stage, "e3")

    assert on_stage.injected("job_continues_after_client_dies") == 1
    assert patient == Fenced(rows=0, taken=True)
    assert [row["ledger_epoch"] for row in on_stage.rows(NAMES)] == ["e1"]
    assert job_ids(on_stage, "genesis") == ["genesis-1"]


def test_an_answer_lost_after_the_job_was_made_does_not_make_a_second_job(on_stage: Stage) -> None:
    """The client asks again by itself, under the same job id."""
    on_stage.warehouse_fault("error_500", after=True, match={"operation": "jobs.insert"})

    genesis(on_stage.warehouse(), on_stage)

    assert on_stage.injected("error_500") == 1
    assert len(on_stage.rows(NAMES)) == 1
    assert job_ids(on_stage, "genesis") == ["genesis-1"]


def test_an_outage_of_the_warehouse_is_ridden_out_by_the_client(on_stage: Stage) -> None:
    on_stage.warehouse_fault("error_500", match={"operation": "jobs.insert"})

    assert genesis(on_stage.warehouse(), on_stage) == Fenced(rows=1, taken=False)


def test_attempts_come_to_an_end(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallygate.metering.fence._MAX_ATTEMPTS", 2)
    on_stage.insert(NAMES, {"ledger_epoch": "other", "created_at": "2026-03-01T00:00:00Z"})
    for _ in range(2):
        genesis(on_stage.warehouse(), on_stage)

    with pytest.raises(FenceError, match="2 attempts"):
        genesis(on_stage.warehouse(), on_stage)


def test_parameters_travel_by_their_types(on_stage: Stage) -> None:
    parameters: dict[str, Any] = {
        "identifiers": ["u1:e1:acme:llm_input_tokens:1773151200:1"],
        "run_id": "run2",
        "first_hour": on_stage.now,
        "last_hour": on_stage.now,
        "not_named_by_the_statement": "left out",
    }

    assert on_stage.warehouse().read("sent_before", parameters) == []
