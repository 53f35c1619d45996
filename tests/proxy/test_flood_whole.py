"""One tenant's flood beside another, through the whole gateway: HTTP, LiteLLM and the provider's double."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import Any, Final

import httpx
import pytest

from tests.support.gateway import Site, tenant

CONCURRENCY: Final = 40
SHARE: Final = CONCURRENCY // 2
PROVIDER_MS: Final = 500
ROUNDS: Final = 10
AT_ONCE: Final = 10
BODY: Final[dict[str, Any]] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": f"[[out=20 delay_ms={PROVIDER_MS}]] hello"}],
    "max_tokens": 20,
}


async def _ask(client: httpx.AsyncClient, key: str) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"})


async def _p99(client: httpx.AsyncClient, key: str) -> float:
    """Seconds, of rounds of ten at a time."""

    async def timed() -> float:
        began = time.monotonic()
        answer = await _ask(client, key)
        assert answer.status_code == 200, answer.text
        return time.monotonic() - began

    taken: list[float] = []
    for _ in range(ROUNDS):
        taken += await asyncio.gather(*(timed() for _ in range(AT_ONCE)))
    return statistics.quantiles(taken, n=100)[98]


async def _flood(
    client: httpx.AsyncClient, key: str, number: int, over: asyncio.Event, statuses: list[int]
) -> None:
    """One client of the flood: as often as it may, and again some time after it was told to wait."""
    draw = random.Random(number)
    await asyncio.sleep(draw.random())
    while not over.is_set():
        answer = await _ask(client, key)
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            await asyncio.sleep(int(answer.headers["retry-after"]) + draw.random() / 2)  # as the SDKs do


@pytest.mark.soak  # of its time, which another load on this machine takes too
@pytest.mark.timeout(300)
def test_beside_a_flood_anothers_p99_stays_within_half_with_litellm_in_the_path(provider_site: Site) -> None:
    flooding, other = (provider_site.add(tenant(name)) for name in ("flooding", "quiet"))

    async def body(url: str) -> tuple[float, float, list[int]]:
        unlimited = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(base_url=url, timeout=60, limits=unlimited) as client,
            httpx.AsyncClient(base_url=url, timeout=60, limits=unlimited) as flood,
        ):
            await _p99(client, other)  # connections and caches
            quiet = await _p99(client, other)
            over, statuses = asyncio.Event(), list[int]()
            flooders = [
                asyncio.create_task(_flood(flood, flooding, number, over, statuses))
                for number in range(4 * SHARE)
            ]
            await asyncio.sleep(1 + 2 * PROVIDER_MS / 1000)  # the flood is on
            flooded = await _p99(client, other)
            over.set()
            await asyncio.gather(*flooders)
            return quiet, flooded, statuses

    with provider_site.gateway({"TALLYGATE_CONCURRENCY": str(CONCURRENCY)}) as instance:
        quiet, flooded, statuses = asyncio.run(body(instance.url))

    assert set(statuses) == {200, 429}
    assert flooded <= 1.5 * quiet, f"p99 {flooded:.3f} s beside a flood, {quiet:.3f} s without"
