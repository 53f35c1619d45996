"""Killed processes of a real sandbox: nothing is lost but what is listed, nothing counts twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.layout import Layout
from tests.faults.kills import assault

SEED = 20261125
KILLS = 2


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_killed_processes_lose_only_what_is_listed(tmp_path: Path) -> None:
    """Twice each: ``make soak ONLY=kills`` kills each twenty times.

    The ordinary run kills parts of the sandbox that it has anyway, in ``tests/e2e``.
    """
    told, verdict = assault(Layout(tmp_path / "root"), SEED, KILLS)

    print(
        f"seed {SEED}: {len(told.answered)} requests, killed {dict(told.kills)}, "
        f"{verdict.unrecorded} unrecorded"
    )
    assert verdict.right, verdict
    assert told.answered
    assert len(told.hostages) >= KILLS
    assert set(told.kills.values()) == {KILLS}
