"""The records on the wire: what a line holds, in which form, and that the schema says the same."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.records import (
    LIFTED,
    METER_COLUMNS,
    METERS,
    AdmitLine,
    TokenCounts,
    UsageEvent,
    columns,
    json_payload_fields,
    json_schema,
)
from tallygate.schemas import FORMATS

NOON = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
EVENT = UsageEvent(
    request_id="r1",
    tenant_id="acme",
    key_id="key_1",
    model="gpt-4o-mini",
    status="success",
    http_status=200,
    endpoint="chat/completions",
    timestamp=NOON,
    stream_id="s1",
    seq=2,
)
ADMIT = AdmitLine(
    request_id="r1",
    tenant_id="acme",
    model="gpt-4o-mini",
    endpoint="chat/completions",
    stream_id="s1",
    seq=1,
    timestamp=NOON,
)
tokens = st.integers(0, 2**40)


def validate(record: type[UsageEvent] | type[AdmitLine], wire: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(json_schema(record), format_checker=FORMATS).validate(wire)


@pytest.mark.parametrize("record", [EVENT, ADMIT])
def test_a_line_is_json_that_its_schema_accepts(record: UsageEvent | AdmitLine) -> None:
    validate(type(record), json.loads(json.dumps(record.to_wire())))


@given(
    counts=st.builds(TokenCounts, tokens, tokens, tokens, tokens, tokens),
    cost=st.integers(0, 10**18 - 1),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    optional=st.none() | st.text(min_size=1, max_size=20),
    status=st.sampled_from(["success", "failure", "cancelled"]),
)
def test_every_event_within_bounds_is_accepted_and_keeps_its_numbers(
    counts: TokenCounts, cost: int, flags: tuple[bool, ...], optional: str | None, status: Any
) -> None:
    event = replace(
        EVENT,
        prompt_tokens=counts.prompt,
        completion_tokens=counts.output,
        total_tokens=counts.total,
        input_tokens=counts.input,
        cached_input_tokens=counts.cached_input,
        cache_write_tokens=counts.cache_write,
        output_tokens=counts.output,
        reasoning_tokens=counts.reasoning,
        cost_nano_usd=cost,
        unpriced=flags[0],
        billable=flags[1],
        estimated=flags[2],
        stream=flags[3],
        customer_id=optional,
        idempotency_key=optional,
        status=status,
    )

    wire = json.loads(json.dumps(event.to_wire()))

    validate(UsageEvent, wire)
    assert int(wire["cost_nano_usd"]) == cost
    classes = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens")
    assert sum(wire[name] for name in classes) == wire["total_tokens"]


@pytest.mark.parametrize(
    "change",
    [
        {"input_tokens": -1},
        {"input_tokens": 1.5},
        {"input_tokens": "1"},
        {"cost_nano_usd": 1},
        {"cost_nano_usd": "-1"},
        {"cost_nano_usd": "1" * 19},
        {"status": "maybe"},
        {"schema_version": 2},
        {"event": "llm_admit"},
        {"timestamp": "yesterday"},
        {"prompt": "hello"},
        {"stream": "true"},
    ],
    ids=str,
)
def test_the_schema_refuses_what_no_event_holds(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(UsageEvent, EVENT.to_wire() | change)


def test_the_schema_refuses_an_event_without_a_required_field() -> None:
    wire = EVENT.to_wire()
    del wire["tenant_id"]

    with pytest.raises(jsonschema.ValidationError, match="tenant_id"):
        validate(UsageEvent, wire)


def test_cost_travels_as_text_because_the_sink_writes_floats() -> None:
    wire = replace(EVENT, cost_nano_usd=2**53 + 1).to_wire()

    assert wire["cost_nano_usd"] == "9007199254740993"


def test_both_lines_of_a_request_have_insert_ids_of_their_own() -> None:
    """Cloud Logging takes two entries of one insertId and timestamp for one."""
    key = "logging.googleapis.com/insertId"

    assert EVENT.to_wire()[key] == "r1"
    assert ADMIT.to_wire()[key] == "r1-admit"


def test_time_is_the_timestamp_and_none_is_left_out() -> None:
    wire = EVENT.to_wire()

    assert wire["time"] == wire["timestamp"] == "2026-03-01T12:00:00.000250Z"
    assert "customer_id" not in wire
    assert "logging.googleapis.com/trace" not in wire


@pytest.mark.parametrize(("status", "severity"), [("success", "INFO"), ("failure", "WARNING")])
def test_a_failure_is_a_warning(status: Any, severity: str) -> None:
    assert replace(EVENT, status=status).to_wire()["severity"] == severity


@given(st.builds(TokenCounts, tokens, tokens, tokens, tokens, tokens))
def test_the_disjoint_classes_sum_to_the_total(counts: TokenCounts) -> None:
    assert counts.total == counts.input + counts.cached_input + counts.cache_write + counts.output
    assert counts.total == counts.prompt + counts.output


def test_every_meter_sums_a_field_of_the_event() -> None:
    assert set(METER_COLUMNS) == set(METERS)
    assert set(METER_COLUMNS.values()) <= set(columns(UsageEvent))


def test_the_sink_s_payload_has_every_field_that_is_not_lifted_once() -> None:
    names = [field["name"] for field in json_payload_fields()]
    wire = {column.key or name for r in (UsageEvent, AdmitLine) for name, column in columns(r).items()}

    assert len(names) == len(set(names))
    assert set(names) == (wire - LIFTED) | {"event", "schema_version"}


def test_every_field_is_described() -> None:
    for record in (UsageEvent, AdmitLine):
        assert all(column.description.endswith(".") for column in columns(record).values())
