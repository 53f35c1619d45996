"""The module reads a schedule as the scheduler does. What every module must keep: tests/terraform."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from croniter import croniter

from tests.observability.conftest import Planned
from tests.observability.places import jobs


def test_the_module_reads_a_schedule_as_the_scheduler_does(planned: Planned) -> None:
    """The longest time between two runs, by the library that the sandbox's scheduler uses."""
    longest = {}
    for name, job in jobs().items():
        times = croniter(job["cron"], datetime(2026, 3, 1, tzinfo=UTC))
        runs = [times.get_next(float) for _ in range(1500)]
        longest[name] = max(later - earlier for earlier, later in pairwise(runs))

    assert planned.outputs["job_periods"] == longest, (
        "modules/observability/schedules.tf and modules/scheduler/jobs.json"
    )
