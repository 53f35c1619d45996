"""``tallygate inbox``: what was given up can be seen and tried again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from tallygate.appdb import Database
from tallygate.cli.inbox import StateName
from tallygate.subscriptions import inbox
from tests.tallygate.cli.conftest import Run, parked


def due(database: Database) -> list[str]:
    return [row.event_id for row in inbox.due(database, datetime.now(UTC) + timedelta(minutes=1), 10)]


def test_parked_events_are_listed_with_their_reason(run: Run, database: Database) -> None:
    parked(database, "evt_1", "no_tenant", customer="cus_1")
    parked(database, "evt_2", "foreign_session")

    rows = json.loads(run("inbox", "list", "--json"))

    assert [(row["event_id"], row["reason"]) for row in rows] == [
        ("evt_1", "no_tenant"),
        ("evt_2", "foreign_session"),
    ]
    assert json.loads(run("inbox", "list", "--state", "waiting", "--json")) == []
    assert "evt_2" not in run("inbox", "list", "--reason", "no_tenant")


def test_an_event_is_shown_whole(run: Run, database: Database) -> None:
    parked(database, "evt_1", "no_tenant", customer="cus_1")

    assert json.loads(run("inbox", "show", "evt_1", "--json"))["customer"] == "cus_1"
    assert "reason  no_tenant" in run("inbox", "show", "evt_1")


def test_a_parked_event_that_is_retried_is_due_at_once(run: Run, database: Database) -> None:
    parked(database, "evt_1", "no_session")
    parked(database, "evt_2", "no_session")
    assert due(database) == []

    told = run("inbox", "retry", "evt_1")

    assert told == "evt_1 waits for the next run of the sync\n"
    assert due(database) == ["evt_1"]


def test_all_of_one_reason_are_retried_together(run: Run, database: Database) -> None:
    for number, reason in enumerate(("no_session", "no_session", "no_tenant")):
        parked(database, f"evt_{number}", reason)

    retried = json.loads(run("inbox", "retry", "--all", "--reason", "no_session", "--json"))

    assert [row["event_id"] for row in retried] == ["evt_0", "evt_1"] == sorted(due(database))
    assert run("inbox", "retry", "--all", "--reason", "no_session") == "no event is parked\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("show", "evt_9"), "there is no event evt_9"),
        (("retry", "evt_9"), "there is no event evt_9"),
        (("retry",), "say either an event or --all"),
        (("retry", "evt_1", "--all"), "say either an event or --all"),
        (("list", "--state", "lost"), "'lost' is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, database: Database, arguments: tuple[str, ...], problem: str
) -> None:
    parked(database, "evt_1", "no_session")

    assert problem in run("inbox", *arguments)


def test_what_is_not_parked_is_not_retried(run: Run, database: Database) -> None:
    parked(database, "evt_1", "no_session")
    run("inbox", "retry", "evt_1")

    assert "evt_1 is waiting, not parked" in run("inbox", "retry", "evt_1")


def test_the_states_are_those_of_the_inbox() -> None:
    assert [state.value for state in StateName] == list(get_args(inbox.State)), (
        "tallygate/cli/inbox.py and tallygate/subscriptions/inbox.py differ"
    )
