"""Sealing through the real warehouse client: once, numbered, whatever other runs do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from tallygate.metering.fence import FenceError
from tallygate.metering.seal import (
    Sealed,
    Survey,
    note_rejects,
    seal,
    stopped_buckets,
    survey,
    window_parameters,
)
from tallygate.metering.warehouse import JobRunningError
from tests.sql.cases import COST, HOUR, INPUT, ONLY_INPUT, OUTPUT, delta, line, segment
from tests.support.stage import Stage

STDOUT = "usage_raw.run_googleapis_com_stdout"
SEGMENTS = "ledger.billing_segments"
CLOSES = timedelta(minutes=50)


def seal_once(stage: Stage, **body: Any) -> Sealed:
    """What a run does to seal, without the lease that keeps runs apart."""
    warehouse, window = stage.warehouse(), stage.window(**body)

    def look() -> Survey:
        return survey(warehouse, window, stage.now, CLOSES, whole=True)

    seen, closes_after = survey(warehouse, window, stage.now, CLOSES), CLOSES
    return seal(warehouse, window, seen, stage.now, closes_after=closes_after, look_again=look)


def sums(stage: Stage) -> dict[str, int]:
    """What is sealed by meter."""
    found: dict[str, int] = {}
    for row in stage.deltas():
        found[row["meter"]] = found.get(row["meter"], 0) + row["value"]
    return found


def test_usage_is_sealed_once_and_later_usage_by_the_next_number(on_stage: Stage) -> None:
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1"))
    first = seal_once(on_stage)
    again = seal_once(on_stage)
    on_stage.insert(STDOUT, line("r1"), line("r2"))  # a redelivery and a new request

    later = seal_once(on_stage)

    assert (first.rows, first.seal_number) == (3, 1)
    assert (again.rows, again.seal_number) == (0, 0)
    assert (later.rows, later.seal_number) == (3, 2)
    assert sums(on_stage) == {INPUT: 200, OUTPUT: 40, COST: 10_000}
    epoch = on_stage.deltas()[0]["ledger_epoch"]
    assert {row["identifier"] for row in on_stage.deltas() if row["meter"] == INPUT} == {
        f"u1:{epoch}:acme:{INPUT}:1773151200:1",
        f"u1:{epoch}:acme:{INPUT}:1773151200:2",
    }


def test_no_seal_is_submitted_when_nothing_is_unsealed(on_stage: Stage) -> None:
    on_stage.insert(SEGMENTS, segment())

    seal_once(on_stage)

    assert [job.job_id for job in on_stage.client.list_jobs() if job.job_id.startswith("seal-")] == []


def test_the_ledger_is_named_once_by_runs_that_start_together(on_stage: Stage) -> None:
    window = on_stage.window()

    def name(_: int) -> str:
        return survey(on_stage.warehouse(), window, on_stage.now, CLOSES).ledger_epoch

    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(name, range(4)))

    assert names == {row["ledger_epoch"] for row in on_stage.rows("ledger.ledger_epochs")}
    assert len(names) == 1


def test_two_seals_of_one_snapshot_count_once(on_stage: Stage) -> None:
    """Two runs survey the same ledger; the fence alone keeps the second from sealing the same again."""
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1"))
    survey(on_stage.warehouse(), on_stage.window(), on_stage.now, CLOSES)  # names the ledger
    on_stage.warehouse_fault("snapshot_overlap", seconds=1.0, match={"table": "ledger.meter_deltas"})
    surveyed = Barrier(2)

    def run(_: int) -> Sealed:
        warehouse, window = on_stage.warehouse(), on_stage.window()
        seen = survey(warehouse, window, on_stage.now, CLOSES)
        surveyed.wait(30)
        return seal(
            warehouse,
            window,
            seen,
            on_stage.now,
            closes_after=CLOSES,
            look_again=lambda: survey(warehouse, window, on_stage.now, CLOSES, whole=True),
        )

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, range(2)))

    assert sorted(one.rows for one in done) == [0, 3]
    assert sums(on_stage) == {INPUT: 100, OUTPUT: 20, COST: 5000}


def test_without_job_ids_the_same_two_statements_would_seal_twice(on_stage: Stage) -> None:
    """Shows that the fault is real: it is the fence, not the double, that keeps the sum right."""
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    warehouse, window = on_stage.warehouse(), on_stage.window()
    epoch = survey(warehouse, window, on_stage.now, CLOSES).ledger_epoch
    parameters = {
        **window_parameters(window, on_stage.now, CLOSES),
        "ledger_epoch": epoch,
        "seal_number": 1,
        "head_since": on_stage.now - timedelta(days=45),
    }
    on_stage.warehouse_fault("snapshot_overlap", seconds=10.0, match={"table": "ledger.meter_deltas"})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: warehouse.write(job, "seal", parameters), ("unfenced-a", "unfenced-b")))

    assert sums(on_stage) == {INPUT: 200}


def test_a_seal_whose_client_gave_up_is_found_by_the_next_run(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.bigquery.app._LONG_POLL_SECONDS", 0.05)
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1"))
    warehouse, window = on_stage.warehouse(), on_stage.window()
    seen = survey(warehouse, window, on_stage.now, CLOSES)
    warehouse.job_seconds = 0.1
    on_stage.warehouse_fault(
        "job_continues_after_client_dies", seconds=2.0, match={"job_id": f"seal-{seen.ledger_epoch}-1-1"}
    )
    with pytest.raises(JobRunningError):
        seal(warehouse, window, seen, on_stage.now, closes_after=timedelta(0), look_again=lambda: seen)

    done = seal_once(on_stage)

    assert on_stage.injected("job_continues_after_client_dies") == 1
    assert done.rows == 0, "the first run's job has sealed everything"
    assert sums(on_stage) == {INPUT: 100, OUTPUT: 20, COST: 5000}
    assert {row["seal_number"] for row in on_stage.deltas()} == {1}


def test_lines_that_show_late_are_sealed_when_they_show(on_stage: Stage) -> None:
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1"))
    on_stage.warehouse_fault("late_visibility", seconds=600, match={"table": STDOUT})
    on_stage.insert(STDOUT, line("r2"))

    before = seal_once(on_stage)
    on_stage.advance(minutes=10)
    after = seal_once(on_stage)

    assert (before.rows, after.rows) == (3, 3)
    assert sums(on_stage) == {INPUT: 200, OUTPUT: 40, COST: 10_000}


def test_more_sealed_than_used_stops_that_hour_of_that_meter_alone(on_stage: Stage) -> None:
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1"))
    on_stage.insert("ledger.ledger_epochs", {"ledger_epoch": "e1", "created_at": HOUR})
    on_stage.insert("ledger.meter_deltas", delta(1, value=101))

    done = seal_once(on_stage)

    assert (done.rows, done.stopped_buckets) == (2, 1)
    assert sums(on_stage) == {INPUT: 101, OUTPUT: 20, COST: 5000}
    (stopped,) = stopped_buckets(on_stage.warehouse(), on_stage.window(), on_stage.now, CLOSES)
    assert (stopped["meter"], stopped["used"], stopped["sealed"]) == (INPUT, 100, 101)


def test_two_ledgers_in_one_are_refused(on_stage: Stage) -> None:
    rows = [{"ledger_epoch": name, "created_at": HOUR} for name in ("e1", "e2")]
    on_stage.insert("ledger.ledger_epochs", *rows)

    with pytest.raises(FenceError, match="two ledgers were mixed"):
        survey(on_stage.warehouse(), on_stage.window(), on_stage.now, CLOSES)


def test_a_dry_run_does_not_name_a_new_ledger(on_stage: Stage) -> None:
    seen = survey(on_stage.warehouse(), on_stage.window(dry_run=True), on_stage.now, CLOSES)

    assert seen.ledger_epoch == ""
    assert on_stage.rows("ledger.ledger_epochs") == []


def test_after_an_old_range_was_sealed_the_next_run_finds_the_head(on_stage: Stage) -> None:
    """The newest seal then has rows of old hours alone, where the head is not looked for at first."""
    on_stage.insert(SEGMENTS, segment(valid_from="2025-10-01T00:00:00Z", period_start="2025-10-01T00:00:00Z"))
    on_stage.insert(STDOUT, line("r1", at="2026-03-10T13:10:00Z"))
    seal_once(on_stage)
    on_stage.insert(STDOUT, line("old", at="2025-12-01T10:10:00Z"))
    old = seal_once(on_stage, from_="2025-12-01T10:00:00Z", to="2025-12-01T11:00:00Z")
    on_stage.insert(STDOUT, line("r2"))

    new = seal_once(on_stage)

    assert (old.seal_number, new.seal_number) == (2, 3)
    assert sums(on_stage) == {INPUT: 300, OUTPUT: 60, COST: 15_000}


def test_a_run_that_always_comes_second_gives_up(on_stage: Stage) -> None:
    """Its view of the ledger never catches up: it must not seal by what it saw."""
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1"))
    window = on_stage.window()
    stale = survey(on_stage.warehouse(), window, on_stage.now, CLOSES)
    seal_once(on_stage)

    with pytest.raises(FenceError, match="other runs kept sealing"):
        seal(
            on_stage.warehouse(),
            window,
            stale,
            on_stage.now,
            closes_after=timedelta(0),
            look_again=lambda: stale,
        )

    assert sums(on_stage) == {INPUT: 100, OUTPUT: 20, COST: 5000}


def test_a_bad_line_is_noted_once_by_runs_that_note_together(on_stage: Stage) -> None:
    on_stage.insert(SEGMENTS, segment())
    on_stage.insert(STDOUT, line("r1", input_tokens=-1))
    window = on_stage.window()
    seen = survey(on_stage.warehouse(), window, on_stage.now, CLOSES)
    on_stage.warehouse_fault("snapshot_overlap", seconds=1.0, match={"table": "ledger.rejected_lines"})

    with ThreadPoolExecutor(2) as pool:
        noted = list(
            pool.map(lambda _: note_rejects(on_stage.warehouse(), window, seen, on_stage.now), range(2))
        )

    assert sorted(noted) == [0, 1]
    assert len(on_stage.rows("ledger.rejected_lines")) == 1
    assert note_rejects(on_stage.warehouse(), window, replace(seen, new_rejects=0), on_stage.now) == 0
