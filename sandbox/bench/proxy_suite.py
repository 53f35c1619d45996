"""The proxy's benchmark: this gateway beside a bare LiteLLM, in interleaved rounds of one run.

Rates vary by a quarter from run to run on a shared machine, so nothing is told but ratios and differences
of pairs measured one right after the other, and their medians.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sandbox.bench.contenders import (
    Contender,
    Ground,
    await_completion,
    gateway,
    prepare,
    provider,
    stock,
)
from sandbox.bench.load import Load, closed_loop, open_loop
from tallygate.appdb import faults
from tallygate.appdb.sqlite import SQLiteDatabase

CONCURRENCIES: Final = (1, 10, 40)
LATENCIES_MS: Final = (5, 60)
USUAL: Final = 10
"""In flight where only one number of them is looked at."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 7
    requests: int = 200
    """Of one side in one round, at 10 and 40 in flight; a third of it at one."""
    streams: int = 24
    cold_starts: int = 7
    steady_seconds: int = 30


@dataclass(slots=True)
class Pairs:
    """Rounds of both sides, each pair measured one right after the other."""

    ours: list[Load] = field(default_factory=list)
    stock: list[Load] = field(default_factory=list)
    ours_cpu_ms: list[float] = field(default_factory=list)
    """Of a request, user and system."""
    stock_cpu_ms: list[float] = field(default_factory=list)

    def throughput_ratio(self) -> float:
        """Ours divided by stock's: the median of the pairs."""
        pairs = zip(self.ours, self.stock, strict=True)
        return round(statistics.median(ours.per_second / stock.per_second for ours, stock in pairs), 3)

    def added_p50_ms(self) -> float:
        """What a median request takes longer than with stock: the median of the pairs."""
        pairs = zip(self.ours, self.stock, strict=True)
        return round(statistics.median(ours.p50_ms - stock.p50_ms for ours, stock in pairs), 2)

    def cpu_ratio(self) -> float:
        """CPU of a request, ours divided by stock's: the median of the pairs. Other load hardly moves it."""
        pairs = zip(self.ours_cpu_ms, self.stock_cpu_ms, strict=True)
        return round(statistics.median(ours / stock for ours, stock in pairs), 3)

    def told(self) -> str:
        """For whoever watches."""
        return (
            f"throughput {self.throughput_ratio():.2f} of stock, CPU {self.cpu_ratio():.2f} of stock, "
            f"p50 {self.added_p50_ms():+.1f} ms"
        )


def run(say: Say, size: Size | None = None) -> dict[str, Any]:
    """Measure everything; the numbers of ``bench.json``."""
    size = size or Size()
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name, provider() as provider_url:
        folder = Path(name)
        database = SQLiteDatabase(folder / "app.sqlite")
        try:
            ground = prepare(folder, provider_url, database)
            numbers = _warm(ground, size, say) | _cold(ground, size, say)
        finally:
            database.close()
    return numbers | {"rounds": size.rounds}


def _warm(ground: Ground, size: Size, say: Say) -> dict[str, Any]:
    with gateway(ground) as ours, stock(ground) as theirs:
        for side in (ours, theirs):
            await_completion(side.target, side.process.is_running)
            asyncio.run(closed_loop(side.target, requests=50, concurrency=10))
            asyncio.run(closed_loop(side.target, requests=5, concurrency=5, stream=True))
        by_concurrency = {}
        for concurrency in CONCURRENCIES:
            by_concurrency[str(concurrency)] = _rounds(ours, theirs, size, concurrency)
            say(f"{concurrency:>3} in flight: {by_concurrency[str(concurrency)].told()}")
        streams = _rounds(ours, theirs, size, USUAL, stream=True)
        say(f"{USUAL} streams of 200 chunks: {streams.told()}")
        latency = {str(ms): _with_latency(ground, ours, theirs, size, ms, say) for ms in LATENCIES_MS}
        operations = _operations(ground, ours, size)
        say(f"app database: {operations:.3f} operations a request at 10 a second")
    usual = by_concurrency[str(USUAL)]
    ours_cpu, stock_cpu = (
        round(statistics.median(spent), 2) for spent in (usual.ours_cpu_ms, usual.stock_cpu_ms)
    )
    say(f"CPU: {ours_cpu} ms a request, stock {stock_cpu} ms")
    return {
        "throughput_ratio": {name: pairs.throughput_ratio() for name, pairs in by_concurrency.items()},
        "added_p50_ms": {name: pairs.added_p50_ms() for name, pairs in by_concurrency.items()},
        "cpu_ratio": {name: pairs.cpu_ratio() for name, pairs in by_concurrency.items()},
        "stream_throughput_ratio": streams.throughput_ratio(),
        "stream_added_p50_ms": streams.added_p50_ms(),
        "stream_cpu_ratio": streams.cpu_ratio(),
        "with_database_latency_ms": latency,
        "cpu_ms_per_request": ours_cpu,
        "stock_cpu_ms_per_request": stock_cpu,
        "app_database_ops_per_request": operations,
    }


def _rounds(
    ours: Contender, theirs: Contender, size: Size, concurrency: int, *, stream: bool = False
) -> Pairs:
    requests = size.streams if stream else size.requests // (3 if concurrency == 1 else 1)
    pairs = Pairs()
    for number in range(size.rounds):
        sides = [(ours, pairs.ours, pairs.ours_cpu_ms), (theirs, pairs.stock, pairs.stock_cpu_ms)]
        for side, loads, cpu in sides if number % 2 else reversed(sides):
            before = side.cpu_seconds()
            load = closed_loop(side.target, requests=requests, concurrency=concurrency, stream=stream)
            loads.append(asyncio.run(load))
            cpu.append((side.cpu_seconds() - before) * 1000 / requests)
    return pairs


def _with_latency(
    ground: Ground, ours: Contender, theirs: Contender, size: Size, milliseconds: int, say: Say
) -> dict[str, float]:
    """At 10 in flight, with every operation of the app database that much slower."""
    path = faults.faults_path(ground.database_path)
    _slow(path, milliseconds / 1000)
    try:
        pairs = _rounds(ours, theirs, size, USUAL)
    finally:
        path.unlink()
    say(f"app database {milliseconds} ms away: {pairs.told()}")
    return {"throughput_ratio": pairs.throughput_ratio(), "added_p50_ms": pairs.added_p50_ms()}


def _operations(ground: Ground, ours: Contender, size: Size) -> float:
    """Operations of the app database per request, at ten requests a second of one tenant."""
    path = faults.faults_path(ground.database_path)
    _slow(path, 0.005)
    try:
        load = asyncio.run(open_loop(ours.target, requests=10 * size.steady_seconds, per_second=10))
        injected = sum(int(fault["injected"]) for fault in faults.armed(path))
    finally:
        path.unlink()
    return round(injected / load.requests, 3)


def _slow(path: Path, seconds: float) -> None:
    fault: dict[str, Any] = {
        "kind": "latency",
        "count": None,
        "rate": None,
        "seed": 0,
        "match": {},
        "seconds": seconds,
    }
    faults.arm(path, fault)


def _cold(ground: Ground, size: Size, say: Say) -> dict[str, Any]:
    """From nothing to the first completion, in pairs; .pyc files and page cache are warm on both sides."""
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for number in range(size.cold_starts):
        sides = [(gateway, ours), (stock, theirs)]
        for start, into in sides if number % 2 else reversed(sides):
            into.append(_to_completion(start, ground))
    pairs = list(zip(ours, theirs, strict=True))
    wall, cpu = (round(statistics.median(own[i] / other[i] for own, other in pairs), 3) for i in (0, 1))
    seconds = [round(statistics.median(spent for spent, _ in side), 2) for side in (ours, theirs)]
    say(f"cold start: {seconds[0]} s, stock {seconds[1]} s: {wall:.2f} of stock, CPU {cpu:.2f} of stock")
    return {
        "cold_start_ratio": wall,
        "cold_start_cpu_ratio": cpu,
        "cold_start_seconds": seconds[0],
        "stock_cold_start_seconds": seconds[1],
        "cold_start_pairs": size.cold_starts,
    }


def _to_completion(
    start: Callable[[Ground], AbstractContextManager[Contender]], ground: Ground
) -> tuple[float, float]:
    """Seconds on the clock, and of CPU."""
    began = time.perf_counter()
    with start(ground) as side:
        await_completion(side.target, side.process.is_running)
        return time.perf_counter() - began, side.cpu_seconds()
