"""One contract for every usage sink: what is sent is there once, and every answer is one of the verdicts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pytest
from cloudevents.http import from_http
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallygate.clock import parse_rfc3339
from tallygate.metering.settings import reporter_settings
from tallygate.metering.sinks import Answer, MeterEvent, UsageSink, Verdict
from tallygate.metering.sinks.cloudevents import CONTENT_TYPE, SOURCE, CloudEventsSink, classify
from tallygate.schemas import ConfigurationError
from tallygate.secrets import CLOUDEVENTS_TOKEN
from tests.functions.deployed import environment, function
from tests.sql.cases import INPUT, ONLY_INPUT, line, segment
from tests.support.host import Host
from tests.support.stage import Stage

TOKEN: Final = "token-of-the-endpoint"
PATH: Final = "/api/v1/events"
STRIPE_PATH: Final = "/v2/billing/meter_events"


class Service(Protocol):
    """A billing service and the ways to look at it and to disturb it."""

    def sink(self, *, trusted: bool = True) -> UsageSink:
        """The sink that sends there."""
        ...

    def counted(self) -> dict[tuple[str, str], int]:
        """What it counts, by customer and meter."""
        ...

    def disturb(self, kind: str) -> None:
        """Let the next call fail: ``commit_then_500``, ``error_500`` or ``rate_limit_429``."""
        ...


@dataclass
class StripeService:
    """Stripe's double."""

    stage: Stage

    def sink(self, *, trusted: bool = True) -> UsageSink:
        """With a key that the double takes, or not."""
        return self.stage.sink("sk_test_double" if trusted else "no key at all")

    def counted(self) -> dict[tuple[str, str], int]:
        """Its own books."""
        return self.stage.billed()

    def disturb(self, kind: str) -> None:
        """One of its faults."""
        self.stage.stripe.arm(kind, match={"path": STRIPE_PATH})


@dataclass
class Endpoint:
    """An endpoint that takes CloudEvents, read by the standard's own library, and keeps each id once."""

    url: str = ""
    faults: list[str] = field(default_factory=list)
    events: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sink(self, *, trusted: bool = True) -> UsageSink:
        """With its token, or another."""
        return CloudEventsSink(self.url + PATH, TOKEN if trusted else "another")

    def counted(self) -> dict[tuple[str, str], int]:
        """The sum of the events' values."""
        sums: dict[tuple[str, str], int] = {}
        for event in self.events.values():
            key = event["subject"], event["type"]
            sums[key] = sums.get(key, 0) + int(event.data["value"])
        return sums

    def disturb(self, kind: str) -> None:
        """Kept until the next call."""
        self.faults.append(kind)

    async def take(self, request: Request) -> Response:
        """One call."""
        body = await request.body()
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        if request.headers["content-type"] != CONTENT_TYPE:
            return Response(status_code=415)
        with self._lock:
            fault = self.faults.pop() if self.faults else ""
            if fault == "rate_limit_429":
                return Response(status_code=429)
            if fault == "error_500":
                return Response(status_code=500)
            event = from_http(dict(request.headers), body)
            self.events.setdefault((event["source"], event["id"]), event)
        return Response(status_code=500 if fault == "commit_then_500" else 204)


@pytest.fixture(scope="module")
def web() -> Iterator[Host]:
    host = Host()
    host.start()
    yield host
    host.stop()


@pytest.fixture
def endpoint(web: Host) -> Iterator[Endpoint]:
    here = Endpoint()
    with web.serving(Starlette(routes=[Route(PATH, here.take, methods=["POST"])])) as url:
        here.url = url
        yield here


@pytest.fixture(params=["stripe", "cloudevents"])
def service(request: pytest.FixtureRequest, on_stage: Stage, endpoint: Endpoint) -> Service:
    return StripeService(on_stage) if request.param == "stripe" else endpoint


def event_of(stage: Stage, customer: str, number: int = 1, value: int = 5) -> MeterEvent:
    return MeterEvent(f"u1:e1:acme:{INPUT}:0:{number}", INPUT, customer, value, stage.now)


def test_an_accepted_event_is_counted(service: Service, on_stage: Stage) -> None:
    customer = on_stage.customer()

    answer = service.sink().send(event_of(on_stage, customer), "key:a1")

    assert answer == Answer(Verdict.ACCEPTED)
    assert service.counted() == {(customer, INPUT): 5}


def test_the_same_event_counts_once_whatever_the_second_answer_says(
    service: Service, on_stage: Stage
) -> None:
    customer, sink = on_stage.customer(), service.sink()
    event = event_of(on_stage, customer)

    answers = [sink.send(event, f"key:a{attempt}") for attempt in (1, 2)]

    assert answers[0].verdict is Verdict.ACCEPTED
    assert answers[1].verdict in (Verdict.ACCEPTED, Verdict.DUPLICATE)
    assert service.counted() == {(customer, INPUT): 5}


def test_an_answer_lost_after_the_work_is_unknown_and_the_repeat_counts_once(
    service: Service, on_stage: Stage
) -> None:
    customer, sink = on_stage.customer(), service.sink()
    service.disturb("commit_then_500")
    event = event_of(on_stage, customer)

    first, second = sink.send(event, "key:a1"), sink.send(event, "key:a1")

    assert first.verdict is Verdict.UNKNOWN
    assert second.verdict in (Verdict.ACCEPTED, Verdict.DUPLICATE)
    assert service.counted() == {(customer, INPUT): 5}


@pytest.mark.parametrize(
    ("kind", "verdict"), [("error_500", Verdict.UNKNOWN), ("rate_limit_429", Verdict.BUSY)]
)
def test_a_call_that_does_nothing_counts_nothing(
    kind: str, verdict: Verdict, service: Service, on_stage: Stage
) -> None:
    customer = on_stage.customer()
    service.disturb(kind)

    answer = service.sink().send(event_of(on_stage, customer), "key:a1")

    assert answer.verdict is verdict
    assert answer.reason
    assert service.counted() == {}


def test_a_refused_identity_is_told_from_a_refused_event(service: Service, on_stage: Stage) -> None:
    customer = on_stage.customer()

    answer = service.sink(trusted=False).send(event_of(on_stage, customer), "key:a1")

    assert answer.verdict is Verdict.NO_ACCESS
    assert service.counted() == {}


def test_large_values_arrive_to_the_last_digit(service: Service, on_stage: Stage) -> None:
    customer, value = on_stage.customer(), 123_456_789_012_345

    service.sink().send(event_of(on_stage, customer, value=value), "key:a1")

    assert service.counted() == {(customer, INPUT): value}


def test_several_threads_lose_and_double_nothing(service: Service, on_stage: Stage) -> None:
    customers = [on_stage.customer(f"tenant-{number}") for number in range(4)]
    sink = service.sink()
    events = [event_of(on_stage, customers[n % 4], n) for n in range(32)]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda event: _until_taken(sink, event), events))

    assert {answer.verdict for answer in answers} == {Verdict.ACCEPTED}
    assert service.counted() == {(customer, INPUT): 40 for customer in customers}


def _until_taken(sink: UsageSink, event: MeterEvent) -> Answer:
    """Stripe takes one call at a time for a customer and meter, and says that it is busy."""
    while True:
        answer = sink.send(event, f"{event.identifier}:a1")
        if answer.verdict is not Verdict.BUSY:
            return answer


def test_a_run_of_the_reporter_sends_what_is_sealed_once(service: Service, on_stage: Stage) -> None:
    customer = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=customer))
    on_stage.insert("usage_raw.run_googleapis_com_stdout", line("r1", **ONLY_INPUT))
    service.disturb("commit_then_500")

    runs = [on_stage.report(service.sink()) for _ in range(2)]

    assert [run.error for run in runs] == [None, None]
    assert sum(run.sent for run in runs) == 1
    assert service.counted() == {(customer, INPUT): 100}


# --- what only one sink has ------------------------------------------------------------------------


def test_an_event_is_a_cloud_event_of_the_standard(endpoint: Endpoint, on_stage: Stage) -> None:
    endpoint.sink().send(event_of(on_stage, "cus_1"), "key:a1")

    ((source, identifier),) = endpoint.events
    event = endpoint.events[source, identifier]
    assert (source, identifier) == (SOURCE, f"u1:e1:acme:{INPUT}:0:1")
    assert (event["type"], event["subject"], event.data) == (INPUT, "cus_1", {"value": "5"})
    assert parse_rfc3339(event["time"]) == on_stage.now


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ACCEPTED),
        (202, Verdict.ACCEPTED),
        (204, Verdict.ACCEPTED),
        (302, Verdict.NO_ACCESS),
        (400, Verdict.REFUSED),
        (401, Verdict.NO_ACCESS),
        (403, Verdict.NO_ACCESS),
        (404, Verdict.NO_ACCESS),
        (408, Verdict.UNKNOWN),
        (409, Verdict.DUPLICATE),
        (422, Verdict.REFUSED),
        (429, Verdict.BUSY),
        (500, Verdict.UNKNOWN),
        (503, Verdict.UNKNOWN),
    ],
)
def test_a_status_means(status: int, verdict: Verdict) -> None:
    assert classify(status).verdict is verdict


def test_the_deployed_function_sends_there_when_told(
    endpoint: Endpoint, on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_stage.insert("ledger.billing_segments", segment(stripe_customer="cus_1"))
    on_stage.insert("usage_raw.run_googleapis_com_stdout", line("r1", **ONLY_INPUT))
    variables = environment(on_stage) | {"TALLYGATE_CLOUDEVENTS_URL": endpoint.url + PATH}
    (on_stage.folder / "secrets" / CLOUDEVENTS_TOKEN).write_text(TOKEN)

    answer = function("usage_reporter", variables, monkeypatch).post("/", json={"depth": "recent"})

    assert (answer.status_code, answer.json["sent"] if answer.json else None) == (200, 1)
    assert endpoint.counted() == {("cus_1", INPUT): 100}
    assert on_stage.billed() == {}


def test_what_is_billed_elsewhere_is_not_looked_for_at_stripe(
    endpoint: Endpoint, on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe's sums would lack all of it, and the reconciler would propose to send it again."""
    on_stage.insert("ledger.billing_segments", segment(stripe_customer="cus_1"))
    on_stage.insert("usage_raw.run_googleapis_com_stdout", line("r1", **ONLY_INPUT))
    assert on_stage.report(endpoint.sink()).sent == 1
    variables = environment(on_stage) | {"TALLYGATE_CLOUDEVENTS_URL": endpoint.url + PATH}
    on_stage.advance(hours=12)

    answer = function("usage_reconciler", variables, monkeypatch).post("/", json={"depth": "hourly"})

    assert answer.json is not None
    assert (answer.status_code, answer.json["proposed"], answer.json["confirmed"]) == (200, 0, 0)
    assert [row["delivery"] for row in on_stage.deliveries()] == ["sent"]


@pytest.mark.parametrize("url", ["http://usage.example.com/events", "usage.example.com", "https://"])
def test_a_token_is_never_sent_in_the_clear(url: str) -> None:
    least = {"TALLYGATE_PROJECT_ID": "p", "TALLYGATE_APP_DATABASE": "sqlite:x"}

    with pytest.raises(ConfigurationError, match="TALLYGATE_CLOUDEVENTS_URL: must be an https URL"):
        reporter_settings(least | {"TALLYGATE_CLOUDEVENTS_URL": url})


def test_an_endpoint_that_is_not_there_gives_no_answer(on_stage: Stage) -> None:
    answer = CloudEventsSink("http://127.0.0.1:9/events", TOKEN).send(event_of(on_stage, "cus_1"), "key:a1")

    assert answer == Answer(Verdict.UNKNOWN, "no_answer")
