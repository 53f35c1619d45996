"""Proposed repairs: decided by a person, carried out once, refused when they no longer hold."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.metering.window import RequestError
from tallygate.reconciliation import repairs
from tallygate.reconciliation.decisions import Decision, caller_of, decide, decision_from
from tallygate.reconciliation.reconcile import reconcile
from tallygate.reconciliation.repairs import Plan, Repair, Subject
from tests.sql.cases import INPUT
from tests.support.invoiced import final_invoice, subscribe, use_twice
from tests.support.memory_database import MemoryDatabase
from tests.support.stage import BEGIN, Stage

EVENTS: Final = "/v1/billing/meter_events"


@pytest.fixture
def customer(on_stage: Stage) -> str:
    """The customer of tenant acme, which has used 200 input tokens; a token costs a cent."""
    made = subscribe(on_stage, cents="1")
    use_twice(on_stage)
    return made


def by_hand(
    stage: Stage, customer: str, value: int, at: datetime | None = None, identifier: str = "by hand"
) -> None:
    """Someone sends usage that the ledger does not know, into the hour of the ledger's rows."""
    stage.stripe.client().v1.billing.meter_events.create(
        {
            "event_name": INPUT,
            "identifier": identifier,
            "timestamp": int((at or stage.now).timestamp()),
            "payload": {"stripe_customer_id": customer, "value": str(value)},
        }
    )


def compare(stage: Stage, depth: str = "hourly") -> None:
    """Two runs, far enough apart to be sure."""
    stage.advance(hours=3)
    reconcile(stage.reconciler(), depth)
    stage.advance(hours=6)
    assert reconcile(stage.reconciler(), depth).error is None


def proposal(stage: Stage) -> Repair:
    """The only one that waits."""
    (found,) = [one for one in repairs.every(stage.database) if one.undone]
    return found


def approve(stage: Stage, repair: Repair, **changes: Any) -> tuple[dict[str, Any], int]:
    """A person's approval, as the function takes it."""
    given: dict[str, Any] = {"approve": True, "by": "finance", "comment": None, "caller": None}
    return decide(stage.reconciler(), Decision(repair_id=repair.repair_id, **(given | changes)))


def comparisons(stage: Stage, kind: str) -> list[dict[str, Any]]:
    """The ledger's results of a kind."""
    return [row for row in stage.rows("ledger.reconciliations", "checked_at") if row["kind"] == kind]


def test_an_approved_excess_is_taken_back_by_one_negative_event(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, 7)
    compare(on_stage)
    repair = proposal(on_stage)

    answer, status = approve(on_stage, repair, caller="who@example.com")
    again, _ = approve(on_stage, repair, by="someone else")

    assert (status, answer["state"], again["state"]) == (200, "done", "done")
    assert on_stage.billed() == {(customer, INPUT): 200}
    (sent,) = [event for event in on_stage.events() if event["identifier"] == repair.identifier]
    assert sent["value"] == "-7"
    done = repairs.get(on_stage.database, repair.repair_id)
    assert done is not None
    assert (done.decided_by, done.caller, done.decided_at) == ("finance", "who@example.com", on_stage.now)
    (kept,) = comparisons(on_stage, "repair")
    assert (kept["action"], kept["difference"]) == ("repaired", 7)
    assert "by finance; as who@example.com" in kept["detail"]
    on_stage.advance(hours=7)
    run = reconcile(on_stage.reconciler(), "hourly")
    assert (run.compared.confirmed, run.compared.proposed) == (1, 0)


def test_what_is_missing_is_sent_again_under_the_repair_s_own_identifier(
    on_stage: Stage, customer: str
) -> None:
    by_hand(on_stage, customer, -7)
    compare(on_stage)
    repair = proposal(on_stage)

    approve(on_stage, repair)

    assert repair.difference == -7
    assert on_stage.billed() == {(customer, INPUT): 200}


@pytest.mark.parametrize("fault", ["commit_then_drop", "commit_then_500"])
def test_an_event_whose_answer_is_lost_counts_once(on_stage: Stage, customer: str, fault: str) -> None:
    by_hand(on_stage, customer, 7)
    compare(on_stage)
    repair = proposal(on_stage)
    on_stage.stripe.arm(fault, match={"path": EVENTS})

    lost, status = approve(on_stage, repair)
    between = on_stage.billed()
    again, _ = approve(on_stage, repair)

    assert (status, lost["error"].partition(":")[0]) == (500, "OutcomeUnknownError")
    assert again["state"] == "done"
    assert on_stage.billed() == between == {(customer, INPUT): 200}


def test_an_event_that_never_arrived_is_sent_at_the_next_approval(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, 7)
    compare(on_stage)
    repair = proposal(on_stage)
    on_stage.stripe.arm("outage", match={"path": EVENTS})

    _, status = approve(on_stage, repair)
    on_stage.advance(hours=30)  # Stripe has forgotten every identifier
    again, _ = approve(on_stage, repair)

    assert (status, again["state"]) == (500, "done")
    assert on_stage.billed() == {(customer, INPUT): 200}


def test_a_difference_that_is_another_one_by_now_is_not_repaired(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, 7)
    compare(on_stage)
    repair = proposal(on_stage)
    by_hand(on_stage, customer, 5, repair.booked_at, "once more")
    on_stage.advance(hours=1)

    answer, status = approve(on_stage, repair)
    compare(on_stage)
    compare(on_stage)

    assert status == 409
    assert "the difference is 12 now, not 7" in answer["error"]
    assert on_stage.billed() == {(customer, INPUT): 212}
    assert proposal(on_stage).difference == 12


def test_no_event_makes_a_period_s_total_negative(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, 7)
    compare(on_stage)
    repair = proposal(on_stage)
    by_hand(on_stage, customer, -205, on_stage.now, "elsewhere")
    on_stage.advance(hours=1)

    answer, status = approve(on_stage, repair)

    assert status == 409
    assert "below zero" in answer["error"]
    assert proposal(on_stage).state == "pending"


def test_an_excess_on_a_final_invoice_is_credited_once(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, 50)
    invoice = final_invoice(on_stage, customer)
    reconcile(on_stage.reconciler(), "daily")
    repair = proposal(on_stage)
    on_stage.stripe.arm("commit_then_drop", match={"path": "/v1/credit_notes", "method": "POST"}, count=3)

    approve(on_stage, repair)
    approve(on_stage, repair)
    approve(on_stage, repair)

    assert (repair.kind, repair.remedy, repair.difference, repair.amount_cents) == (
        "invoice", "credit_note", 50, 50,
    )  # fmt: skip
    (note,) = on_stage.stripe.client().v1.credit_notes.list({"invoice": invoice}).data
    assert note.amount == 50
    assert on_stage.billed() == {(customer, INPUT): 250}, "no meter event after the invoice"
    on_stage.advance(days=1)
    reconcile(on_stage.reconciler(), "daily")
    on_stage.advance(days=1)
    run = reconcile(on_stage.reconciler(), "daily")
    assert (run.compared.proposed, run.compared.settled) == (0, 1), "the hour differs for good"


def test_what_a_final_invoice_lacks_is_charged_on_the_next_one(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, -50)
    final_invoice(on_stage, customer)
    reconcile(on_stage.reconciler(), "daily")
    repair = proposal(on_stage)

    approve(on_stage, repair)
    approve(on_stage, repair)

    assert (repair.remedy, repair.difference) == ("invoice_item", -50)
    (made,) = on_stage.stripe.client().v1.invoice_items.list({"customer": customer}).data
    assert (made.amount, made.metadata and made.metadata["repair_id"]) == (50, repair.repair_id)


def test_an_event_is_not_sent_once_the_invoice_is_final(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, 7)
    compare(on_stage)
    repair = proposal(on_stage)
    final_invoice(on_stage, customer)

    answer, status = approve(on_stage, repair)
    reconcile(on_stage.reconciler(), "daily")

    assert status == 409
    assert "is final now" in answer["error"]
    assert on_stage.billed() == {(customer, INPUT): 207}
    assert proposal(on_stage).remedy == "credit_note"


def test_a_rejected_repair_is_not_proposed_again(on_stage: Stage, customer: str) -> None:
    by_hand(on_stage, customer, 7)
    compare(on_stage)
    repair = proposal(on_stage)

    answer, _ = approve(on_stage, repair, approve=False, comment="a gift")
    late, status = approve(on_stage, repair)
    on_stage.advance(hours=7)
    run = reconcile(on_stage.reconciler(), "hourly")

    assert answer["state"] == "rejected"
    assert status == 409
    assert "is rejected (by finance)" in late["error"]
    assert (run.compared.proposed, run.compared.settled) == (0, 1)
    assert on_stage.billed() == {(customer, INPUT): 207}


def test_a_decision_beside_a_run_waits_for_it(on_stage: Stage) -> None:
    on_stage.database.put(
        "leases", "usage_reconciler", {"holder": "other", "expires_at": "2026-03-10T23:00:00Z"}
    )
    nothing = Decision("summary:x", approve=True, by="finance", comment=None, caller=None)

    answer, status = decide(on_stage.reconciler(), nothing)

    assert (status, answer["skipped"]) == (200, True)


def test_a_repair_that_there_is_not_is_said_to_be_missing(on_stage: Stage) -> None:
    nothing = Decision("summary:x", approve=True, by="finance", comment=None, caller=None)

    answer, status = decide(on_stage.reconciler(), nothing)

    assert status == 409
    assert "there is no repair 'summary:x'" in answer["error"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"by": ""}, "by: is missing"),
        ({"by": 7}, "by: must be a text"),
        ({"comment": "x" * 501}, "comment: must be a text"),
        ({"repair": ""}, "repair: is missing"),
        ({"decision": "maybe"}, "decision: must be approve or reject"),
        ({"depth": "daily"}, "depth: is not known"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(changes: dict[str, Any], problem: str) -> None:
    body = {"repair": "summary:x", "decision": "approve", "by": "finance"} | changes

    with pytest.raises(RequestError, match=problem):
        decision_from(body, "")


def test_the_caller_is_whom_the_verified_token_names() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"email": "who@example.com"}).encode()).decode().rstrip("=")

    assert caller_of(f"Bearer head.{claims}.SIGNATURE_REMOVED_BY_GOOGLE") == "who@example.com"
    assert [caller_of(text) for text in ("", "Bearer x", "Bearer a.%%.c", "Bearer a.W10=.c")] == [None] * 4


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.sampled_from(["done", "rejected", "pending"])), max_size=8)
)
def test_a_gap_is_made_good_exactly_once_however_it_grows(steps: list[tuple[int, str]]) -> None:
    """A final line's difference goes on showing after it was credited: what is proposed is the rest alone."""
    database = MemoryDatabase()
    gap, now = 0, BEGIN
    for change, decision in steps:
        gap, now = gap + change, now + timedelta(days=2)
        subject = Subject(
            kind="invoice", tenant_id="acme", stripe_customer="cus_1", meter=INPUT, window_start=BEGIN,
            window_end=now, ledger_value=0, witness_value=gap,
        )  # fmt: skip
        known = repairs.of_key(database, subject.key)
        if repairs.standing(known, gap, now) is not None or gap == repairs.settled(known):
            continue
        plan = Plan(remedy="credit_note", booked_at=BEGIN)
        made = repairs.propose(database, subject, plan, now=now, run_id="r")
        if decision == "pending":
            continue
        repairs.decide(
            database, made.repair_id, approve=decision == "done", by="x", caller=None, comment=None, now=now
        )
        if decision == "done":
            repairs.finish(database, made.repair_id, "cn_1", now)
            assert repairs.settled(repairs.of_key(database, subject.key)) == gap

    waiting = [one for one in repairs.every(database) if one.state == "pending"]
    assert len(waiting) <= 1
