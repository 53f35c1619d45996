"""Rows of old hours that a replay made are sent and compared like all others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from tallygate.metering.reach import REMEMBERED, note_reach, reach
from tallygate.reconciliation.reconcile import reconcile
from tests.sql.cases import INPUT, ONLY_INPUT, line, segment
from tests.support.memory_database import MemoryDatabase
from tests.support.stage import BEGIN, Stage

OLD: Final = "2026-01-05T10:10:00Z"
REPLAY: Final[dict[str, Any]] = {"from_": "2026-01-05T10:00:00Z", "to": "2026-01-05T11:00:00Z"}


@pytest.fixture
def customer(on_stage: Stage) -> str:
    """The customer of tenant acme, who has used 100 input tokens two months ago, and nobody knew."""
    made = on_stage.customer()
    january = segment(
        "a", stripe_customer=made, valid_from="2026-01-01T00:00:00Z", period_start="2026-01-01T00:00:00Z",
        period_end="2026-02-01T00:00:00Z", valid_to="2026-02-01T00:00:00Z",
    )  # fmt: skip
    on_stage.insert("ledger.billing_segments", january, segment("b", stripe_customer=made))
    on_stage.insert("usage_raw.run_googleapis_com_stdout", line("r1", at=OLD, **ONLY_INPUT))
    return made


def test_a_replay_of_an_old_hour_that_died_before_sending_is_sent_by_the_daily_run(
    on_stage: Stage, customer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tallygate.metering.report._send", dies)
    with pytest.raises(KeyboardInterrupt):
        on_stage.report(**REPLAY)
    monkeypatch.undo()
    on_stage.advance(minutes=11)

    hourly = on_stage.report(depth="hourly")
    daily = on_stage.report(depth="daily")

    assert (hourly.sent, daily.sent) == (0, 1)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_what_an_old_replay_booked_now_is_compared_with_its_hour(on_stage: Stage, customer: str) -> None:
    """Else Stripe would seem to count too much of the hour of booking, and a repair would be proposed."""
    on_stage.insert("usage_raw.run_googleapis_com_stdout", line("r2", **ONLY_INPUT))
    on_stage.report()
    on_stage.report(**REPLAY)
    on_stage.advance(hours=3)

    reconcile(on_stage.reconciler(), "hourly")
    on_stage.advance(hours=6)
    run = reconcile(on_stage.reconciler(), "hourly")

    assert (run.compared.proposed, run.compared.waiting) == (0, 0)
    assert {row["delivery"] for row in on_stage.deliveries() if row["disposition"] == "billable"} == {
        "confirmed"
    }
    assert on_stage.billed() == {(customer, INPUT): 200}


def test_a_mark_reaches_as_far_as_the_oldest_replay_of_late() -> None:
    database = MemoryDatabase()
    ordinary = BEGIN - timedelta(days=36)
    note_reach(database, BEGIN - timedelta(days=30), BEGIN)  # looked at anyway
    before = reach(database, ordinary, BEGIN)

    note_reach(database, BEGIN - timedelta(days=100), BEGIN)
    note_reach(database, BEGIN - timedelta(days=50), BEGIN)

    assert before == ordinary
    assert reach(database, ordinary, BEGIN) == BEGIN - timedelta(days=100)
    assert reach(database, ordinary, BEGIN + REMEMBERED + timedelta(days=1)) == ordinary
