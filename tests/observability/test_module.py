"""The module, as Terraform understands it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from croniter import croniter

from tests.observability.conftest import Planned
from tests.observability.places import jobs
from tests.terraform.conftest import Terraform, Workspace


def test_the_module_is_valid(workspace: Workspace) -> None:
    checked = workspace.run("validate", "-no-color")

    assert checked.code == 0, checked.output


def test_the_modules_own_tests_pass(terraform: Terraform, tmp_path: Path) -> None:
    tested = terraform.workspace("observability", tmp_path).run("test", "-no-color")

    assert tested.code == 0, tested.output
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", tested.output), tested.output


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
