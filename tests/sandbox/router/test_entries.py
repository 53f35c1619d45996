"""Log entries as Cloud Run's agent makes them, and rows as the sink writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.router.entries import Origin, entry_of_output
from sandbox.router.rows import MisfitError, Shape, column_name

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORIGIN = Origin("test-project", "stdout", "proxy-0")


def entry(line: str) -> dict[str, Any]:
    return entry_of_output(line.encode(), ORIGIN, "minted", NOW)


@pytest.mark.parametrize(
    ("field", "value", "where", "lifted"),
    [
        ("severity", "warning", "severity", "WARNING"),
        ("time", "2026-02-28T23:59:59.5Z", "timestamp", "2026-02-28T23:59:59.500000Z"),
        ("timestamp", {"seconds": 60, "nanos": 1000}, "timestamp", "1970-01-01T00:01:00.000001Z"),
        ("logging.googleapis.com/insertId", "abc", "insertId", "abc"),
        ("logging.googleapis.com/trace", "projects/p/traces/t", "trace", "projects/p/traces/t"),
        ("logging.googleapis.com/spanId", "1f", "spanId", "1f"),
        ("logging.googleapis.com/trace_sampled", True, "traceSampled", True),
    ],
)
def test_special_fields_are_lifted(field: str, value: Any, where: str, lifted: Any) -> None:
    made = entry(json.dumps({"event": "e", field: value}))

    assert made[where] == lifted
    assert made["jsonPayload"] == {"event": "e"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("severity", "loud"),
        ("time", "yesterday"),
        ("timestamp", "2026-02-28T23:59:59Z"),
        ("logging.googleapis.com/insertId", 7),
        ("logging.googleapis.com/trace_sampled", "yes"),
    ],
)
def test_what_does_not_read_as_its_field_stays_in_the_payload(field: str, value: Any) -> None:
    made = entry(json.dumps({"event": "e", field: value}))

    assert field in made["jsonPayload"]
    assert made["insertId"] == "minted"


def test_a_line_cannot_place_itself_in_another_log_or_service() -> None:
    forged = {"logName": "projects/p/logs/other", "resource": {"type": "global"}, "event": "llm_usage"}

    made = entry(json.dumps(forged))

    assert made["logName"] == "projects/test-project/logs/run.googleapis.com%2Fstdout"
    assert made["resource"]["type"] == "cloud_run_revision"


@pytest.mark.parametrize("line", ['{"a": NaN}', '{"a": 1e999}', "[1]", '"text"', "{broken", '{"a": 1} x'])
def test_what_is_no_json_object_is_text(line: str) -> None:
    assert entry(line)["textPayload"] == line


@given(st.binary(max_size=300))
def test_any_bytes_become_an_entry(line: bytes) -> None:
    made = entry_of_output(line, ORIGIN, "minted", NOW)

    assert ("textPayload" in made) != ("jsonPayload" in made)
    json.dumps(made, allow_nan=False).encode()


@given(st.text(max_size=200))
def test_any_key_has_a_column_name(key: str) -> None:
    name = column_name(key)

    assert name.isascii()
    assert name.replace("_", "a").isalnum()
    assert not name[0].isdigit()
    assert len(name) <= 128


def test_a_misfit_adds_no_column() -> None:
    shape = Shape([{"name": "n", "type": "FLOAT64"}])

    with pytest.raises(MisfitError, match="n: a text in a column of FLOAT"):
        shape.row({"fresh": 1.0, "n": "x"})

    assert not shape.is_widened
