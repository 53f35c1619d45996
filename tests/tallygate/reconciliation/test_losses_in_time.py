"""What is lost is told within two hours, by the schedule as it is deployed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import pytest
from croniter import croniter

from tallygate.reconciliation import losses, spending
from tests.observability.places import jobs

JOB: Final = "usage-reconciler-recent"
WITHIN: Final = timedelta(hours=2)


@pytest.fixture(scope="module")
def apart() -> timedelta:
    """The longest time between two runs."""
    times = croniter(jobs()[JOB]["cron"], datetime(2026, 3, 1, tzinfo=UTC))
    runs = [times.get_next(float) for _ in range(200)]
    return timedelta(seconds=max(later - earlier for earlier, later in pairwise(runs)))


def test_every_detector_looks_at_what_was_lost_within_two_hours(apart: timedelta) -> None:
    """A line is looked for once it has settled, by the next run."""
    assert losses.SETTLED_AFTER + apart <= WITHIN, "modules/scheduler/jobs.json: usage-reconciler-recent"


def test_the_counters_are_compared_within_two_hours_of_a_request(apart: timedelta) -> None:
    """A request of the first minute of an hour waits for the hour's end."""
    assert timedelta(hours=1) + spending.SETTLED_AFTER + apart <= WITHIN, (
        "modules/scheduler/jobs.json: usage-reconciler-recent"
    )
