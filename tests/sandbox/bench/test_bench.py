"""The benchmark measures what it says: small runs against the cheap provider, and its arithmetic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.bench.contenders import MODEL, provider
from sandbox.bench.load import Load, RefusedError, Target, closed_loop, open_loop
from sandbox.bench.provider import CHUNKS
from sandbox.bench.proxy_suite import Pairs
from sandbox.bench.result import write_result


@pytest.fixture(scope="module")
def target(clean_environment: None) -> Iterator[Target]:
    with provider() as url:
        yield Target(url, "sk-any", MODEL)


def load(seconds: float, *latencies: float) -> Load:
    return Load(100, seconds, latencies)


def test_a_ratio_is_the_median_of_the_pairs_not_of_the_sides() -> None:
    """The machine was slow in the second round, for both: it must not show."""
    pairs = Pairs(
        [load(1, 5, 6, 7), load(10, 50, 60, 70), load(2, 9)],
        [load(2, 4), load(20, 40), load(2, 8)],
        [9.0, 90.0, 9.0],
        [12.0, 120.0, 10.0],
    )

    assert pairs.throughput_ratio() == 2.0
    assert pairs.added_p50_ms() == 2.0
    assert pairs.cpu_ratio() == 0.75


def test_loads_count_every_request(target: Target) -> None:
    closed = asyncio.run(closed_loop(target, requests=23, concurrency=5))
    steady = asyncio.run(open_loop(target, requests=10, per_second=50))

    assert (closed.requests, len(closed.latencies_ms)) == (23, 23)
    assert (steady.requests, len(steady.latencies_ms)) == (10, 10)
    assert steady.seconds >= 9 / 50


def test_a_refused_request_ends_the_load(target: Target) -> None:
    wrong = Target(f"{target.url}:nowhere", target.key, target.model)
    with pytest.raises((RefusedError, ValueError)):
        asyncio.run(closed_loop(wrong, requests=3, concurrency=1))


def test_a_stream_that_breaks_off_ends_the_load(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate of failures would be taken for a rate of streams."""
    asyncio.run(closed_loop(target, requests=2, concurrency=1, stream=True))
    monkeypatch.setattr("sandbox.bench.load._STREAM_END", b"data: [ANOTHER]")

    with pytest.raises(RefusedError):
        asyncio.run(closed_loop(target, requests=1, concurrency=1, stream=True))


def test_the_cheap_provider_streams_what_it_reports(target: Target) -> None:
    body = target.body(stream=True)
    answer = httpx.post(f"{target.url}/v1/chat/completions", json=body)
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    words = [c for chunk in chunks for c in chunk["choices"] if c["delta"].get("content")]

    assert len(words) == CHUNKS >= 200
    assert len({choice["delta"]["content"] for choice in words}) == CHUNKS, "LiteLLM breaks off what repeats"
    assert chunks[-1]["usage"]["completion_tokens"] == CHUNKS
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_a_suite_replaces_only_its_own_key(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_result("ledger", {"events": 5}, path)
    write_result("proxy", {"rounds": 1}, path)
    write_result("proxy", {"rounds": 2}, path)

    content = json.loads(path.read_text())

    assert (content["ledger"], content["proxy"]) == ({"events": 5}, {"rounds": 2})
    assert content["cpu_count"] >= 1


def test_a_broken_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text("{")
    write_result("proxy", {"rounds": 1}, path)

    assert json.loads(path.read_text())["proxy"] == {"rounds": 1}
