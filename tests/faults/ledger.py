"""The suite ``ledger``: long months, two at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.layout import REPOSITORY
from tests.faults.month import play
from tests.faults.script import FULL, write
from tests.faults.totals import Totals, counts
from tests.faults.verdict import Verdict, judge
from tests.support.stage import Hosts, hosts

_WORKERS: Final = 2
_MALLOC: Final = {
    "GLIBC_TUNABLES": "glibc.malloc.mxfast=160:glibc.malloc.tcache_max=8192:glibc.malloc.tcache_count=10000"
    ":glibc.malloc.trim_threshold=1000000000:glibc.malloc.mmap_threshold=1000000000"
}
"""DuckDB's planner spends a quarter of its time in glibc's malloc; with these it is half of that."""
LOGS: Final = REPOSITORY / ".sandbox" / "faults"
"""Where a month that is wrong leaves what its functions wrote."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker tells about a month."""

    seed: int
    verdict: Verdict
    runs: Counter[str]
    injected: Counter[str]
    seconds: float

    def __str__(self) -> str:
        return (
            f"ledger: seed {self.seed}: {self.verdict}; runs: {counts(self.runs)}; "
            f"faults: {counts(self.injected)}; {self.seconds:.0f} s"
        )


def ledger(seeds: Sequence[int], totals: Totals) -> None:
    """Play the months of some seeds, two at a time."""
    injected: Counter[str] = Counter()
    shares = [seeds[number::_WORKERS] for number in range(_WORKERS)]
    spawn = multiprocessing.get_context("spawn")
    os.environ |= _MALLOC
    with ProcessPoolExecutor(_WORKERS, mp_context=spawn) as pool:
        for reports in pool.map(_months, [share for share in shares if share]):
            for report in reports:
                totals.add(report.verdict)
                injected += report.injected
    print(f"ledger: faults injected in all: {counts(injected)}", flush=True)


def _months(seeds: Sequence[int]) -> list[Report]:
    """Play months one after the other on the same servers, and tell of each when it is over."""
    reports = []
    with hosts() as servers:
        for seed in seeds:
            report = _month(seed, servers)
            print(report, flush=True)
            reports.append(report)
    return reports


def _month(seed: int, servers: Hosts) -> Report:
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
        played = play(script, Path(folder), servers)
    verdict = judge(script, played)
    if verdict.right:
        log.unlink()
    return Report(seed, verdict, played.runs, played.injected, time.monotonic() - started)
