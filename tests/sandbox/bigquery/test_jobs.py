"""Jobs: each under an id of its own, once."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.sandbox.bigquery.facade import Facade, column


@pytest.fixture
def filled(facade: Facade) -> Facade:
    facade.table("t", "n INT64")
    return facade


INSERT = "INSERT INTO `{d}.t` (n) VALUES (1)"


def job_id(facade: Facade, name: str) -> str:
    """Ids are the project's: other tests of this folder have theirs."""
    return f"{facade.dataset}-{name}"


def test_a_job_id_is_taken_once(filled: Facade) -> None:
    wanted = job_id(filled, "one")
    filled.start(INSERT, job_id=wanted, job_retry=None).result()

    with pytest.raises(exceptions.Conflict) as error:
        filled.start(INSERT, job_id=wanted, job_retry=None)

    assert error.value.errors[0]["reason"] == "duplicate"
    assert filled.query("SELECT COUNT(*) AS c FROM `{d}.t` AS t") == [{"c": 1}]


def test_a_job_id_is_taken_also_by_a_job_that_failed(filled: Facade) -> None:
    wanted = job_id(filled, "one")
    failed = filled.start("INSERT INTO `{d}.t` (m) VALUES (1)", job_id=wanted, job_retry=None)
    with pytest.raises(exceptions.BadRequest):
        failed.result()

    with pytest.raises(exceptions.Conflict):
        filled.start(INSERT, job_id=wanted, job_retry=None)

    again = filled.client.get_job(wanted)
    assert (again.state, again.num_dml_affected_rows) == ("DONE", None)
    assert again.error_result["reason"] == "invalidQuery"


def test_a_job_says_when_it_was_made_and_when_it_ended(filled: Facade) -> None:
    job = filled.start(INSERT, job_id=job_id(filled, "one"), job_retry=None)
    job.result()
    read = filled.client.get_job(job.job_id)

    assert read.created == read.started == read.ended == filled.clock.at
    assert (read.location, read.job_type, read.query) == ("US", "query", job.query)


def test_a_job_that_does_not_exist_is_not_found(facade: Facade) -> None:
    with pytest.raises(exceptions.NotFound) as error:
        facade.client.get_job(job_id(facade, "nothing"))
    assert error.value.errors[0]["reason"] == "notFound"


def test_jobs_are_listed_newest_first_by_pages(filled: Facade) -> None:
    ids = [job_id(filled, str(number)) for number in range(5)]
    for one in ids:
        filled.start(INSERT, job_id=one, job_retry=None).result()

    listed = [job.job_id for job in filled.client.list_jobs(max_results=5, page_size=2)]

    assert listed == ids[::-1]


def test_a_repeated_request_id_is_the_same_query(filled: Facade) -> None:
    """What the client sends again after a lost answer."""
    body = {
        "query": INSERT.format(d=filled.dataset),
        "useLegacySql": False,
        "requestId": job_id(filled, "request"),
    }

    first, second = (filled.rest("POST", "/queries", json=body).json() for _ in range(2))

    assert first["jobReference"] == second["jobReference"]
    assert first["numDmlAffectedRows"] == second["numDmlAffectedRows"] == "1"
    assert column(filled.query("SELECT n FROM `{d}.t` AS t"), "n") == [1]


def test_labels_are_kept(filled: Facade) -> None:
    job = filled.client.query(
        INSERT.format(d=filled.dataset),
        job_config=bigquery.QueryJobConfig(labels={"run": "r1"}),
    )
    job.result()
    assert filled.client.get_job(job.job_id).labels == {"run": "r1"}


@pytest.mark.parametrize("bad", ["with space", "ü", "a/b", "x" * 1025])
def test_an_impossible_job_id_is_refused(filled: Facade, bad: str) -> None:
    body = {
        "jobReference": {"jobId": bad},
        "configuration": {"query": {"query": "SELECT 1", "useLegacySql": False}},
    }
    answer = filled.rest("POST", "/jobs", json=body)
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
