"""Usage that moves after it was sealed: what is billed follows, and no sealed row changes."""

from __future__ import annotations

from typing import Any, Final

from tests.sql.cases import INPUT, ONLY_INPUT, item, line, segment
from tests.support.stage import Stage

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
SEGMENTS: Final = "ledger.billing_segments"
BOUNDARY: Final = "2026-03-10T14:20:00Z"
LATER: Final = "2026-03-10T14:25:00Z"


def totals(stage: Stage, disposition: str) -> int:
    """The sum of a disposition's rows."""
    return sum(row["value"] for row in stage.deltas() if row["disposition"] == disposition)


def test_a_boundary_learned_late_moves_what_was_billed_to_the_new_customer(on_stage: Stage) -> None:
    old, new = on_stage.customer(), on_stage.customer()
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=old))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT), line("r2", at=LATER, **ONLY_INPUT))
    on_stage.report()
    frozen = on_stage.deltas()
    before = on_stage.billed()
    on_stage.insert(SEGMENTS, segment("b", stripe_customer=new, valid_from=BOUNDARY, known_at=LATER))
    on_stage.advance(minutes=5)

    run = on_stage.report()
    again = on_stage.report()

    assert before == {(old, INPUT): 200}
    assert (run.error, run.sealed, run.sent, run.stopped_buckets) == (None, 2, 2, 0)
    assert on_stage.billed() == {(old, INPUT): 100, (new, INPUT): 100}
    assert on_stage.deltas()[: len(frozen)] == frozen
    pair = on_stage.deltas()[len(frozen) :]
    assert sorted(row["value"] for row in pair) == [-100, 100]
    assert len({row["correction_id"] for row in pair}) == 1
    assert again.sealed == 0


def test_usage_parked_without_a_segment_is_billed_when_it_is_known(on_stage: Stage) -> None:
    customer = on_stage.customer()
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=customer, valid_from="2026-03-10T14:28:00Z"))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    parked = on_stage.report()
    held = totals(on_stage, "parked")
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=customer, known_at=LATER))

    run = on_stage.report()

    assert (parked.parked, held) == (1, 100)
    assert run.sent == 1
    assert (totals(on_stage, "parked"), totals(on_stage, "billable")) == (0, 100)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_usage_parked_for_want_of_an_item_is_billed_when_there_is_one(on_stage: Stage) -> None:
    customer = on_stage.customer()
    nothing: dict[str, Any] = {"items": []}
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=customer, **nothing))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    on_stage.report()
    repaired: dict[str, Any] = {"items": [item(INPUT)], "known_at": LATER}
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=customer, **repaired))

    run = on_stage.report()

    assert (run.sent, totals(on_stage, "parked")) == (1, 0)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_negative_row_whose_answer_is_lost_counts_once(on_stage: Stage) -> None:
    """Version 1 of the API, which takes it, keeps its 500: the same key gets the same answer."""
    old, new = on_stage.customer(), on_stage.customer()
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=old))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT), line("r2", at=LATER, **ONLY_INPUT))
    on_stage.report()
    on_stage.insert(SEGMENTS, segment("b", stripe_customer=new, valid_from=BOUNDARY, known_at=LATER))
    on_stage.stripe.arm("commit_then_500", match={"path": "/v1/billing/meter_events"})
    on_stage.advance(minutes=5)

    run = on_stage.report()
    on_stage.advance(minutes=5)
    again = on_stage.report()

    assert on_stage.injected("commit_then_500") == 1
    assert (run.backlog, again.backlog) == (1, 1), "unknown until the summaries tell"
    assert on_stage.billed() == {(old, INPUT): 100, (new, INPUT): 100}


def refused(stage: Stage) -> None:
    """Stripe has told that it does not know the customer of the only row."""
    (row,) = stage.deltas()
    note = {"identifier": row["identifier"], "usage_hour": row["usage_hour"].isoformat(), "run_id": "r"}
    told = {"attempt": 1, "state": "rejected", "reason": "meter_event_customer_not_found"}
    stage.insert("ledger.meter_deliveries", note | told | {"at": "2026-03-10T14:31:00Z"})


def test_usage_of_a_customer_that_is_gone_is_billed_to_the_tenant_s_new_one(on_stage: Stage) -> None:
    gone, new = on_stage.customer(), on_stage.customer()
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=gone))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    on_stage.report()
    refused(on_stage)
    on_stage.advance(minutes=5)
    waiting = on_stage.report()
    bound = "2026-03-10T14:34:00Z"
    on_stage.insert(SEGMENTS, segment("b", stripe_customer=new, valid_from=bound, known_at=bound))

    run = on_stage.report()
    again = on_stage.report()

    assert (waiting.sealed, run.sealed, run.sent, again.sealed) == (0, 2, 1, 0)
    assert on_stage.billed()[new, INPUT] == 100
    assert (totals(on_stage, "billable"), totals(on_stage, "parked")) == (200, -100)
    assert {row["value"] for row in on_stage.deltas() if row["late"]} == {100, -100}


def test_usage_of_a_customer_that_is_back_is_sent_again_once(on_stage: Stage) -> None:
    """The sync has read the customer again: a segment's newest row is younger than the refusal."""
    customer = on_stage.customer()
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=customer))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    on_stage.report()
    refused(on_stage)
    on_stage.advance(minutes=5)
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=customer, known_at="2026-03-10T14:33:00Z"))

    run = on_stage.report()
    again = on_stage.report()

    assert (run.sealed, run.sent, again.sealed) == (2, 1, 0)


def test_a_replay_tries_a_missing_customer_again(on_stage: Stage) -> None:
    """A person says that it is there: the key of another account was in use, for example."""
    on_stage.insert(SEGMENTS, segment("a", stripe_customer=on_stage.customer()))
    on_stage.insert(STDOUT, line("r1", **ONLY_INPUT))
    on_stage.report()
    refused(on_stage)
    on_stage.advance(minutes=5)

    scheduled = on_stage.report(depth="daily")
    run = on_stage.report(from_="2026-03-10T14:00:00Z", to="2026-03-10T15:00:00Z")

    assert (scheduled.sealed, run.sealed, run.sent) == (0, 2, 1)
