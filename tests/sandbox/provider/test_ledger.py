"""The ledger over its interface, and over the death of the double."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx
import pytest

from sandbox.provider.ledger import CLASSES, Ledger
from tests.sandbox.provider.double import CLAUDE, GPT, Double, named, new_double, new_id, user


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Double]:
    """A double of this test alone."""
    double = new_double(tmp_path)
    try:
        double.start()
        yield double
    finally:
        double.close()


def test_rows_have_the_agreed_shape_and_disjoint_classes(double: Double) -> None:
    request_id = new_id()
    double.anthropic.messages.create(
        model=CLAUDE,
        max_tokens=100,
        messages=user("[[out=20 cached=4 cache_write=3]] hello"),
        extra_headers=named(request_id),
    )

    rows = double.ledger(request_id)

    common = {
        "request_id": request_id, "attempt": 1, "model": CLAUDE, "reported": True, "completed": True,
    }  # fmt: skip
    assert [{k: v for k, v in row.items() if k not in ("class", "tokens")} for row in rows] == [common] * 4
    assert [row["class"] for row in rows] == list(CLASSES)
    assert {row["class"]: row["tokens"] for row in rows} == {
        "input": 6, "cached_input": 4, "cache_write": 3, "output": 20,
    }  # fmt: skip


def test_a_whole_answer_survives_kill_9(mortal: Double) -> None:
    answer = mortal.openai.chat.completions.create(
        model=GPT, messages=user("[[out=20]]"), extra_headers=named("whole")
    )
    before = mortal.ledger("whole")

    mortal.kill()
    mortal.start()

    assert answer.usage is not None
    assert mortal.charged("whole")["output"] == answer.usage.completion_tokens == 20
    assert mortal.ledger("whole") == before


def test_what_a_client_has_read_of_a_stream_is_charged_when_the_double_is_killed(mortal: Double) -> None:
    stream = mortal.openai.chat.completions.create(
        model=GPT, messages=user("[[out=400 delay_ms=5000]]"), stream=True, extra_headers=named("streamed")
    )
    read = sum(len((chunk.choices[0].delta.content or "").split()) for chunk in islice(stream, 5))

    mortal.kill()
    with pytest.raises(httpx.HTTPError):
        list(stream)
    mortal.start()

    charged = mortal.charged("streamed")
    assert read <= charged["output"] < 400
    assert charged["input"] > 0
    assert mortal.ended("streamed") == (False, False)


def test_attempts_go_on_counting_after_a_restart(mortal: Double) -> None:
    for _ in range(2):
        mortal.openai.chat.completions.create(model=GPT, messages=user("a"), extra_headers=named("again"))
        mortal.kill()
        mortal.start()

    assert {row["attempt"] for row in mortal.ledger("again")} == {1, 2}


def test_a_refused_call_of_the_gateway_is_an_attempt_that_cost_nothing(double: Double) -> None:
    request_id = new_id()
    body = {"model": "gpt-unheard-of", "messages": user("a")}

    refused = double.http.post("/v1/chat/completions", json=body, headers=named(request_id))
    double.openai.chat.completions.create(model=GPT, messages=user("a"), extra_headers=named(request_id))

    assert refused.status_code == 404
    assert [(row["attempt"], row["tokens"] > 0) for row in double.ledger(request_id)] == [
        (1, False), (2, True), (2, True),
    ]  # fmt: skip


def test_a_call_without_an_id_gets_one_of_its_own(double: Double) -> None:
    first, second = (
        double.openai.chat.completions.create(model=GPT, messages=user("[[out=2]]")) for _ in range(2)
    )

    ids = [answer.id.removeprefix("chatcmpl-").rpartition("_")[0] for answer in (first, second)]
    assert ids[0] != ids[1]
    assert all(double.charged(request_id)["output"] == 2 for request_id in ids)


def test_forty_calls_at_once_are_charged_each_for_itself(double: Double) -> None:
    ids = [new_id() for _ in range(200)]

    def call(number: int) -> int:
        answer = double.openai.chat.completions.create(
            model=GPT, messages=user(f"[[out={number + 1}]]"), extra_headers=named(ids[number])
        )
        assert answer.usage is not None
        return answer.usage.completion_tokens

    with ThreadPoolExecutor(40) as pool:
        answered = list(pool.map(call, range(len(ids))))

    assert answered == [double.charged(request_id)["output"] for request_id in ids]
    assert answered == list(range(1, len(ids) + 1))


def test_the_whole_ledger_holds_the_rows_of_every_request(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "ledger.sqlite")
    for name in ("b", "a", "b"):
        ledger.open(name, GPT)

    rows = ledger.rows()
    ledger.close()

    assert [(row["request_id"], row["attempt"]) for row in rows] == [("a", 1), ("b", 1), ("b", 2)]
