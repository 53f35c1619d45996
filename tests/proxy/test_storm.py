"""Everything at once: clients that leave at any moment, providers that fail in every way, one process."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.support.gateway import Instance, Site

CLASSES = {
    "input": "input_tokens",
    "cached_input": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
}
DIRECTIVES = (
    "out={out}", "out={out} cached=3", "out={out} delay_ms={delay}", "out={out} delay_ms={delay} reasoning=2",
    "out={out} fail=429x1", "out={out} fail=500x1", "fail=500x9", "fail=400x9", "garbage",
    "out={out} no_usage", "out={out} cut=50% delay_ms={delay}",
)  # fmt: skip
PATHS = (
    ("/v1/chat/completions", "gpt-4o"), ("/v1/chat/completions", "claude-haiku-4-5"),
    ("/v1/messages", "claude-haiku-4-5"), ("/v1/messages", "gpt-4o"), ("/v1/responses", "gpt-4o"),
    ("/v1/embeddings", "text-embedding-3-small"),
)  # fmt: skip
AT_ONCE = 24
KINDS = ("llm_admit", "llm_usage")


def drawn(draw: random.Random) -> tuple[str, dict[str, Any]]:
    """A request drawn from everything above."""
    path, model = draw.choice(PATHS)
    numbers = {"out": draw.randint(1, 90), "delay": draw.randint(0, 300)}
    directives = draw.choice(DIRECTIVES).format(**numbers)
    if path == "/v1/embeddings":
        directives = directives.replace("cached=3", "")  # no provider caches these
    text = f"[[{directives}]] hello"
    body: dict[str, Any] = {"model": model}
    body |= (
        {"input": text}
        if path in ("/v1/responses", "/v1/embeddings")
        else {"messages": [{"role": "user", "content": text}]}
    )
    if path == "/v1/messages":
        body["max_tokens"] = 200
    if path != "/v1/embeddings" and draw.random() < 0.5:
        body["stream"] = True
    return path, body


async def _storm(instance: Instance, key: str, draw: random.Random, requests: int) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(client: httpx.AsyncClient) -> None:
        path, body = drawn(draw)
        patience = draw.uniform(0.01, 0.5) if draw.random() < 0.4 else 30
        async with free:
            try:
                async with asyncio.timeout(patience), client.stream("POST", path, json=body) as answer:
                    async for _ in answer.aiter_raw():
                        pass
            except (TimeoutError, httpx.TransportError):
                return

    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(
        base_url=instance.url, headers={"x-api-key": key}, timeout=30, limits=limits
    ) as client:
        await asyncio.gather(*(one(client) for _ in range(requests)))


def _settled(instance: Instance) -> list[dict[str, Any]]:
    """The lines, once every admitted request has its event."""
    deadline = time.monotonic() + 20
    while True:
        lines = instance.lines()
        ids = {kind: {line["request_id"] for line in lines if line["event"] == kind} for kind in KINDS}
        if ids["llm_admit"] <= ids["llm_usage"] or time.monotonic() > deadline:
            return lines
        time.sleep(0.1)


def _check(site: Site, lines: list[dict[str, Any]]) -> Counter[str]:
    admitted = Counter(line["request_id"] for line in lines if line["event"] == "llm_admit")
    events = Counter(line["request_id"] for line in lines if line["event"] == "llm_usage")
    assert max(events.values()) == 1
    assert max(admitted.values()) == 1
    assert set(admitted) <= set(events)
    ledger = site.ledger()
    attempts: dict[str, dict[int, Counter[str]]] = {}
    for row in ledger:
        counts = attempts.setdefault(row["request_id"], {}).setdefault(row["attempt"], Counter())
        counts[CLASSES[row["class"]]] += row["tokens"]
    seen: Counter[str] = Counter()
    for event in (line for line in lines if line["event"] == "llm_usage"):
        request_id = event["request_id"]
        seen[f"{event['status']}, estimated" if event["estimated"] else event["status"]] += 1
        assert event["attempts"] == len(attempts.get(request_id, {})), event
        if event["estimated"] or not event["attempts"]:
            continue
        billed = {name: event[name] for name in CLASSES.values() if event[name]}
        last = +attempts[request_id][event["attempts"]]
        assert billed in (dict(last), {}), event
        if event["status"] == "success":
            assert billed == dict(last), event
    return seen


def test_in_a_storm_every_admitted_request_has_one_event_with_the_providers_counts(
    provider_site: Site, gateway: Instance
) -> None:
    before = len(gateway.lines())

    asyncio.run(_storm(gateway, provider_site.keys["acme"], random.Random(7), 200))

    seen = _check(provider_site, _settled(gateway)[before:])
    assert {"success", "failure", "cancelled", "success, estimated", "failure, estimated"} <= set(seen), seen


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(8))
def test_in_longer_storms_too(seed: int, provider_site: Site) -> None:
    with provider_site.gateway() as instance:
        asyncio.run(_storm(instance, provider_site.keys["acme"], random.Random(seed), 1000))
        lines = _settled(instance)
        assert instance.end() == 0

    _check(provider_site, lines)
