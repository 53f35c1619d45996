"""Lines of the archive: how they are read, and what the reporter takes over of them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.warehouse import table_schema
from tallygate.metering.archive import ArchivedLine, line_from
from tallygate.metering.restoring import MOST, lines_from, restore, to_wire
from tallygate.metering.window import RequestError, Window, window_from
from tests.sql.cases import line
from tests.support.stage import BEGIN, Stage

HOUR: Final = {"from": "2026-03-10T14:00:00Z", "to": "2026-03-10T15:00:00Z"}


def window(**body: Any) -> Window:
    """The hour of the cases."""
    return window_from(HOUR | body, BEGIN)


def archived(request_id: str = "r1", **changes: Any) -> ArchivedLine:
    """A line as it is read."""
    found = line_from(json.dumps(line(request_id, **changes)).encode(), "f.json")
    assert found is not None
    return found


def test_a_line_has_the_columns_of_its_table() -> None:
    columns = {column["name"]: column["type"] for column in table_schema("restored_lines")}

    assert {**ArchivedLine.columns(), "restored_at": "TIMESTAMP", "run_id": "STRING"} == columns


def test_a_line_survives_the_way_to_the_reporter() -> None:
    (taken,) = lines_from(json.loads(json.dumps([to_wire(archived())])), window())

    assert taken == archived()


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_no_text_is_taken_for_a_line_that_is_none(text: bytes) -> None:
    assert line_from(text, "f.json") is None


@pytest.mark.parametrize("field", ["event", "request_id"])
def test_an_entry_that_names_no_event_or_request_is_no_line(field: str) -> None:
    row = line("r1")
    row["jsonPayload"][field] = None

    assert line_from(json.dumps(row).encode(), "f.json") is None


@pytest.mark.parametrize(
    ("changes", "usable"),
    [
        ({}, True),
        ({"input_tokens": "100"}, False),
        ({"input_tokens": -1}, False),
        ({"input_tokens": 1.5}, False),
        ({"cost_nano_usd": "1e3"}, False),
        ({"cost_nano_usd": 5}, False),
    ],
)
def test_counts_that_are_no_whole_numbers_are_not_used(changes: dict[str, Any], usable: bool) -> None:
    assert archived(**changes).usable() is usable


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], f"a list of 1 to {MOST} lines"),
        ("x", f"a list of 1 to {MOST} lines"),
        ([{"x": 1}], "each needs line_timestamp"),
        ([to_wire(archived()) | {"input_tokens": "1"}], "'1' is no FLOAT64"),
        ([to_wire(archived()) | {"line_timestamp": "yesterday"}], "lines: "),
        ([to_wire(archived()) | {"line_timestamp": "2026-03-10T15:00:00Z"}], "1 are outside the window"),
    ],
)
def test_lines_that_make_no_sense_are_refused(lines: Any, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        lines_from(lines, window())


def test_lines_of_another_tenant_or_of_no_window_are_refused() -> None:
    with pytest.raises(RequestError, match="1 of another tenant"):
        lines_from([to_wire(archived())], window(tenant="other"))
    with pytest.raises(RequestError, match="from and to say"):
        lines_from([to_wire(archived())], window_from({}, BEGIN))


def test_the_same_lines_are_taken_over_once(on_stage: Stage) -> None:
    lines = [archived("r1"), archived("r2")]

    first = restore(on_stage.warehouse(), lines, now=BEGIN, run_id="a")
    again = restore(on_stage.warehouse(), lines, now=BEGIN, run_id="b")

    assert (first, again) == (2, 0)
    assert len(on_stage.rows("ledger.restored_lines")) == 2
