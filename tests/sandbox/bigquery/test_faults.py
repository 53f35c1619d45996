"""The faults that the façade injects, and what the client makes of them."""

from __future__ import annotations

import uuid

import httpx
import pytest
from google.api_core import exceptions

from tests.sandbox.bigquery.facade import PROJECT, Facade, column, scalar

SEAL = (
    "INSERT INTO `{d}.t` (n) SELECT h.head + 1 "
    "FROM (SELECT COALESCE(MAX(n), 0) AS head FROM `{d}.t` AS u) AS h WHERE h.head = @head"
)


@pytest.fixture
def filled(facade: Facade) -> Facade:
    facade.table("t", "n INT64")
    return facade


def numbers(facade: Facade) -> list[int]:
    return column(facade.query("SELECT n FROM `{d}.t` AS t ORDER BY n"), "n")


# --- snapshot_overlap ----------------------------------------------------------------------------


def test_overlapping_statements_read_one_snapshot_and_both_commit(filled: Facade) -> None:
    """What BigQuery may do with two INSERTs at once, and why the fence is a job id and not a WHERE clause."""
    fault = filled.arm("snapshot_overlap", match={"table": f"{filled.dataset}.t"})

    first = filled.start(SEAL, scalar("head", "INT64", 0))
    second = filled.start(SEAL, scalar("head", "INT64", 0))
    first.result()
    second.result()

    assert (first.num_dml_affected_rows, second.num_dml_affected_rows) == (1, 1)
    assert numbers(filled) == [1, 1]
    assert filled.injected(fault) == 1


def test_without_the_fault_statements_follow_one_another(filled: Facade) -> None:
    jobs = [filled.start(SEAL, scalar("head", "INT64", 0)) for _ in range(4)]
    for job in jobs:
        job.result()
    assert sorted(int(job.num_dml_affected_rows or 0) for job in jobs) == [0, 0, 0, 1]
    assert numbers(filled) == [1]


def test_a_job_id_keeps_overlapping_statements_apart(filled: Facade) -> None:
    """The control: two writers that name the same job can't both insert, overlap or not."""
    filled.arm("snapshot_overlap", seconds=1, match={"table": f"{filled.dataset}.t"})
    wanted = f"seal-{uuid.uuid4().hex}"

    first = filled.start(SEAL, scalar("head", "INT64", 0), job_id=wanted, job_retry=None)
    with pytest.raises(exceptions.Conflict):
        filled.start(SEAL, scalar("head", "INT64", 0), job_id=wanted, job_retry=None)
    first.result()

    assert numbers(filled) == [1]


def test_an_overlap_that_no_one_joins_ends(filled: Facade) -> None:
    filled.arm("snapshot_overlap", seconds=0.2)
    assert filled.change(SEAL, scalar("head", "INT64", 0)) == 1


# --- job_continues_after_client_dies -------------------------------------------------------------


def test_a_job_goes_on_when_its_client_is_gone(filled: Facade) -> None:
    fault = filled.arm("job_continues_after_client_dies", seconds=0.5)
    wanted = f"orphan-{uuid.uuid4().hex}"
    configuration = {
        "query": {
            "query": SEAL.format(d=filled.dataset), "useLegacySql": False, "parameterMode": "NAMED",
            "queryParameters": [
                {"name": "head", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "0"}}
            ],
        }
    }  # fmt: skip
    answer = filled.rest(
        "POST", "/jobs", json={"jobReference": {"jobId": wanted}, "configuration": configuration}
    )

    running = filled.client.get_job(wanted)
    before = numbers(filled)
    with pytest.raises(exceptions.Conflict):
        filled.start(SEAL, scalar("head", "INT64", 0), job_id=wanted, job_retry=None)
    running.result()

    assert answer.json()["status"]["state"] == "RUNNING"
    assert before == []
    assert (running.state, running.num_dml_affected_rows) == ("DONE", 1)
    assert numbers(filled) == [1]
    assert filled.injected(fault) == 1


def test_a_wait_that_is_too_short_says_so_and_leaves_the_job_running(filled: Facade) -> None:
    filled.arm("job_continues_after_client_dies", seconds=1.5)
    job = filled.start(SEAL, scalar("head", "INT64", 0), job_id=f"slow-{uuid.uuid4().hex}", job_retry=None)

    results = filled.rest("GET", f"/queries/{job.job_id}", params={"timeoutMs": "10", "maxResults": "0"})
    job.result()

    assert results.json() == {
        "kind": "bigquery#getQueryResultsResponse",
        "jobReference": {"projectId": PROJECT, "jobId": job.job_id, "location": "US"},
        "jobComplete": False,
    }
    assert job.num_dml_affected_rows == 1


# --- late_visibility -----------------------------------------------------------------------------


def test_late_rows_are_seen_when_they_are_due(filled: Facade) -> None:
    filled.arm("late_visibility", seconds=600, match={"table": f"{filled.dataset}.t"})
    started = filled.clock.at

    filled.add("t", {"n": 1})
    filled.add("t", {"n": 2})
    at_once = numbers(filled)
    filled.clock.advance(seconds=599)
    still = numbers(filled)
    due = filled.sandbox("GET", "next")["at"]
    filled.clock.advance(seconds=1)

    assert (at_once, still) == ([2], [2])
    assert due is not None
    assert (filled.clock.at - started).total_seconds() == 600
    assert numbers(filled) == [1, 2]
    assert filled.sandbox("GET", "next")["at"] is None


def test_a_tick_shows_what_is_due(filled: Facade) -> None:
    filled.arm("late_visibility", seconds=60)
    filled.add("t", {"n": 1})
    filled.clock.advance(seconds=60)

    filled.sandbox("POST", "tick")

    assert filled.client.get_table(filled.path("t")).num_rows == 1


def test_late_rows_of_a_deleted_table_hold_nothing_up(filled: Facade) -> None:
    filled.table("other", "n INT64")
    filled.arm("late_visibility", seconds=60, match={"table": f"{filled.dataset}.other"})
    filled.add("other", {"n": 1})
    filled.client.delete_table(filled.path("other"))
    filled.clock.advance(seconds=60)
    filled.sandbox("POST", "tick")
    assert numbers(filled) == []
    assert filled.sandbox("GET", "next")["at"] is None


# --- insert_all_partial --------------------------------------------------------------------------


def test_a_part_of_the_rows_is_written_and_the_rest_named(filled: Facade) -> None:
    fault = filled.arm("insert_all_partial", share=0.4)

    errors = filled.client.insert_rows_json(filled.path("t"), [{"n": n} for n in range(5)])

    assert [(e["index"], e["errors"][0]["reason"]) for e in errors] == [
        (3, "backendError"),
        (4, "backendError"),
    ]
    assert numbers(filled) == [0, 1, 2]
    assert filled.injected(fault) == 1


def test_sending_the_whole_again_completes_it_without_doubles(filled: Facade) -> None:
    """By the row ids; BigQuery promises that for about a minute only."""
    filled.arm("insert_all_partial")
    rows, ids = [{"n": n} for n in range(4)], [str(n) for n in range(4)]

    errors = filled.client.insert_rows_json(filled.path("t"), rows, row_ids=ids)
    again = filled.client.insert_rows_json(filled.path("t"), rows, row_ids=ids)

    assert len(errors) == 2
    assert again == []
    assert numbers(filled) == [0, 1, 2, 3]


# --- error_500 -----------------------------------------------------------------------------------


def test_a_500_before_the_work_is_tried_again_by_the_client(filled: Facade) -> None:
    fault = filled.arm("error_500", match={"operation": "tables.get"})
    assert filled.client.get_table(filled.path("t")).table_id == "t"
    assert filled.injected(fault) == 1


def test_a_500_before_an_insert_writes_nothing(filled: Facade) -> None:
    filled.arm("error_500", match={"operation": "tabledata.insertAll"})
    with pytest.raises(exceptions.InternalServerError):
        filled.client.insert_rows_json(filled.path("t"), [{"n": 1}], retry=None)
    assert numbers(filled) == []


def test_a_500_after_an_insert_has_written(filled: Facade) -> None:
    filled.arm("error_500", after=True, match={"operation": "tabledata.insertAll"})
    with pytest.raises(exceptions.InternalServerError):
        filled.client.insert_rows_json(filled.path("t"), [{"n": 1}], retry=None)
    assert numbers(filled) == [1]


def test_a_500_after_a_job_was_made_is_a_conflict_when_it_is_made_again(filled: Facade) -> None:
    """The client repeats jobs.insert by itself, meets its own job and gives that to its caller."""
    fault = filled.arm("error_500", after=True, match={"operation": "jobs.insert"})
    wanted = f"job-{uuid.uuid4().hex}"

    with pytest.raises(exceptions.Conflict):
        filled.start(SEAL, scalar("head", "INT64", 0), job_id=wanted, job_retry=None)

    assert filled.injected(fault) == 1
    assert filled.client.get_job(wanted).result().num_dml_affected_rows == 1
    assert numbers(filled) == [1]


# --- arming --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "webhook_loss", "count": 1},
        {"kind": "error_500"},
        {"kind": "error_500", "count": 1, "rate": 0.5},
        {"kind": "error_500", "count": 0},
        {"kind": "error_500", "rate": 1.5},
        {"kind": "error_500", "count": 1, "match": []},
        [],
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(facade: Facade, body: object) -> None:
    answer = httpx.post(f"{facade.url}/_sandbox/faults", json=body, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]
