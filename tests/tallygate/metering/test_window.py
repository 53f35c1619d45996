"""Which hours a run looks at, and which bodies are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clock import rfc3339
from tallygate.metering.window import DEPTHS, RequestError, window_from

NOW = datetime(2026, 3, 10, 14, 30, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({}, "2026-03-10T11"),
        ({"depth": "recent"}, "2026-03-10T11"),
        ({"depth": "hourly"}, "2026-03-08T14"),
        ({"depth": "daily"}, "2026-02-03T14"),
    ],
)
def test_a_depth_reaches_back_from_the_current_hour_which_it_includes(
    body: dict[str, Any], start: str
) -> None:
    window = window_from(body, NOW)

    assert window.start == datetime.strptime(start, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    assert window.end == datetime(2026, 3, 10, 15, tzinfo=UTC)


@given(now=MOMENTS, depth=st.sampled_from(sorted(DEPTHS)))
def test_a_scheduled_window_is_of_whole_hours_around_now(now: datetime, depth: str) -> None:
    window = window_from({"depth": depth}, now)

    assert window.start <= now - DEPTHS[depth] + HOUR
    assert window.start <= now < window.end <= now + HOUR
    assert window.unsent_since <= window.start
    assert all(
        moment.minute == moment.second == moment.microsecond == 0 for moment in (window.start, window.end)
    )


@given(start=MOMENTS, span=st.timedeltas(timedelta(microseconds=1), timedelta(days=60)))
def test_a_range_is_widened_to_whole_hours(start: datetime, span: timedelta) -> None:
    end = start + span

    window = window_from({"from": rfc3339(start), "to": rfc3339(end), "dry_run": True}, NOW)

    assert window.start <= start < window.start + HOUR
    assert window.end - HOUR < end <= window.end
    assert window.depth == "range"


def test_a_range_with_an_offset_is_taken_as_utc() -> None:
    window = window_from({"from": "2026-03-10T02:00:00+02:00", "to": "2026-03-10T03:00:00+02:00"}, NOW)

    assert window.start == datetime(2026, 3, 10, tzinfo=UTC)
    assert window.end == datetime(2026, 3, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"depth": "deep"}, "depth: must be one of"),
        ({"depth": ["recent"]}, "depth: must be one of"),
        ({"from": "2025-02-02T00:00:00Z", "to": "2025-02-03T00:00:00Z"}, "from: is more than 400 days ago"),
        ({"price_version": ""}, "price_version: must be a price version"),
        ({"price_version": 7}, "price_version: must be a price version"),
        ({"from": "2026-03-10T00:00:00Z"}, "to: must be an RFC 3339 timestamp; from and to go together"),
        ({"from": "yesterday", "to": "2026-03-10T00:00:00Z"}, "from: must be an RFC 3339"),
        ({"from": "2026-03-10T00:00:00", "to": "2026-03-10T01:00:00Z"}, "from: must be an RFC 3339"),
        ({"from": "2026-03-10T01:00:00Z", "to": "2026-03-10T00:00:00Z"}, "from: must be before to"),
        ({"from": "2026-03-10T01:00:00Z", "to": "2026-03-10T01:00:00Z"}, "from: must be before to"),
        ({"from": 5, "to": 6}, "from: must be an RFC 3339"),
        ({"tenant": "Not A Tenant"}, "tenant: must match"),
        ({"tenant": 7}, "tenant: must match"),
        ({"dry_run": "yes"}, "dry_run: must be true or false"),
        ({"deepth": "recent"}, "deepth: is not known"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(RequestError) as refused:
        window_from(body, NOW)

    assert any(one.startswith(problem) for one in refused.value.problems), refused.value.problems


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(RequestError) as refused:
        window_from({"depth": "x", "tenant": "", "dry_run": 1, "odd": 1, "from": "x", "to": "y"}, NOW)

    assert len(refused.value.problems) == 5
