"""Months of usage under seeded faults close with the books that their scripts demand."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.month import play
from tests.faults.script import (
    DEATHS,
    FULL,
    MOST_LATE,
    MOST_RUNS,
    MOST_SKEW,
    RECONCILER_TROUBLES,
    SMALL,
    TROUBLES,
    Script,
    write,
)
from tests.faults.verdict import judge
from tests.support.stage import Hosts

SEEDS = range(1, 21)
"""What the ordinary run plays; ``make soak ONLY=ledger SEEDS=n`` plays n longer ones."""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_month_is_exact(seed: int, tmp_path: Path, servers: Hosts) -> None:
    """Nothing doubled, nothing lost; included, waived, parked and unrecorded as computed."""
    script = write(seed, SMALL)

    played = play(script, tmp_path, servers)

    print(f"seed {seed}: runs {dict(played.runs)}, injected {dict(played.injected)}")
    verdict = judge(script, played)
    assert verdict.right, f"make soak ONLY=ledger SEED={seed} plays its longer form\n{verdict}"


def test_a_seed_always_writes_the_same_month() -> None:
    assert write(7) == write(7)
    assert write(7) != write(8)


def test_months_hold_what_they_promise() -> None:
    """Late, repeated and reordered lines, wrong clocks, every trouble, within the promised bounds."""
    months = [write(seed, FULL) for seed in range(1, 41)]

    troubles = {(run.job, run.trouble.kind) for month in months for run in month.runs}
    assert troubles >= {("usage_reporter", kind) for kind in TROUBLES}
    assert troubles >= {("usage_reconciler", kind) for kind in RECONCILER_TROUBLES}
    assert {outage.end - outage.start for month in months for outage in month.outages} == {
        timedelta(hours=6),
        timedelta(hours=30),
    }
    assert {run.trouble.answered for month in months for run in month.runs if run.trouble.kind in DEATHS} == {
        False,
        True,
    }
    assert all(len(month.runs) <= MOST_RUNS for month in months)
    for month in months:
        _assert_well_formed(month)


def _assert_well_formed(month: Script) -> None:
    lines = [(request, arrives) for request in month.requests for arrives in request.usage_arrives]
    assert any(len(set(request.usage_arrives)) > 1 for request in month.requests), "no line comes twice"
    delays = [arrives - request.ended_at for request, arrives in lines]
    assert max(delays) > MOST_LATE / 2, "no line comes late"
    assert max(delays) <= MOST_LATE + MOST_SKEW
    in_order = [request.ended_at for request, _ in sorted(lines, key=lambda line: line[1])]
    assert in_order != sorted(in_order), "all lines come in order"
    assert max(delays) < month.runs[-1].at - max(request.ended_at for request in month.requests)
    assert {request.fate for request in month.requests} == {"recorded", "killed", "broken"}
