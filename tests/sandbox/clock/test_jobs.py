"""When a scheduled job is due, and what it makes of a function's answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.clock.__main__ import JOBS
from sandbox.clock.jobs import Job, load_jobs

START = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
URL = "http://127.0.0.1:9"


@pytest.fixture
def local_time_far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def a_job(cron: str = "*/5 * * * *", last_run: datetime = START) -> Job:
    return Job("recent", "usage_reporter", cron, {"depth": "recent"}, last_run)


def answering(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(handler))


def test_a_job_is_next_due_at_the_first_named_time_after_its_last_run() -> None:
    assert a_job().next_due() == datetime(2026, 3, 1, 0, 5, tzinfo=UTC)
    assert a_job("37 3 * * *").next_due() == datetime(2026, 3, 1, 3, 37, tzinfo=UTC)


def test_a_job_that_ran_at_its_time_is_due_one_period_later() -> None:
    assert a_job(last_run=START.replace(minute=5, second=0)).next_due() == START.replace(minute=10, second=0)


@pytest.mark.usefixtures("local_time_far_from_utc")
def test_the_times_of_a_job_are_utc_whatever_the_machine_s_zone() -> None:
    job = a_job("37 3 * * *")
    assert job.next_due() == datetime(2026, 3, 1, 3, 37, tzinfo=UTC)
    assert job.last_due(datetime(2026, 3, 4, tzinfo=UTC)) == datetime(2026, 3, 3, 3, 37, tzinfo=UTC)


def test_a_job_that_is_not_due_by_then_has_no_last_due_time() -> None:
    assert a_job().last_due(START.replace(minute=4, second=59)) is None


def test_a_moment_that_the_cron_names_is_itself_the_last_due_time() -> None:
    at = START.replace(hour=6, second=0)
    assert a_job().last_due(at) == at


def test_a_time_less_than_a_second_ahead_is_not_yet_due() -> None:
    before = datetime(2026, 3, 1, 0, 14, 59, 999_000, tzinfo=UTC)
    assert a_job().last_due(before) == datetime(2026, 3, 1, 0, 10, tzinfo=UTC)


@given(st.integers(0, 3 * 86_400_000_000), st.sampled_from(["*/5 * * * *", "7 * * * *", "37 3 * * *"]))
def test_the_last_due_time_is_the_last_of_the_due_times_not_after_the_moment(
    microseconds: int, cron: str
) -> None:
    before = START + timedelta(microseconds=microseconds)
    last = a_job(cron).last_due(before)
    if last is None:
        assert a_job(cron).next_due() > before
        return
    assert START < last <= before
    assert a_job(cron, last_run=last).next_due() > before


def test_a_run_posts_the_body_and_counts_from_then() -> None:
    bodies = []

    def function(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"sealed": 0})

    job = a_job()
    with answering(function) as client:
        job.run(URL, client, START + timedelta(minutes=7))
    assert bodies == [{"depth": "recent"}]
    assert job.next_due() == datetime(2026, 3, 1, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "quiet"),
    [
        (httpx.Response(200, json={"sealed": 0, "sent": 0, "backlog": 0}), True),
        (httpx.Response(200, json={"sealed": 0, "sent": 2}), False),
        (httpx.Response(200, json={"sealed": 0, "backlog": 1}), False),
        (httpx.Response(200, json={"skipped": "another run holds the lease"}), False),
        (httpx.Response(200, json={}), False),
        (httpx.Response(200, json=["sealed"]), False),
        (httpx.Response(200, text="OK"), False),
        (httpx.Response(500, json={"sealed": 0}), False),
    ],
)
def test_only_a_run_that_says_it_found_nothing_is_quiet(answer: httpx.Response, quiet: bool) -> None:
    job = a_job()
    job.quiet = not quiet
    with answering(lambda _: answer) as client:
        job.run(URL, client, START)
    assert job.quiet is quiet


def test_a_function_that_can_not_be_reached_is_called_again_when_next_due() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    job = a_job()
    job.quiet = True
    with answering(refuse) as client:
        job.run(URL, client, START + timedelta(minutes=5))
    assert not job.quiet
    assert job.next_due() == datetime(2026, 3, 1, 0, 10, tzinfo=UTC)


def test_no_job_of_a_file_is_due_before_it_was_loaded(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps({"a": {"function": "f", "cron": "7 * * * *", "body": {"depth": "hourly"}}}))
    (job,) = load_jobs(path, START)
    assert (job.name, job.function, job.body) == ("a", "f", {"depth": "hourly"})
    assert job.next_due() == datetime(2026, 3, 1, 0, 7, tzinfo=UTC)


def test_the_jobs_that_terraform_declares_can_be_scheduled() -> None:
    jobs = load_jobs(JOBS, START)
    assert {job.body["depth"] for job in jobs} == {"recent", "hourly", "daily"}
    assert all(START < job.next_due() <= START + timedelta(days=1) for job in jobs)
