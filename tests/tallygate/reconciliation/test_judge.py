"""What a difference means: a table of hours, and rules that hold for any hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.reconciliation.judge import Finding, HourRow, judge, ledger_value

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
HELD_SINCE = NOW - timedelta(hours=20)
LONG_AGO = NOW - timedelta(hours=30)


def row(value: int, delivery: str = "sent", name: str = "a", **changes: Any) -> HourRow:
    """A row, sent an hour ago."""
    given: dict[str, Any] = {
        "identifier": name,
        "value": value,
        "delivery": delivery,
        "delivery_reason": None,
        "attempt": 1,
        "noted_at": NOW - timedelta(hours=1),
        "unknown_since": None,
    }
    return HourRow(**(given | changes))


def unknown(value: int, name: str = "u", since: datetime = LONG_AGO) -> HourRow:
    """A row whose outcome is unknown."""
    return row(value, "sending", name, delivery_reason="unknown_outcome", unknown_since=since, noted_at=since)


def found(rows: list[HourRow], stripe_value: int, *, seen_before: bool = True) -> Finding:
    """The finding of an hour."""
    return judge(rows, stripe_value, seen_before=seen_before, now=NOW, held_since=HELD_SINCE)


def noted(finding: Finding) -> list[tuple[str, str, str | None]]:
    """Identifier, state and reason of each note."""
    return [(note.identifier, note.state, note.reason) for note in finding.notes]


def test_equal_sums_confirm_at_the_first_read() -> None:
    assert found([row(5), row(7, "confirmed", "b")], 12, seen_before=False) == Finding("confirmed")


@pytest.mark.parametrize("stripe_value", [0, 4, 6, 100])
def test_one_read_proves_no_difference(stripe_value: int) -> None:
    assert found([row(5)], stripe_value, seen_before=False) == Finding("waiting")


def test_while_something_is_under_way_nothing_is_judged() -> None:
    fresh = NOW - timedelta(minutes=30)

    assert found([row(5), unknown(7, since=fresh)], 12).action == "waiting"
    assert found([row(5), row(7, "unsent", "b")], 0).action == "waiting"


def test_a_row_of_unknown_outcome_that_stripe_counts_is_sent() -> None:
    finding = found([row(5), unknown(7)], 12)

    assert finding.action == "found"
    assert noted(finding) == [("u", "sent", "found")]


def test_a_row_of_unknown_outcome_that_stripe_does_not_count_may_be_sent_again() -> None:
    finding = found([row(5), unknown(7)], 5)

    assert finding.action == "resent"
    assert noted(finding) == [("u", "sending", "not_found")]


def test_of_several_that_are_not_there_all_are_sent_again() -> None:
    older = unknown(3, "older", LONG_AGO - timedelta(hours=1))

    assert noted(found([unknown(7), older], 0)) == [
        ("older", "sending", "not_found"),
        ("u", "sending", "not_found"),
    ]


def test_of_several_those_that_make_the_difference_are_there() -> None:
    finding = found([unknown(1, "a"), unknown(2, "b"), unknown(4, "c")], 5)

    assert noted(finding) == [("a", "sent", "found"), ("c", "sent", "found")]


def test_which_of_two_equal_rows_is_there_is_decided_when_stripe_has_forgotten_both() -> None:
    recent = NOW - timedelta(hours=22)

    assert found([unknown(7, "a", recent), unknown(7, "b", recent)], 7).action == "waiting"
    assert noted(found([unknown(7, "a"), unknown(7, "b")], 7)) == [("a", "sent", "found")]


def test_a_difference_that_no_rows_make_is_for_a_person() -> None:
    finding = found([row(5), unknown(7)], 8)

    assert (finding.action, finding.notes) == ("proposed", ())


def test_a_row_that_stripe_accepted_and_does_not_count_is_sent_again() -> None:
    finding = found([row(5, name="lost"), row(7, "confirmed", "b")], 7)

    assert noted(finding) == [("lost", "sending", "not_found")]


def test_which_row_is_missing_must_be_plain() -> None:
    assert found([row(5, name="a"), row(5, name="b")], 5).action == "proposed"
    assert found([row(5, "confirmed")], 0).action == "proposed"


def test_a_row_given_up_that_arrived_is_sent() -> None:
    finding = found([row(5), row(7, "parked", "late", delivery_reason="customer_not_found")], 12)

    assert noted(finding) == [("late", "sent", "found")]


def test_what_collided_is_never_taken_for_ours() -> None:
    assert found([row(7, "rejected", delivery_reason="collision")], 7).action == "proposed"


def test_an_excess_of_the_last_day_is_cancelled() -> None:
    finding = found([row(5, name="twice")], 10)

    assert (finding.action, finding.cancel) == ("cancelled", "twice")


def test_an_older_excess_is_proposed_with_its_reason() -> None:
    finding = found([row(5, noted_at=LONG_AGO)], 10)

    assert (finding.action, finding.cancel) == ("proposed", None)
    assert "last day" in (finding.detail or "")


ROWS = st.lists(
    st.builds(
        row,
        st.integers(1, 6),
        st.sampled_from(["sent", "confirmed", "parked", "rejected"]),
        st.uuids().map(str),
    )
    | st.builds(unknown, st.integers(1, 6), st.uuids().map(str)),
    max_size=6,
)


@given(rows=ROWS, stripe_value=st.integers(0, 40))
def test_no_finding_makes_the_ledger_claim_more_than_stripe_counts(
    rows: list[HourRow], stripe_value: int
) -> None:
    """What is noted as sent makes the sums equal; what is to be sent again was not counted."""
    finding = found(rows, stripe_value)

    values = {one.identifier: one.value for one in rows}
    if finding.action == "found":
        assert ledger_value(rows) + sum(values[note.identifier] for note in finding.notes) == stripe_value
    if finding.action == "resent":
        again = {note.identifier for note in finding.notes}
        assert again
        assert ledger_value([one for one in rows if one.identifier not in again]) == stripe_value
    if finding.action == "confirmed":
        assert ledger_value(rows) == stripe_value


@given(rows=ROWS, stripe_value=st.integers(0, 40))
def test_nothing_is_changed_before_a_second_read(rows: list[HourRow], stripe_value: int) -> None:
    finding = found(rows, stripe_value, seen_before=False)

    assert finding.action in ("confirmed", "waiting")
    assert (finding.notes, finding.cancel) == ((), None)
