"""Sums over everything that a soak has run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.faults.verdict import Verdict


@dataclass(slots=True)
class Totals:
    """Sums over everything that was run."""

    runs: int = 0
    lost: int = 0
    doubled: int = 0
    parked: int = 0
    unrecorded: int = 0
    wrong: int = 0

    def add(self, verdict: Verdict) -> None:
        """One more."""
        self.runs += 1
        self.lost += verdict.lost
        self.doubled += verdict.doubled
        self.parked += verdict.parked
        self.unrecorded += verdict.unrecorded
        self.wrong += not verdict.right

    def __str__(self) -> str:
        return (
            f"runs {self.runs}, lost {self.lost}, doubled {self.doubled}, parked {self.parked}, "
            f"unrecorded {self.unrecorded}, wrong {self.wrong}"
        )


def counts(counted: Counter[str]) -> str:
    """Counts by name, for a line of output."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "none"
