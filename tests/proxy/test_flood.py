"""One tenant's flood does not slow another down: no tenant holds more than its share of an instance."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final

import pytest

from proxy.asgi import Receive, Scope, Send
from proxy.limits.gate import Gate
from tallygate.tenants import issue_key, put_tenant
from tests.proxy.test_gateway import NOON, USAGE, House, called, run, start
from tests.proxy.test_gateway import house as house
from tests.support.gateway import tenant

CONCURRENCY: Final = 40
SHARE: Final = CONCURRENCY // 2
PROVIDER_SECONDS: Final = 0.5
QUIET_REQUESTS: Final = 40


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """A provider that takes half a second."""
    called(USAGE)
    await asyncio.sleep(PROVIDER_SECONDS)
    await start(send)
    await send({"type": "http.response.body", "body": USAGE})


@pytest.mark.soak  # of its time, which another load on this machine takes too
def test_beside_a_flood_of_four_times_its_share_anothers_p99_stays_within_half(house: House) -> None:
    """Without LiteLLM, so that what is measured is the gate, not this machine's CPU."""
    put_tenant(house.database, tenant("other", models=("small",)))
    other = issue_key(house.database, "other", label="test", now=NOON).secret
    gate = Gate(house.database, house.clock, instance="i", concurrency=CONCURRENCY)
    served = house.behind(slow, gate=gate)
    most = [0]

    async def timed(key: str) -> float:
        began = time.monotonic()
        reply = await served.post(key=key)
        assert reply.status == 200
        return time.monotonic() - began

    async def p99(key: str) -> float:
        """The slowest of four rounds of ten at a time."""
        taken: list[float] = []
        for _ in range(QUIET_REQUESTS // 10):
            taken += await asyncio.gather(*(timed(key) for _ in range(10)))
        return max(taken)

    async def flooder(until: asyncio.Event) -> int:
        refused = 0
        while not until.is_set():
            reply = await served.post()
            most[0] = max(most[0], gate.in_flight(tenant("acme")))
            if reply.status == 429:
                refused += 1
                await asyncio.sleep(int(reply.headers["retry-after"]))
        return refused

    async def body() -> None:
        quiet = await p99(other)
        over = asyncio.Event()
        flood = [asyncio.create_task(flooder(over)) for _ in range(4 * SHARE)]
        await asyncio.sleep(PROVIDER_SECONDS)  # the flood is on

        flooded = await p99(other)
        over.set()
        refused = sum(await asyncio.gather(*flood))

        assert flooded <= 1.5 * quiet, (quiet, flooded)
        assert refused > 0
        assert most[0] <= SHARE

    run(body())


def test_the_flood_is_refused_by_its_share_not_by_its_limits(house: House) -> None:
    put_tenant(house.database, replace(tenant("acme", models=("small",)), rpm=10**6, max_parallel=10**6))
    served = house.behind(slow, gate=Gate(house.database, house.clock, instance="i", concurrency=CONCURRENCY))

    async def body() -> list[int]:
        return [reply.status for reply in await asyncio.gather(*(served.post() for _ in range(4 * SHARE)))]

    statuses = run(body())

    assert statuses.count(200) == SHARE
    assert statuses.count(429) == 3 * SHARE
