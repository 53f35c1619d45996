"""Drives a chat completions endpoint and says how long it took."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

_STREAM_END = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of requests saw."""

    requests: int
    seconds: float
    latencies_ms: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """Throughput."""
        return self.requests / self.seconds

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return statistics.median(self.latencies_ms)


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint with a key for it."""

    url: str
    key: str
    model: str

    def body(self, *, stream: bool) -> dict[str, Any]:
        """A small request."""
        messages = [{"role": "user", "content": "Say twenty words."}]
        return {"model": self.model, "messages": messages, "max_tokens": 250, "stream": stream}


class RefusedError(Exception):
    """A request of the load was not answered with 200 and to its end: the numbers would mean nothing."""


async def closed_loop(target: Target, *, requests: int, concurrency: int, stream: bool = False) -> Load:
    """Send ``requests``, always ``concurrency`` in flight.

    Raises:
        RefusedError: when one is answered with anything but 200, or a stream breaks off.
    """
    left = iter(range(requests))
    latencies: list[float] = []

    async def worker(session: aiohttp.ClientSession) -> None:
        for _ in left:
            latencies.append(await _request(session, target, stream=stream))

    async with _session(concurrency) as session:
        began = time.perf_counter()
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))
        seconds = time.perf_counter() - began
    return Load(requests, seconds, tuple(latencies))


async def open_loop(target: Target, *, requests: int, per_second: float) -> Load:
    """Send ``requests`` at a steady rate, however long each takes.

    Raises:
        RefusedError: when one is answered with anything but 200, or a stream breaks off.
    """
    began = time.perf_counter()

    async def timed(session: aiohttp.ClientSession, number: int) -> float:
        await asyncio.sleep(began + number / per_second - time.perf_counter())
        return await _request(session, target, stream=False)

    async with _session(100) as session:
        latencies = await asyncio.gather(*(timed(session, number) for number in range(requests)))
    return Load(requests, time.perf_counter() - began, tuple(latencies))


def _session(concurrency: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency), timeout=aiohttp.ClientTimeout(total=120)
    )


async def _request(session: aiohttp.ClientSession, target: Target, *, stream: bool) -> float:
    began = time.perf_counter()
    headers = {"authorization": f"Bearer {target.key}"}
    url = f"{target.url}/v1/chat/completions"
    async with session.post(url, json=target.body(stream=stream), headers=headers) as answer:
        content = await answer.read()
        if answer.status != 200 or (stream and not content.rstrip().endswith(_STREAM_END)):
            raise RefusedError(f"{answer.status}: {content[:300]!r} … {content[-300:]!r}")
    return (time.perf_counter() - began) * 1000
