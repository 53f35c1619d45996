"""What waits after an outage of Stripe is sent in time, though usage goes on.

A twentieth of 1,000 tenants with 3 meters and of 200 calls a second; the clock is moved by calls and jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tallygate.clock import rfc3339
from tallygate.metering import send
from tallygate.metering.report import Run, report
from tallygate.metering.send import SendPolicy
from tallygate.metering.sinks import Answer, MeterEvent, Verdict
from tallygate.metering.warehouse import Warehouse
from tests.sql.cases import INPUT, OUTPUT, item, line, segment
from tests.support.stage import GRACE, Stage

SCALE: Final = 20
TENANTS: Final = 1000 // SCALE
CALLS_A_SECOND: Final = 200 / SCALE
JOB_SECONDS: Final = 2.0
"""What a job of BigQuery is taken to last."""
OUTAGE: Final = timedelta(hours=6)
STEP: Final = timedelta(minutes=5)
METERS: Final = (INPUT, "llm_cached_input_tokens", OUTPUT)
DEFAULTS: Final = SendPolicy(closes_after=GRACE)
POLICY: Final = SendPolicy(
    closes_after=GRACE,
    batch_rows=DEFAULTS.batch_rows // SCALE,
    row_limit=DEFAULTS.row_limit // SCALE,
    enough_rows=DEFAULTS.enough_rows // SCALE,
    parallel=1,
    tries=1,
    backoff_seconds=0.0,
)


@dataclass(slots=True)
class Sink:
    """Takes so many calls a second, or none at all."""

    stage: Stage
    down: bool = False
    taken: int = 0

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        self.stage.clock.advance(seconds=1 / CALLS_A_SECOND)
        if self.down:
            return Answer(Verdict.BUSY, "unavailable")
        self.taken += 1
        return Answer(Verdict.ACCEPTED)


@pytest.fixture
def slow_jobs(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs take their time, and a run's budget is that of the clock."""

    class Time:
        @staticmethod
        def monotonic() -> float:
            return on_stage.now.timestamp()

    monkeypatch.setattr(send, "time", Time)
    for name in ("read", "write"):
        work = getattr(Warehouse, name)

        def slow(self: Warehouse, *given: Any, _work: Any = work, **named: Any) -> Any:
            on_stage.clock.advance(seconds=JOB_SECONDS)
            return _work(self, *given, **named)

        monkeypatch.setattr(Warehouse, name, slow)


@pytest.mark.soak
def test_six_hours_without_stripe_are_made_good_within_half_an_hour(on_stage: Stage, slow_jobs: None) -> None:
    begin = datetime(2026, 3, 10, 6, tzinfo=UTC)
    on_stage.go_to(rfc3339(begin))
    on_stage.insert("ledger.billing_segments", *(_segment(number) for number in range(TENANTS)))
    sink = Sink(on_stage)
    drained_after: timedelta | None = None
    most = 0

    for step in range((OUTAGE + timedelta(hours=1)) // STEP):
        at = begin + step * STEP
        on_stage.go_to(rfc3339(max(at, on_stage.now)))
        sink.down = step >= 1 and at <= begin + OUTAGE
        _use(on_stage, step)
        if at.minute == 5:
            _run(on_stage, sink, "hourly")
        backlog = _run(on_stage, sink, "recent")
        most = max(most, backlog)
        if at > begin + OUTAGE and backlog == 0:
            drained_after = on_stage.now - (begin + OUTAGE)
            break

    print(
        f"at most {SCALE * most:,} rows waited, drained after {drained_after}, {SCALE * sink.taken:,} calls"
    )
    assert most > POLICY.enough_rows, "the outage was too small to show anything"
    assert drained_after is not None
    assert drained_after < timedelta(minutes=30)


def test_while_enough_rows_wait_the_recent_run_seals_no_more(on_stage: Stage) -> None:
    """What comes meanwhile is sealed by the hourly run, or when the rows are sent; nothing is lost."""
    policy = SendPolicy(closes_after=GRACE, enough_rows=2, row_limit=1, backoff_seconds=0.0, tries=1)
    on_stage.insert("ledger.billing_segments", _segment(0))
    sink = Sink(on_stage, down=True)

    def run(depth: str = "recent") -> Run:
        return report(on_stage.reporter(sink, policy=policy), on_stage.window(depth=depth))

    _use(on_stage, 1, tenants=1)
    first = run()
    on_stage.advance(hours=1)
    _use(on_stage, 2, tenants=1)
    second = run()
    sink.down = False
    hourly = run("hourly")
    while (last := run()).backlog:
        pass

    assert (first.sealed, first.postponed, first.backlog) == (4, 0, 1)
    assert (second.sealed, second.postponed, second.backlog) == (0, 4, 3)
    assert (hourly.sealed, hourly.postponed) == (4, 0)
    assert last.error is None
    assert sum(row["value"] for row in on_stage.deltas()) == 2 * (100 + 10 + 20 + 5000)
    assert sink.taken == 6


def _run(stage: Stage, sink: Sink, depth: str) -> int:
    run = report(stage.reporter(sink, policy=POLICY), stage.window(depth=depth))
    assert run.error == ("sending stopped: sink_unavailable" if sink.down else None)
    return run.backlog


def _use(stage: Stage, step: int, tenants: int = TENANTS) -> None:
    at = rfc3339(stage.now - timedelta(minutes=1))
    counts = {"cached_input_tokens": 10, "total_tokens": 130}
    rows = [
        line(f"r{step}-{number}", tenant_id=f"tenant-{number}", at=at, **counts) for number in range(tenants)
    ]
    stage.insert("usage_raw.run_googleapis_com_stdout", *rows)


def _segment(number: int) -> dict[str, Any]:
    return segment(
        f"seg-{number}",
        tenant_id=f"tenant-{number}",
        stripe_customer=f"cus_{number}",
        subscription_id=f"sub_{number}",
        items=[item(meter) for meter in METERS],
    )
