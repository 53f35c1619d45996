"""Sending sealed rows with Stripe's SDK, whatever Stripe answers: each counts once, or says why not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest

from tallygate.metering.sinks import Answer, MeterEvent, UsageSink, Verdict
from tests.sandbox.stripe.double import use
from tests.sql.cases import COST, INPUT, ONLY_INPUT, OUTPUT, item, line, segment
from tests.support.stage import PATIENCE, Stage

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
SEGMENTS: Final = "ledger.billing_segments"
EVENTS: Final = "/v2/billing/meter_events"


@dataclass
class Watched:
    """Passes calls on to a sink and keeps what was asked and answered."""

    inner: UsageSink
    before: Callable[[MeterEvent], None] = lambda event: None
    after: Callable[[MeterEvent], None] = lambda event: None
    keys: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        """One call."""
        self.before(event)
        self.keys.append(idempotency_key)
        answer = self.inner.send(event, idempotency_key)
        self.answers.append(answer)
        self.after(event)
        return answer


class CrashError(BaseException):
    """The process ends here; nothing of the program's own catches it."""


@pytest.fixture
def customer(on_stage: Stage) -> str:
    """The customer of tenant acme, who has used 100 input tokens."""
    made = on_stage.customer()
    on_stage.insert(SEGMENTS, segment(stripe_customer=made))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    return made


def state(stage: Stage) -> tuple[str, str | None, int]:
    """State, reason and attempt of the only delivery."""
    (row,) = [row for row in stage.deliveries() if row["disposition"] == "billable"]
    return row["delivery"], row["delivery_reason"], row["attempt"]


def history(stage: Stage) -> list[tuple[str, str | None, int]]:
    """All that was noted, oldest first."""
    rows = stage.rows("ledger.meter_deliveries", "`at`")
    return [(row["state"], row["reason"], row["attempt"]) for row in rows]


# --- accepted ---------------------------------------------------------------------------------


def test_a_row_is_noted_before_the_call_and_after_the_answer(on_stage: Stage, customer: str) -> None:
    noted: list[Any] = []
    sink = Watched(on_stage.sink(), before=lambda event: noted.append(history(on_stage)))

    run = on_stage.report(sink)

    assert noted == [[("sending", None, 1)]]
    assert history(on_stage) == [("sending", None, 1), ("sent", None, 1)]
    assert (run.sent, run.backlog, run.error) == (1, 0, None)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_what_is_sent_is_the_frozen_row(on_stage: Stage, customer: str) -> None:
    on_stage.report()

    (delta,) = on_stage.deltas()
    (event,) = on_stage.events()
    assert event["identifier"] == delta["identifier"]
    assert event["value"] == str(delta["value"]) == "100"
    assert event["timestamp"].startswith("2026-03-10T14:00:00")


def test_the_next_run_does_not_call_again(on_stage: Stage, customer: str) -> None:
    on_stage.report()
    sink = Watched(on_stage.sink())

    run = on_stage.report(sink)

    assert sink.keys == []
    assert (run.sealed, run.sent, run.backlog) == (0, 0, 0)


# --- unknown outcomes -------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["commit_then_drop", "commit_then_500"])
def test_an_answer_lost_after_the_work_is_asked_again_and_found_there(
    on_stage: Stage, customer: str, fault: str
) -> None:
    on_stage.stripe.arm(fault, match={"path": EVENTS})
    sink = Watched(on_stage.sink())

    run = on_stage.report(sink)

    assert [answer.verdict for answer in sink.answers] == [Verdict.UNKNOWN, Verdict.ACCEPTED]
    assert len(set(sink.keys)) == 1, "one identifier and one idempotency key for one row of unknown outcome"
    assert run.sent == 1
    assert on_stage.billed() == {(customer, INPUT): 100}


@pytest.mark.parametrize("fault", ["commit_then_drop", "commit_then_500"])
def test_a_duplicate_after_a_lost_answer_means_sent(on_stage: Stage, customer: str, fault: str) -> None:
    """Where Stripe has forgotten the idempotency key, the identifier still holds."""
    on_stage.stripe.arm(fault, match={"path": EVENTS})
    sink = Watched(_Forgetful(on_stage.sink()))

    run = on_stage.report(sink)

    assert [answer.verdict for answer in sink.answers] == [Verdict.UNKNOWN, Verdict.DUPLICATE]
    assert (run.sent, run.duplicates) == (1, 1)
    assert state(on_stage) == ("sent", "duplicate", 1)
    assert on_stage.billed() == {(customer, INPUT): 100}


@pytest.mark.parametrize("fault", ["error_500", "rate_limit_429", "conflict_409"])
def test_a_passing_failure_is_tried_again_in_the_same_run(on_stage: Stage, customer: str, fault: str) -> None:
    on_stage.stripe.arm(fault, count=2, match={"path": EVENTS})

    run = on_stage.report()

    assert on_stage.injected(fault) == 2
    assert (run.sent, run.error) == (1, None)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_an_outage_leaves_the_row_sending_and_the_next_run_uses_the_same_key(
    on_stage: Stage, customer: str
) -> None:
    on_stage.stripe.arm("outage", count=PATIENCE.tries, match={"path": EVENTS})
    during, after = Watched(on_stage.sink()), Watched(on_stage.sink())

    first = on_stage.report(during)
    between = state(on_stage)
    on_stage.advance(minutes=5)
    second = on_stage.report(after)

    assert (first.sent, first.backlog) == (0, 1)
    assert between == ("sending", "unknown_outcome", 1)
    assert set(during.keys) == set(after.keys), "the key may change only after a definite failure"
    assert (second.sent, state(on_stage)) == (1, ("sent", None, 1))
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_definite_failure_raises_the_attempt(on_stage: Stage, customer: str) -> None:
    on_stage.stripe.arm("rate_limit_429", count=PATIENCE.tries, match={"path": EVENTS})
    first, second = Watched(on_stage.sink()), Watched(on_stage.sink())

    on_stage.report(first)
    between = state(on_stage)
    on_stage.advance(minutes=5)
    on_stage.report(second)

    assert between == ("sending", "global-rate", 1)
    assert {key[-3:] for key in first.keys} == {":a1"}
    assert {key[-3:] for key in second.keys} == {":a2"}
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_long_outage_stops_the_run_and_is_told(on_stage: Stage) -> None:
    for number in range(12):
        tenant = f"tenant{number}"
        on_stage.insert(
            SEGMENTS, segment(f"s{number}", tenant_id=tenant, stripe_customer=on_stage.customer(tenant))
        )
        on_stage.insert(STDOUT, line(f"r{number}", tenant_id=tenant, **ONLY_INPUT))
    on_stage.stripe.arm("outage", count=1000, match={"path": EVENTS})
    on_stage.policy = replace(PATIENCE, failures_to_stop=4, parallel=2, tries=2)

    run = on_stage.report()

    assert run.error == "sending stopped: sink_unavailable"
    assert run.backlog == 12
    assert on_stage.injected("outage") < 12 * 2, "the rest must not be tried one by one"


def test_a_process_that_dies_after_the_call_sends_the_same_row_again(on_stage: Stage, customer: str) -> None:
    def die(event: MeterEvent) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        on_stage.report(Watched(on_stage.sink(), after=die))
    assert state(on_stage) == ("sending", None, 1)
    on_stage.advance(minutes=15)  # the dead run's lease ends

    run = on_stage.report(_Forgetful(on_stage.sink()))

    assert (run.sent, run.duplicates) == (1, 1)
    assert state(on_stage) == ("sent", "duplicate", 1)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_process_that_dies_before_the_first_call_loses_nothing(on_stage: Stage, customer: str) -> None:
    def die(event: MeterEvent) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        on_stage.report(Watched(on_stage.sink(), before=die))
    on_stage.advance(minutes=15)

    run = on_stage.report()

    assert (run.sent, run.duplicates) == (1, 0)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_row_of_unknown_outcome_is_not_sent_again_blindly_after_twenty_hours(
    on_stage: Stage, customer: str
) -> None:
    """Stripe forgets identifiers after a day: sent once more, it would count twice."""
    on_stage.stripe.arm("commit_then_drop", match={"path": EVENTS})
    on_stage.stripe.arm("outage", count=PATIENCE.tries - 1, match={"path": EVENTS})
    on_stage.report()
    assert state(on_stage)[:2] == ("sending", "unknown_outcome")
    on_stage.advance(hours=26)
    sink = Watched(on_stage.sink())

    run = on_stage.report(sink, depth="hourly")

    assert sink.keys == []
    assert (run.held, run.backlog, run.sent) == (1, 1, 0)
    assert on_stage.billed() == {(customer, INPUT): 100}


# --- definite refusals ------------------------------------------------------------------------


def test_a_refused_key_stops_everything_and_keeps_the_rows(on_stage: Stage, customer: str) -> None:
    run = on_stage.report(on_stage.sink("sk_wrong"))

    assert run.error == "sending stopped: credentials"
    assert (run.sent, run.backlog) == (0, 1)
    assert state(on_stage)[0] == "sending"
    assert on_stage.report().sent == 1


def test_an_archived_meter_keeps_its_rows_and_lets_the_others_pass(on_stage: Stage, customer: str) -> None:
    on_stage.insert(STDOUT, line("r2"))
    on_stage.stripe.client().v1.billing.meters.deactivate(on_stage.meters[INPUT])

    closed = on_stage.report()
    on_stage.stripe.client().v1.billing.meters.reactivate(on_stage.meters[INPUT])
    on_stage.advance(minutes=5)
    opened = on_stage.report()

    assert (closed.sent, closed.backlog) == (1, 1)
    assert (opened.sent, opened.backlog) == (1, 0)
    assert on_stage.billed() == {(customer, INPUT): 200, (customer, OUTPUT): 20}


def test_a_meter_that_is_missing_is_told_by_name(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    on_stage.insert(
        SEGMENTS,
        segment("b", tenant_id="bolt", stripe_customer=on_stage.customer("bolt"), items=[item("llm_x")]),
    )
    on_stage.stripe.client().v1.billing.meters.deactivate(on_stage.meters[INPUT])

    on_stage.report()

    assert '"event": "meter_closed"' in capsys.readouterr().out


def test_a_value_of_too_many_digits_is_given_up_and_counted(on_stage: Stage) -> None:
    cost: dict[str, Any] = {"charge_basis": "cost", "items": [item(COST)]}
    on_stage.insert(SEGMENTS, segment(stripe_customer=on_stage.customer(), **cost))
    costs = [line(f"r{n}", cost_nano_usd="9" * 15) for n in range(2)]
    on_stage.insert(STDOUT, *costs)

    run = on_stage.report()

    assert (run.rejected, run.sent, run.backlog) == (1, 0, 0)
    assert state(on_stage) == ("rejected", "meter_event_value_too_many_digits", 1)


def test_a_customer_that_is_known_to_be_gone_is_parked(on_stage: Stage, customer: str) -> None:
    run = on_stage.report(_Answering(Answer(Verdict.NO_CUSTOMER, "resource_missing")))

    assert (run.parked, run.backlog) == (1, 0)
    assert state(on_stage) == ("parked", "customer_not_found", 1)


def test_a_timestamp_ahead_of_stripe_is_tried_once_more(on_stage: Stage, customer: str) -> None:
    """Stripe's clock and this one differ by minutes: it passes, or it is a fault of ours."""
    sink = _Answering(Answer(Verdict.EARLY, "timestamp_in_future"))

    on_stage.report(sink)
    first = state(on_stage)
    on_stage.advance(minutes=10)
    run = on_stage.report(sink)

    assert first == ("sending", "timestamp_in_future", 1)
    assert (run.rejected, state(on_stage)) == (1, ("rejected", "timestamp_in_future", 2))


def test_a_refusal_that_never_ends_is_not_retried(on_stage: Stage, customer: str) -> None:
    run = on_stage.report(_Answering(Answer(Verdict.REFUSED, "idempotency_error")))
    again = on_stage.report(_Answering(Answer(Verdict.ACCEPTED)))

    assert (run.rejected, again.sent) == (1, 0)
    assert state(on_stage) == ("rejected", "idempotency_error", 1)


def test_an_identifier_that_is_not_ours_is_a_collision_and_stops(
    on_stage: Stage, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A duplicate means "there already" only where this ledger has sent it before."""
    on_stage.insert("ledger.ledger_epochs", {"ledger_epoch": "e1", "created_at": "2026-03-01T00:00:00Z"})
    use(on_stage.stripe.client(), customer, 7, f"u1:e1:acme:{INPUT}:1773151200:1", on_stage.now, meter=INPUT)

    run = on_stage.report()

    assert run.error == "sending stopped: collision"
    assert state(on_stage) == ("rejected", "collision", 1)
    assert '"reason": "collision"' in capsys.readouterr().out


def test_a_duplicate_that_another_run_of_this_ledger_sent_is_no_collision(
    on_stage: Stage, customer: str
) -> None:
    """Two runs at once, as when a lease ran out under a slow one."""
    inner: list[Any] = []

    def overtake(event: MeterEvent) -> None:
        if not inner:
            inner.append(None)
            on_stage.database.delete("leases", "usage_reporter")
            inner[0] = on_stage.report()

    run = on_stage.report(Watched(_Forgetful(on_stage.sink()), before=overtake))

    assert (inner[0].sent, run.rejected) == (1, 0)
    assert state(on_stage)[0] == "sent"
    assert on_stage.billed() == {(customer, INPUT): 100}


# --- when to send -----------------------------------------------------------------------------


def test_a_row_whose_invoice_closed_while_it_waited_is_parked(on_stage: Stage) -> None:
    """Sent now, it would be on no invoice."""
    on_stage.insert(SEGMENTS, segment(stripe_customer=on_stage.customer(), period_end="2026-03-10T15:00:00Z"))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    on_stage.stripe.arm("rate_limit_429", count=PATIENCE.tries, match={"path": EVENTS})
    on_stage.report()
    on_stage.go_to("2026-03-10T16:01:00Z")

    run = on_stage.report()

    assert (run.parked, run.backlog) == (1, 0)
    assert state(on_stage)[:2] == ("parked", "period_closed")
    assert on_stage.billed() == {}


def test_one_call_at_a_time_for_a_customer_and_meter_and_many_for_many(on_stage: Stage) -> None:
    for name in ("acme", "bolt"):
        on_stage.insert(SEGMENTS, segment(name, tenant_id=name, stripe_customer=on_stage.customer(name)))
    for hour in (11, 12, 13, 14):
        for name in ("acme", "bolt"):
            at = f"2026-03-10T{hour}:10:00Z"
            on_stage.insert(STDOUT, line(f"{name}{hour}", tenant_id=name, at=at, **ONLY_INPUT))
    flying: Counter[tuple[str, str]] = Counter()
    together = threading.Barrier(2, timeout=30)
    lock = threading.Lock()
    most: list[int] = []

    def takeoff(event: MeterEvent) -> None:
        with lock:
            flying[event.customer, event.meter] += 1
            most.append(max(flying.values()))
        together.wait()  # passes only if both customers are called at once

    def landing(event: MeterEvent) -> None:
        with lock:
            flying[event.customer, event.meter] -= 1

    run = on_stage.report(Watched(on_stage.sink(), before=takeoff, after=landing))

    assert run.sent == 8
    assert max(most) == 1
    assert set(on_stage.billed().values()) == {400}


def test_the_calls_do_not_grow_with_the_requests(on_stage: Stage, customer: str) -> None:
    on_stage.insert(STDOUT, *(line(f"many{n}", **ONLY_INPUT) for n in range(200)))
    sink = Watched(on_stage.sink())

    run = on_stage.report(sink)

    assert (run.sent, len(sink.keys)) == (1, 1)
    assert on_stage.billed() == {(customer, INPUT): 20_100}


def test_a_run_out_of_time_leaves_the_rest_to_the_next(on_stage: Stage, customer: str) -> None:
    on_stage.policy = replace(PATIENCE, budget_seconds=-1.0)

    run = on_stage.report()

    assert (run.sent, run.backlog, run.error) == (0, 1, None)
    assert state(on_stage) == ("sending", "not_called", 1)


@dataclass
class _Forgetful:
    """Sends under idempotency keys that Stripe has never seen, as when it has forgotten them."""

    inner: UsageSink
    calls: int = 0

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        """One call."""
        self.calls += 1
        return self.inner.send(event, f"{idempotency_key}:{self.calls}")


@dataclass
class _Answering:
    """A sink that gives one answer to everything: for answers that the double can't give."""

    answer: Answer

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        """The answer."""
        return self.answer
