"""SIGTERM: what was admitted is accounted for, what finished is exact, what could not is said so."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.gateway import Instance, Site, await_ready

CHAT = "/v1/chat/completions"
BURST = 30
AT_ONCE = 2
"""Processes that start side by side."""
CLASSES = {
    "input": "input_tokens",
    "cached_input": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
}


async def _burst(instance: Instance, key: str, draw: random.Random) -> list[str]:
    """Requests at once, SIGTERM in the middle of them; the ids of those whose answer came whole."""
    finished: list[str] = []
    begun = asyncio.Event()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        delay = draw.randint(0, 900)
        prompt = f"[[out={draw.randint(1, 99)} delay_ms={delay}]]"
        claude = number % 3 == 2
        body: dict[str, Any] = {
            "model": "claude-haiku-4-5" if claude else "gpt-4o",
            "messages": [{"role": "user", "content": prompt}],
            "stream": number % 2 == 0,
            "max_tokens": 200,
        }
        await asyncio.sleep(draw.random() * 0.3)
        try:
            answer = await client.post("/v1/messages" if claude else CHAT, json=body)
        except httpx.TransportError:
            return  # it came when the process listened no more
        finally:
            begun.set()
        if answer.status_code == 200:
            finished.append(answer.headers["x-request-id"])

    headers = {"x-api-key": key}
    async with httpx.AsyncClient(base_url=instance.url, headers=headers, timeout=30) as client:
        requests = [asyncio.ensure_future(one(client, number)) for number in range(BURST)]
        await begun.wait()
        instance.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*requests)
    return finished


def _round(site: Site, instance: Instance, seed: int) -> None:
    finished = asyncio.run(_burst(instance, site.keys["acme"], random.Random(seed)))
    code = instance.process.wait(20)

    lines = instance.lines()
    admitted = {line["request_id"] for line in lines if line["event"] == "llm_admit"}
    events = {event["request_id"]: event for event in instance.events()}
    charged: dict[str, Counter[str]] = {}
    for row in site.ledger():
        if row["request_id"] in admitted:
            charged.setdefault(row["request_id"], Counter())[CLASSES[row["class"]]] += row["tokens"]
    assert code == 0
    assert finished, "the burst was over before it began"
    assert len(instance.events()) == len(events)
    assert set(events) == admitted >= set(finished)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    for request_id, event in events.items():
        assert event["status"] == "success", event
        counts = {name: event[name] for name in CLASSES.values() if event[name]}
        assert counts == dict(charged[request_id]), event


def _rounds(site: Site, rounds: int) -> None:
    for first in range(0, rounds, AT_ONCE):
        instances = [site.start() for _ in range(AT_ONCE)]
        try:
            for instance in instances:
                await_ready(instance)
            with ThreadPoolExecutor(AT_ONCE) as threads:
                work = [
                    threads.submit(_round, site, instance, first + n) for n, instance in enumerate(instances)
                ]
            for done in work:
                done.result()
        finally:
            for instance in instances:
                instance.process.kill()
                instance.process.wait()


def test_sigterm_in_a_burst_loses_no_admitted_request(provider_site: Site) -> None:
    _rounds(provider_site, 2)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_twenty_sigterms_in_bursts_lose_no_admitted_request(provider_site: Site) -> None:
    _rounds(provider_site, 20)


def test_what_cannot_finish_within_the_grace_leaves_one_cancelled_estimate(provider_site: Site) -> None:
    with (
        provider_site.gateway({"TALLYGATE_GRACE_SECONDS": "1"}) as instance,
        ThreadPoolExecutor(3) as threads,
    ):
        bodies: list[dict[str, Any]] = [
            {"model": "gpt-4o", "stream": True},
            {"model": "gpt-4o"},
            {"model": "claude-haiku-4-5", "stream": True, "max_tokens": 300},
        ]
        arrived = [threading.Event() for _ in bodies]
        for body, text_came in zip(bodies, arrived, strict=True):
            body["messages"] = [{"role": "user", "content": "[[out=200 delay_ms=12000]]"}]
            threads.submit(_ignoring_the_end, instance, provider_site.keys["acme"], body, text_came)
        assert arrived[0].wait(10)
        assert arrived[2].wait(10)
        _await_lines(instance, 3)
        began = time.monotonic()

        instance.end()

    events = instance.events()
    assert time.monotonic() - began < 9
    assert len({event["request_id"] for event in events}) == len(events) == 3
    assert {(event["status"], event["estimated"]) for event in events} == {("cancelled", True)}
    streamed = [event for event in events if event["stream"]]
    assert all(event["total_tokens"] > 0 for event in streamed)


def _ignoring_the_end(instance: Instance, key: str, body: dict[str, Any], text_came: threading.Event) -> None:
    """A request whose answer may never come; ``text_came`` is set at its first words."""
    url = instance.url + ("/v1/messages" if "max_tokens" in body else CHAT)
    try:
        with httpx.stream("POST", url, json=body, headers={"x-api-key": key}, timeout=30) as answer:
            for line in answer.iter_lines():
                if "w00" in line:
                    text_came.set()
    except httpx.TransportError:
        return


def _await_lines(instance: Instance, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(instance.lines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_process_leaves_admitted_requests_to_be_found(provider_site: Site) -> None:
    with provider_site.gateway() as instance, ThreadPoolExecutor(1) as threads:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "[[delay_ms=3000]]"}]}
        threads.submit(_ignoring_the_end, instance, provider_site.keys["acme"], body, threading.Event())
        _await_lines(instance, 1)

        instance.end(signal.SIGKILL)

        assert [line["event"] for line in instance.lines()] == ["llm_admit"]
