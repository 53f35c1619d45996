"""``tallygate repairs`` on a gateway whose reconciler has proposed one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Final

import pytest

from tallygate.cli.errors import OperatorError
from tallygate.clock import rfc3339
from tallygate.reconciliation import repairs
from tallygate.reconciliation.repairs import Plan, Repair, Subject
from tests.sql.cases import INPUT
from tests.support.stage import BEGIN, Stage
from tests.support.stage_fixtures import bigquery_host, on_stage, stripe_host
from tests.support.tool import Tool, calling

__all__ = ["bigquery_host", "on_stage", "stripe_host"]


HOUR: Final = BEGIN.replace(minute=0)


@pytest.fixture
def tool(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """The command; its calls reach the function without a network."""
    return calling("usage_reconciler", "TALLYGATE_RECONCILER_URL", on_stage, monkeypatch)


@pytest.fixture
def proposed(on_stage: Stage) -> Repair:
    subject = Subject(
        kind="summary", tenant_id="acme", stripe_customer=on_stage.customer(), meter=INPUT,
        window_start=HOUR, window_end=HOUR + timedelta(hours=1), ledger_value=100, witness_value=107,
    )  # fmt: skip
    plan = Plan(remedy="meter_event", booked_at=BEGIN, period_start=BEGIN, period_end=BEGIN)
    return repairs.propose(on_stage.database, subject, plan, now=BEGIN, run_id="r")


def test_what_waits_is_listed_and_shown(tool: Tool, on_stage: Stage, proposed: Repair) -> None:
    other = Subject(
        kind="summary", tenant_id="acme", stripe_customer="cus_2", meter=INPUT, window_start=BEGIN,
        window_end=BEGIN, ledger_value=1, witness_value=2,
    )  # fmt: skip
    gone = repairs.propose(
        on_stage.database, other, Plan(remedy="none", booked_at=BEGIN), now=BEGIN, run_id="r"
    )
    repairs.withdraw(on_stage.database, gone.repair_id)

    (waiting,) = json.loads(tool("repairs", "list", "--json"))
    every = json.loads(tool("repairs", "list", "--state", "all", "--json"))
    (shown,) = json.loads(tool("repairs", "show", proposed.repair_id, "--json"))

    assert waiting["repair_id"] == proposed.repair_id
    assert (waiting["difference"], waiting["remedy"]) == (7, "meter_event")
    assert {one["state"] for one in every} == {"pending", "superseded"}
    assert (shown["ledger_value"], shown["witness_value"]) == (100, 107)
    assert shown["proposed_at"] == rfc3339(BEGIN)
    assert proposed.repair_id in tool("repairs", "show", proposed.repair_id)


def test_a_rejection_is_kept_with_who_and_why(tool: Tool, on_stage: Stage, proposed: Repair) -> None:
    said = tool("repairs", "reject", proposed.repair_id, "--by", "finance", "--comment", "a gift", "--yes")

    kept = repairs.get(on_stage.database, proposed.repair_id)
    assert "state=rejected" in said
    assert kept is not None
    assert (kept.state, kept.decided_by, kept.comment) == ("rejected", "finance", "a gift")


def test_an_approval_asks_first_and_is_refused_when_it_no_longer_holds(
    tool: Tool, on_stage: Stage, proposed: Repair
) -> None:
    """Stripe counts nothing in that hour, and neither does the ledger."""
    with pytest.raises(OperatorError, match=r"Send a meter event of -7 llm_input_tokens for acme\?.*--yes"):
        tool("repairs", "approve", proposed.repair_id, "--by", "finance")
    untouched = repairs.get(on_stage.database, proposed.repair_id)

    with pytest.raises(OperatorError, match="the difference is 0 now, not 7"):
        tool("repairs", "approve", proposed.repair_id, "--by", "finance", "--yes")

    kept = repairs.get(on_stage.database, proposed.repair_id)
    assert untouched is not None
    assert kept is not None
    assert (untouched.state, kept.state) == ("pending", "superseded")
    assert on_stage.events() == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["list", "--state", "lost"], "--state must be one of"),
        (["show", "summary:x"], "there is no repair 'summary:x'"),
        (["approve", "summary:x", "--by", "finance"], "there is no repair 'summary:x'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    tool: Tool, arguments: list[str], problem: str
) -> None:
    with pytest.raises(OperatorError, match=problem):
        tool("repairs", *arguments)


def test_the_function_s_address_is_needed(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALLYGATE_RECONCILER_URL")

    with pytest.raises(OperatorError, match="TALLYGATE_RECONCILER_URL: set it"):
        tool("repairs", "approve", "summary:x", "--by", "finance")
