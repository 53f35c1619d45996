"""The scheduled jobs, as Terraform declares them, and when they are due."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from croniter import croniter

JOB_TIMEOUT_SECONDS: Final = 540
"""Cloud Scheduler's longest attempt deadline for HTTP is 30 minutes; a function's own timeout is 540 s."""
_WORK: Final = ("sealed", "sent", "parked", "rejected", "backlog")


@dataclass(slots=True)
class Job:
    """One job of Cloud Scheduler."""

    name: str
    function: str
    cron: str
    body: dict[str, Any]
    last_run: datetime
    quiet: bool = field(default=False)
    """The last run found nothing to do."""

    def next_due(self) -> datetime:
        """The first time after the last run that the cron expression names, in UTC."""
        due: datetime = croniter(self.cron, self.last_run).get_next(datetime)
        return due.astimezone(UTC)

    def last_due(self, before: datetime) -> datetime | None:
        """The last time, not after ``before``, at which it is due; None when it is not due by then."""
        if self.next_due() > before:
            return None
        # get_prev is exclusive
        due: datetime = croniter(self.cron, before + timedelta(microseconds=1)).get_prev(datetime)
        return due.astimezone(UTC)

    def run(self, url: str, client: httpx.Client, at: datetime) -> None:
        """Call the function once, as Cloud Scheduler does; a failure is called again when next due."""
        self.last_run = at
        try:
            answer = client.post(url, json=self.body, timeout=JOB_TIMEOUT_SECONDS)
            counts = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            counts = None
        self.quiet = _found_nothing(counts)


def _found_nothing(counts: Any) -> bool:
    """Whether a function's answer says so; an answer that says nothing may have done anything."""
    if not isinstance(counts, dict) or not counts:
        return False
    return not counts.get("skipped") and not any(counts.get(name) for name in _WORK)


def load_jobs(path: Path, now: datetime) -> list[Job]:
    """The jobs of a file, none of them due before ``now``."""
    content: dict[str, Any] = json.loads(path.read_text())
    return [
        Job(name, entry["function"], entry["cron"], entry["body"], last_run=now)
        for name, entry in content.items()
    ]
