"""The long form, as ``make soak`` calls it: ``python -m tests.faults [--only SUITE] [--seeds n | --seed s]``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.layout import REPOSITORY
from tests.faults.month import Hosts, hosts, play
from tests.faults.script import FULL, write
from tests.faults.verdict import Verdict, judge

SUITES: Final = ("ledger",)
SEEDS: Final = 200
_WORKERS: Final = 2
LOGS: Final = REPOSITORY / ".sandbox" / "faults"


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


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells about a month."""

    verdict: Verdict
    runs: Counter[str]
    injected: Counter[str]
    seconds: float


_hosts: Hosts | None = None


def _month(seed: int) -> Report:
    """Play one month in this worker, on servers that stay up for the next one."""
    global _hosts
    if _hosts is None:
        _hosts = hosts().__enter__()
    started = time.monotonic()
    script = write(seed, FULL)
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"month-{seed}.log"
    with (
        tempfile.TemporaryDirectory() as folder,
        log.open("w") as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        played = play(script, Path(folder), _hosts)
    verdict = judge(script, played)
    if verdict.right:
        log.unlink()
    return Report(verdict, played.runs, played.injected, time.monotonic() - started)


def ledger(seeds: Sequence[int], totals: Totals) -> None:
    """Play the months of some seeds, two at a time."""
    injected: Counter[str] = Counter()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_WORKERS, mp_context=spawn) as pool:
        for future in as_completed([pool.submit(_month, seed) for seed in seeds]):
            report = future.result()
            totals.add(report.verdict)
            injected += report.injected
            print(
                f"ledger: {report.verdict}; runs: {_counts(report.runs)}; "
                f"faults: {_counts(report.injected)}; {report.seconds:.0f} s",
                flush=True,
            )
    print(f"ledger: faults injected in all: {_counts(injected)}", flush=True)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def main() -> int:
    """Run the suites that were asked for. 0: right, 1: wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", choices=SUITES, help="one suite instead of all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many months: seeds 1 to n")
    parser.add_argument("--seed", type=int, help="one month")
    given = parser.parse_args()
    for name in list(os.environ):
        if name.startswith("TALLYGATE_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    totals = Totals()
    if given.only in (None, "ledger"):
        ledger(range(1, given.seeds + 1) if given.seed is None else [given.seed], totals)
    print(totals, flush=True)
    return 1 if totals.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
