"""A numbered statement that takes effect at most once, however many runs try.

Two statements that read the same snapshot would both commit; one job id can't be taken twice.
So statement n is submitted as ``<name>-<n>-<attempt>``, and attempt a + 1 only after attempt a is known to
have written nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallygate.metering.warehouse import Value, Warehouse

_MAX_ATTEMPTS: Final = 100
_MAX_OWN_FAILURES: Final = 2


class FenceError(Exception):
    """A fenced statement failed, or lost every attempt; nothing was written by this run."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """What came of it."""

    rows: int
    """Rows that this run wrote."""
    taken: bool
    """Another job has written under this number: read the head again."""


def run_fenced(warehouse: Warehouse, job_prefix: str, name: str, parameters: Mapping[str, Value]) -> Fenced:
    """Run the statement under the first attempt's id that is free.

    Raises:
        FenceError: when it fails, or too many attempts have come to nothing.
        JobRunningError: when an attempt still runs: wait for it.
        GoogleAPICallError: when BigQuery can't be reached.
    """
    own_failures = 0
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        outcome = warehouse.write(f"{job_prefix}-{attempt}", name, parameters)
        if outcome.rows > 0:
            return Fenced(rows=outcome.rows if outcome.ours else 0, taken=not outcome.ours)
        if outcome.ours and outcome.error is None:
            return Fenced(rows=0, taken=False)
        own_failures += outcome.ours
        if own_failures >= _MAX_OWN_FAILURES:
            raise FenceError(f"{outcome.job_id}: {outcome.error}")
    raise FenceError(f"{job_prefix}: {_MAX_ATTEMPTS} attempts have come to nothing")
