"""Whatever order, number and delay events arrive with, the tenant ends where Stripe says.

``python -m tests.tallygate.subscriptions.lifecycle`` runs more seeds and prints the table.
"""

from __future__ import annotations

from itertools import count

import pytest

from tests.tallygate.subscriptions.lifecycle.controls import CONTROLS
from tests.tallygate.subscriptions.lifecycle.report import run_all, run_one
from tests.tallygate.subscriptions.lifecycle.world import FAULTS

RUNS = 500
LEAST = dict.fromkeys(FAULTS, 100)
"""How often each fault must have happened in so many runs, for them to mean something."""
MOST_SEEDS = 1000


@pytest.mark.timeout(600)
def test_every_final_state_is_right() -> None:
    tally = run_all(range(RUNS))

    assert tally.wrong == {}, "\n".join(f"seed {seed}: {wrong}" for seed, wrong in tally.wrong.items())
    rare = {fault: tally.injected[fault] for fault in FAULTS if tally.injected[fault] < LEAST[fault]}
    assert rare == {}, f"faults that hardly happened: {rare}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("control", sorted(CONTROLS))
def test_a_control_goes_wrong(control: str) -> None:
    """The same seeds, one thing taken out: if that went well, the runs above would prove nothing."""
    for seed in count():
        if run_one(seed, control).wrong:
            return
        assert seed < MOST_SEEDS, f"without it all is well: {control}"


def test_a_seed_plays_the_same_each_time() -> None:
    first, second = run_one(107), run_one(107)

    assert first == second
