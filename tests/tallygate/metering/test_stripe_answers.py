"""What an answer of Stripe means for the row that was sent, as Stripe's SDK reports it: one case a row.

The double gives most of these by itself (``test_send.py``); here a server gives each of them verbatim.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallygate.metering.sinks import Answer, MeterEvent, Verdict
from tallygate.metering.sinks.stripe import StripeSink
from tests.support.host import Host

EVENT: Final = MeterEvent("u1:e1:acme:m:0:1", "m", "cus_1", 5, datetime(2026, 3, 10, 14, tzinfo=UTC))
DUPLICATE_TEXT: Final = "An event already exists with identifier u1:e1:acme:m:0:1."


@dataclass(frozen=True)
class Case:
    """An answer of Stripe and what it means."""

    status: int
    verdict: Verdict
    reason: str | None
    code: str | None = None
    message: str = "No."
    kind: str = "invalid_request_error"
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None

    def response(self) -> Response:
        """As Stripe would write it."""
        error = {"type": self.kind, "message": self.message, **({"code": self.code} if self.code else {})}
        content = self.body if self.body is not None else json.dumps({"error": error})
        return Response(content, self.status, self.headers, "application/json")


CASES: Final = (
    # no answer that says anything
    Case(500, Verdict.UNKNOWN, "http_500"),
    Case(503, Verdict.UNKNOWN, "http_503", body="<html>upstream</html>"),
    Case(200, Verdict.UNKNOWN, "http_200", body="<html>a proxy's page</html>"),
    # there already, in both versions' words
    Case(400, Verdict.DUPLICATE, "duplicate_meter_event", code="duplicate_meter_event"),
    Case(400, Verdict.DUPLICATE, "duplicate_meter_event", message=DUPLICATE_TEXT),
    # busy
    Case(409, Verdict.BUSY, "conflict", code="too_many_concurrent_requests"),
    Case(429, Verdict.BUSY, "rate_limited", code="rate_limit"),
    Case(429, Verdict.BUSY, "global-rate", headers={"stripe-rate-limited-reason": "global-rate"}),
    # the key
    Case(401, Verdict.NO_ACCESS, "http_401"),
    Case(403, Verdict.NO_ACCESS, "http_403", code="more_permissions_required"),
    # the meter
    Case(400, Verdict.NO_METER, "no_meter", code="no_meter"),
    Case(400, Verdict.NO_METER, "archived_meter", code="archived_meter"),
    # the customer
    Case(404, Verdict.NO_CUSTOMER, "resource_missing", code="resource_missing"),
    Case(400, Verdict.NO_CUSTOMER, "meter_event_customer_not_found", code="meter_event_customer_not_found"),
    # the time and the value
    Case(400, Verdict.EARLY, "timestamp_in_future", code="timestamp_in_future"),
    Case(400, Verdict.REFUSED, "timestamp_too_far_in_past", code="timestamp_too_far_in_past"),
    Case(400, Verdict.REFUSED, "payload_invalid_value", code="payload_invalid_value"),
    Case(400, Verdict.REFUSED, "meter_event_value_too_many_digits", code="meter_event_value_too_many_digits"),
    # mistakes of ours
    Case(400, Verdict.REFUSED, "idempotency_error", code="idempotency_error", kind="idempotency_error"),
    Case(400, Verdict.REFUSED, "http_400"),
)


@dataclass
class Stub:
    """A server that answers as told, and counts."""

    url: str = ""
    answer: Response = field(default_factory=Response)
    calls: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    here = Stub()

    async def answer(request: Request) -> Response:
        here.calls.append(await request.json())
        return here.answer

    host = Host()
    host.start()
    with host.serving(Starlette(routes=[Route("/v2/billing/meter_events", answer, methods=["POST"])])) as url:
        here.url = url
        yield here
    host.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.status} {case.reason}")
def test_an_answer_means(case: Case, stub: Stub) -> None:
    stub.calls.clear()
    stub.answer = case.response()

    answer = StripeSink("sk_test_stub", api_base=stub.url).send(EVENT, "key:a1")

    assert answer == Answer(case.verdict, case.reason)
    assert len(stub.calls) == 1, "one call is one call: the sender counts and spaces its tries"


def test_what_is_sent_is_text_and_utc(stub: Stub) -> None:
    stub.calls.clear()
    stub.answer = Response("{}", 200, media_type="application/json")

    answer = StripeSink("sk_test_stub", api_base=stub.url).send(EVENT, "key:a1")

    assert answer == Answer(Verdict.ACCEPTED)
    assert stub.calls == [
        {
            "event_name": "m",
            "identifier": "u1:e1:acme:m:0:1",
            "timestamp": "2026-03-10T14:00:00.000000Z",
            "payload": {"stripe_customer_id": "cus_1", "value": "5"},
        }
    ]


def test_a_server_that_is_not_there_gives_no_answer() -> None:
    answer = StripeSink("sk_test_stub", api_base="http://127.0.0.1:9").send(EVENT, "key:a1")

    assert answer == Answer(Verdict.UNKNOWN, "no_answer")


def test_every_verdict_is_reached() -> None:
    assert {case.verdict for case in CASES} == set(Verdict) - {Verdict.ACCEPTED}
