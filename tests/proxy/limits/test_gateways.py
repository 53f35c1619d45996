"""A budget over four whole gateways behind HTTP, which share nothing but the app database.

What was spent is the provider's word: the sum of its ledger, priced by the catalogue. No request here costs
more than it reserved, so that the instances together may exceed the budget by a chunk each and no more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import httpx
import pytest

from proxy.limits.budget import CHUNK_NANO_USD
from tallygate.catalogue import Catalogue, load_catalogue
from tallygate.records import TokenCounts
from tests.support.gateway import Instance, Site, await_ready, tenant

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

DOLLAR: Final = 10**9
MODEL: Final = "claude-sonnet-4-6"
OUTPUT_NANO_USD: Final = 15_000
"""Of one output token of that model: a test compares it with the catalogue."""
INSTANCES: Final = 4


@dataclass
class Till:
    """What requests were answered, and what they may cost."""

    site: Site
    catalogue: Catalogue
    statuses: list[int] = field(default_factory=list)

    async def ask(
        self, client: httpx.AsyncClient, key: str, *, most: int, out: int, delay_ms: int = 0
    ) -> int:
        """One request of ``out`` output tokens, at most ``most``; its status, 0 without an answer."""
        words = f"[[out={out} delay_ms={delay_ms}]] hello"
        body = {"model": MODEL, "max_tokens": most, "messages": [{"role": "user", "content": words}]}
        content = json.dumps(body).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        try:
            answer = await client.post("/v1/chat/completions", content=content, headers=headers)
        except httpx.TransportError:  # the instance was killed
            self.statuses.append(0)
            return 0
        self.statuses.append(answer.status_code)
        if answer.status_code == 402:
            assert answer.json()["error"]["code"] == "budget_exceeded"
        return answer.status_code

    def spent(self, instances: Sequence[Instance], tenant_id: str) -> int:
        """Nano-USD that the provider would charge for a tenant's admitted requests."""
        admitted = {
            line["request_id"]
            for instance in instances
            for line in instance.lines()
            if line["event"] == "llm_admit" and line["tenant_id"] == tenant_id
        }
        price = self.catalogue.models[MODEL].price_at(datetime.now(UTC))
        assert price is not None
        rows = [row for row in self.site.ledger() if row["request_id"] in admitted]
        classes = {row["class"] for row in rows}
        assert classes <= {"input", "output"}, classes
        return sum(price.cost_nano_usd(TokenCounts(**{row["class"]: row["tokens"]})) for row in rows)


@pytest.fixture
def till(provider_site: Site) -> Till:
    return Till(provider_site, load_catalogue(provider_site.catalogue, now=datetime.now(UTC)))


@pytest.fixture(scope="module")
def gateways(provider_site: Site) -> Iterator[list[Instance]]:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        entered = [provider_site.gateway() for _ in range(INSTANCES)]
        yield list(threads.map(stack.enter_context, entered))


@asynccontextmanager
async def clients(instances: Sequence[Instance]) -> AsyncIterator[list[httpx.AsyncClient]]:
    made = [httpx.AsyncClient(base_url=instance.url, timeout=60) for instance in instances]
    try:
        yield made
    finally:
        for client in made:
            await client.aclose()


def test_the_price_here_is_the_catalogues(till: Till) -> None:
    price = till.catalogue.models[MODEL].price_at(datetime.now(UTC))

    assert price is not None
    assert price.output == OUTPUT_NANO_USD * 1000


def test_of_four_requests_of_90_cents_on_the_last_dollar_one_is_served(
    till: Till, gateways: list[Instance]
) -> None:
    key = till.site.add(tenant("lastdollar", monthly_budget_nano_usd=DOLLAR))
    most = 900_000_000 // OUTPUT_NANO_USD

    async def body() -> list[int]:
        async with clients(gateways) as four:
            return await asyncio.gather(
                *(till.ask(client, key, most=most, out=most, delay_ms=2000) for client in four)
            )

    assert sorted(asyncio.run(body())) == [200, 402, 402, 402]
    assert 900_000_000 <= till.spent(gateways, "lastdollar") <= DOLLAR


def test_small_requests_at_once_stop_within_a_chunk_of_the_budget(
    till: Till, gateways: list[Instance]
) -> None:
    key = till.site.add(tenant("manysmall", monthly_budget_nano_usd=DOLLAR))

    asyncio.run(_until_refused(till, gateways, key))

    spent = till.spent(gateways, "manysmall")
    assert set(till.statuses) == {200, 402}
    assert spent <= DOLLAR + INSTANCES * CHUNK_NANO_USD
    assert spent >= DOLLAR - INSTANCES * 2 * CHUNK_NANO_USD, "the budget can be spent"


def test_kill_nine_in_the_middle_widens_no_budget(till: Till, gateways: list[Instance]) -> None:
    """What the killed one was doing is in the provider's ledger, and counted here."""
    key = till.site.add(tenant("killed", monthly_budget_nano_usd=DOLLAR))
    victim = till.site.start()
    await_ready(victim)
    four = [*gateways[1:], victim]

    async def body() -> None:
        spending = asyncio.create_task(_until_refused(till, four, key))
        while till.statuses.count(200) < 20:
            await asyncio.sleep(0.01)
        victim.process.kill()
        await spending

    try:
        asyncio.run(body())
    finally:
        victim.process.kill()
        victim.process.wait()

    spent = till.spent(four, "killed")
    assert {0, 200, 402} == set(till.statuses), "the kill came in the middle"
    assert spent <= DOLLAR + INSTANCES * CHUNK_NANO_USD
    held = 2 * CHUNK_NANO_USD + WORKERS * SMALL  # by the killed one: its grant, and what it was doing
    assert spent >= DOLLAR - held - (INSTANCES - 1) * 2 * CHUNK_NANO_USD, "the others spend what is left"


SMALL: Final = 1000 * OUTPUT_NANO_USD
"""Nano-USD of one small request: 1.5 cents."""
WORKERS: Final = 5
"""At once, at each instance."""


async def _until_refused(till: Till, instances: Sequence[Instance], key: str) -> None:
    """Small requests at all instances, until each worker is refused for a while or its instance is gone."""

    async def worker(client: httpx.AsyncClient) -> None:
        refused = 0
        while refused < 3:
            status = await till.ask(client, key, most=1000, out=1000, delay_ms=100)
            if status == 0:
                return
            if status == 402:
                refused += 1
                await asyncio.sleep(1.1)  # a refusal is remembered for a second

    async with clients(instances) as four:
        await asyncio.gather(*(worker(client) for client in four for _ in range(WORKERS)))
