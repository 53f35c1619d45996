"""Runs many seeds and sums up: fault, injected, runs it happened in, right, wrong."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.tallygate.subscriptions.lifecycle.controls import CONTROLS
from tests.tallygate.subscriptions.lifecycle.world import FAULTS, Verdict, World


@dataclass
class Tally:
    """What many runs came to."""

    runs: int = 0
    wrong: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """By seed."""
    injected: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    """Runs in which a fault happened."""
    hit_wrong: Counter[str] = field(default_factory=Counter)
    events: int = 0

    def add(self, seed: int, verdict: Verdict) -> None:
        """Count one run."""
        self.runs += 1
        self.events += verdict.events
        self.injected += verdict.injected
        self.hit.update(verdict.injected.keys())
        if verdict.wrong:
            self.wrong[seed] = verdict.wrong
            self.hit_wrong.update(verdict.injected.keys())

    def table(self) -> list[str]:
        """One line a fault."""
        rows = [f"{'fault':<16} {'injected':>9} {'runs':>6} {'right':>6} {'wrong':>6}"]
        for fault in FAULTS:
            hit, wrong = self.hit[fault], self.hit_wrong[fault]
            rows.append(f"{fault:<16} {self.injected[fault]:>9} {hit:>6} {hit - wrong:>6} {wrong:>6}")
        return rows

    def summary(self) -> str:
        """All in one line."""
        right = self.runs - len(self.wrong)
        return f"lifecycle: {self.runs} runs, {self.events} events, {right} right, {len(self.wrong)} wrong"


def run_one(seed: int, control: str | None = None) -> Verdict:
    """One run, its log lines swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        world = World(seed) if control is None else World(seed, CONTROLS[control])
        return world.run()


def run_all(seeds: Iterable[int], control: str | None = None) -> Tally:
    """Many runs."""
    tally = Tally()
    for seed in seeds:
        tally.add(seed, run_one(seed, control))
    return tally
