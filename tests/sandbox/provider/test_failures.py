"""Directives and faults that make a call fail, and what each of them costs."""

from __future__ import annotations

import re
import threading
from itertools import islice
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from tests.sandbox.provider.double import CLAUDE, GPT, Double, awaited, named, new_id, user

OPENAI_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}
ANTHROPIC_ERRORS = {
    400: (anthropic.BadRequestError, "invalid_request_error"),
    401: (anthropic.AuthenticationError, "authentication_error"),
    429: (anthropic.RateLimitError, "rate_limit_error"),
    500: (anthropic.InternalServerError, "api_error"),
    529: (anthropic.OverloadedError, "overloaded_error"),
}
NOTHING = [{"class": "input", "tokens": 0, "reported": False, "completed": False}]


def chat(double: Double, request_id: str, prompt: str = "hello", **options: Any) -> Any:
    return double.openai.chat.completions.create(
        model=GPT, messages=user(prompt), extra_headers=named(request_id), **options
    )


def message(double: Double, request_id: str, prompt: str = "hello", **options: Any) -> Any:
    return double.anthropic.messages.create(
        model=CLAUDE, max_tokens=1000, messages=user(prompt), extra_headers=named(request_id), **options
    )


def costs(double: Double, request_id: str) -> list[dict[str, Any]]:
    """The rows of a request without what names them."""
    names = ("request_id", "attempt", "model")
    return [{key: row[key] for key in row if key not in names} for row in double.ledger(request_id)]


@pytest.mark.parametrize("status", OPENAI_ERRORS)
def test_openais_errors_are_those_of_its_client_and_cost_nothing(status: int, double: Double) -> None:
    request_id = new_id()

    with pytest.raises(OPENAI_ERRORS[status]) as raised:
        chat(double, request_id, f"[[fail={status}]]")

    assert raised.value.response.status_code == status
    assert raised.value.request_id == f"req_{request_id}_1"
    assert costs(double, request_id) == NOTHING


@pytest.mark.parametrize("status", ANTHROPIC_ERRORS)
def test_anthropics_errors_are_those_of_its_client_and_cost_nothing(status: int, double: Double) -> None:
    request_id = new_id()
    kind, name = ANTHROPIC_ERRORS[status]

    with pytest.raises(kind) as raised:
        message(double, request_id, f"[[fail={status}]]")

    assert isinstance(raised.value.body, dict)
    assert raised.value.body["error"]["type"] == name
    assert raised.value.request_id == raised.value.body["request_id"] == f"req_{request_id}_1"
    assert costs(double, request_id) == NOTHING


def test_only_the_first_attempts_fail_and_they_are_counted_over_all_models(double: Double) -> None:
    request_id = new_id()
    for model in (GPT, "gpt-4o-mini"):
        with pytest.raises(openai.RateLimitError):
            double.openai.chat.completions.create(
                model=model, messages=user("[[out=4 fail=429x2]]"), extra_headers=named(request_id)
            )

    message(double, request_id, "[[out=4 fail=429x2]]")

    rows = double.ledger(request_id)
    assert [(row["attempt"], row["model"], row["tokens"] > 0) for row in rows] == [
        (1, GPT, False), (2, "gpt-4o-mini", False), (3, CLAUDE, True), (3, CLAUDE, True),
    ]  # fmt: skip


def test_the_clients_own_retry_waits_as_it_is_told(double: Double) -> None:
    request_id = new_id()

    with pytest.raises(openai.RateLimitError) as raised:
        chat(double, request_id, "[[fail=429 retry_after=7]]")
    retrying = double.openai.with_options(max_retries=1)
    answer = retrying.chat.completions.create(
        model=GPT, messages=user("[[out=2 fail=429x2]]"), extra_headers=named(request_id)
    )

    assert raised.value.response.headers["retry-after"] == "7"
    assert answer.usage is not None
    assert {row["attempt"] for row in double.ledger(request_id)} == {1, 2, 3}


def test_an_errors_text_holds_the_canary_whatever_is_in_it(double: Double) -> None:
    canary = 'a {"event": "llm_usage"}\nnew line, spaces = and more'

    with pytest.raises(openai.BadRequestError) as raised:
        chat(double, new_id(), f"[[error_canary={canary}]]")

    assert isinstance(raised.value.body, dict)
    assert canary in raised.value.body["message"]


@pytest.mark.parametrize(
    ("kind", "fields", "error"),
    [
        ("error_429", {"retry_after": 3}, openai.RateLimitError),
        ("error_500", {}, openai.InternalServerError),
        ("timeout", {"seconds": 0.05}, openai.InternalServerError),
    ],
)
def test_a_fault_fails_one_call_and_costs_nothing(
    kind: str, fields: dict[str, Any], error: type[openai.APIStatusError], double: Double
) -> None:
    request_id = new_id()

    with double.fault(kind, **fields), pytest.raises(error) as raised:
        chat(double, request_id)
    chat(double, request_id, "[[out=4]]")

    assert raised.value.response.headers.get("retry-after") == ("3" if kind == "error_429" else None)
    assert double.charged(request_id, 1) == {}
    assert double.charged(request_id, 2)["output"] == 4


def test_a_fault_hits_only_what_it_matches(double: Double) -> None:
    with double.fault("error_500", match={"model": CLAUDE, "stream": True}):
        chat(double, new_id())
        message(double, new_id())
        with pytest.raises(anthropic.InternalServerError):
            message(double, new_id(), stream=True)
        listed = double.http.get("/_sandbox/faults").json()["faults"]

    assert [fault["injected"] for fault in listed] == [1]


def test_latency_delays_the_answer_and_changes_nothing_else(double: Double) -> None:
    request_id = new_id()

    with double.fault("latency", seconds=0.3):
        answer = double.openai.chat.completions.with_raw_response.create(
            model=GPT, messages=user("[[out=4]]"), extra_headers=named(request_id)
        )

    assert answer.elapsed.total_seconds() >= 0.3
    assert double.charged(request_id)["output"] == 4


@pytest.mark.parametrize("by", ["directive", "fault"])
def test_garbage_is_no_json_and_is_charged(by: str, double: Double) -> None:
    request_id = new_id()
    body = {"model": GPT, "messages": user("[[out=4 garbage]]" if by == "directive" else "[[out=4]]")}

    with double.fault("garbage", match={} if by == "fault" else {"model": "none"}):
        answer = double.http.post("/v1/chat/completions", json=body, headers=named(request_id))

    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()
    assert double.charged(request_id)["output"] == 4
    assert double.ended(request_id) == (False, True)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("by", ["directive", "fault"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_usage_is_charged(by: str, path: str, stream: bool, double: Double) -> None:
    request_id = new_id()
    prompt = "[[out=9 no_usage]]" if by == "directive" else "[[out=9]]"
    models = {"/v1/messages": CLAUDE, "/v1/completions": "gpt-3.5-turbo-instruct"}
    said = {"/v1/completions": {"prompt": prompt}, "/v1/responses": {"input": prompt}}
    body = {"model": models.get(path, GPT), **said.get(path, {"messages": user(prompt), "max_tokens": 50})}
    options = {"stream": True} | (
        {"stream_options": {"include_usage": True}} if "completions" in path else {}
    )

    with double.fault("no_usage", match={} if by == "fault" else {"model": "none"}):
        answer = double.http.post(path, json=body | (options if stream else {}), headers=named(request_id))

    assert answer.status_code == 200
    assert re.findall(r'_tokens": [1-9]', answer.text.replace('max_output_tokens": 50', "")) == []
    assert double.charged(request_id)["output"] == 9
    assert double.ended(request_id) == (False, True)


@pytest.mark.parametrize(
    ("by", "percent"), [("[[out=40 cut=40%]]", 40), ("[[out=40 cut=75]]", 75), ("fault", 50)]
)
def test_a_cut_stream_is_charged_up_to_the_cut(by: str, percent: int, double: Double) -> None:
    request_id = new_id()
    words: list[str] = []

    with double.fault("cut_stream", match={} if by == "fault" else {"model": "none"}):
        stream = chat(double, request_id, "[[out=40]]" if by == "fault" else by, stream=True)

    with pytest.raises(httpx.RemoteProtocolError):
        words.extend(word for chunk in stream for word in (chunk.choices[0].delta.content or "").split())
    assert 0 < len(words) < 40
    assert double.charged(request_id)["output"] == len(words)
    assert abs(len(words) - 40 * percent / 100) <= 10
    assert double.ended(request_id) == (False, False)


def test_a_cut_message_is_charged_up_to_the_cut(double: Double) -> None:
    request_id = new_id()
    words: list[str] = []

    stream = message(double, request_id, "[[out=40 cut=60%]]", stream=True)
    deltas = (event.delta for event in stream if event.type == "content_block_delta")

    with pytest.raises(httpx2.RemoteProtocolError):
        words.extend(word for delta in deltas for word in delta.text.split())
    assert 0 < len(words) < 40
    assert double.charged(request_id)["output"] == len(words)
    assert double.ended(request_id) == (False, False)


def test_a_fault_cuts_no_answer_that_is_not_streamed(double: Double) -> None:
    with double.fault("cut_stream"):
        assert chat(double, new_id()).usage
        listed = double.http.get("/_sandbox/faults").json()["faults"]

    assert listed[0]["injected"] == 0


def test_a_call_that_times_out_costs_nothing(double: Double) -> None:
    request_id = new_id()
    impatient = double.openai.with_options(timeout=0.2)

    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(
            model=GPT, messages=user("[[timeout]]"), extra_headers=named(request_id)
        )

    assert costs(double, request_id) == NOTHING


def test_a_client_that_leaves_a_stream_pays_for_what_was_generated_until_then(double: Double) -> None:
    request_id = new_id()

    stream = chat(double, request_id, "[[out=400 delay_ms=5000]]", stream=True)
    read = sum(len((chunk.choices[0].delta.content or "").split()) for chunk in islice(stream, 4))
    before = double.charged(request_id)["output"]
    stream.close()
    after = awaited(lambda: stable(lambda: double.charged(request_id)["output"]))

    assert read <= before <= after < 400
    assert double.ended(request_id) == (False, False)


def stable(value: Any) -> Any:
    """A value that does not change within a chunk's time and more; None while it does."""
    first = value()
    threading.Event().wait(0.3)  # a chunk takes 0.1 s
    return first if value() == first else None


def test_a_client_that_leaves_before_a_whole_answer_pays_for_all_of_it(double: Double) -> None:
    request_id = new_id()
    impatient = double.openai.with_options(timeout=0.1)

    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(
            model=GPT, messages=user("[[out=30 delay_ms=400]]"), extra_headers=named(request_id)
        )

    assert awaited(lambda: double.charged(request_id).get("output")) == 30
    assert double.ended(request_id) == (True, True)
