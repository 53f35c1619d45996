"""From a line in a log file to a row in the warehouse: whole, once, where its filter says."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sandbox.router.entries import LARGEST
from tallygate.records import UsageEvent
from tests.sandbox.router.conftest import START, Facade, Routed, make_router

STDOUT = "run_googleapis_com_stdout"
REQUESTS = "run_googleapis_com_requests"


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A usage event as the proxy writes it."""
    fields: dict[str, Any] = {
        "request_id": f"r{number}",
        "tenant_id": "acme",
        "key_id": "key_1",
        "model": "gpt-4o-mini",
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "cost_nano_usd": 4050,
        "status": "success",
        "http_status": 200,
        "endpoint": "chat/completions",
        "timestamp": START,
        "stream_id": "s",
        "seq": number,
    }
    return UsageEvent(**fields).to_wire() | changes


def test_a_usage_event_becomes_a_row_with_its_fields_lifted(routed: Routed, facade: Facade) -> None:
    routed.write(event())

    routed.router.work()

    (row,) = facade.rows(STDOUT)
    assert row["insertId"] == "r1"
    assert row["timestamp"] == START
    assert row["severity"] == "INFO"
    assert row["jsonPayload"]["input_tokens"] == 7.0
    assert row["jsonPayload"]["cost_nano_usd"] == "4050"
    assert row["resource"]["labels"]["service_name"] == "tallygate-proxy"
    assert "time" not in row["jsonPayload"]


def test_only_stdout_can_bring_a_usage_event(routed: Routed, facade: Facade) -> None:
    """A forged line on stderr, or a line that claims another log, is in no table of the sink."""
    routed.write(event(1), file="proxy-0.1.stderr.log")
    routed.write(
        {**event(2), "logName": "projects/x/logs/run.googleapis.com%2Fstdout"}, file="edge.requests.log"
    )

    routed.router.work()

    assert facade.rows(STDOUT) == []
    assert facade.rows(REQUESTS) == []
    assert routed.router.broken_lines == 1


def test_a_line_is_read_when_it_is_whole(routed: Routed, facade: Facade) -> None:
    text = json.dumps(event())
    path = routed.folder / "proxy-0.1.stdout.log"

    path.write_text(text[:40])
    routed.router.work()
    before = facade.rows(STDOUT)
    path.write_text(text + "\n")
    routed.router.work()

    assert before == []
    assert [row["insertId"] for row in facade.rows(STDOUT)] == ["r1"]


def test_what_a_killed_process_left_half_written_is_a_line_of_text(routed: Routed, facade: Facade) -> None:
    """Such a line must be found: it is a request that was admitted and left no usage event."""
    (routed.folder / "proxy-0.1.stdout.log").write_text('{"event": "llm_us')
    (routed.folder / "proxy-0.2.stdout.log").write_text("")  # the instance was started again

    routed.router.work()

    (row,) = facade.rows(STDOUT)
    assert row["textPayload"] == '{"event": "llm_us'


def test_a_line_beyond_the_limit_is_cut_and_the_next_one_is_whole(routed: Routed, facade: Facade) -> None:
    routed.write(json.dumps(event(1, model="m" * 3 * LARGEST)), event(2))

    routed.router.work()

    rows = facade.rows(STDOUT)
    assert sorted(len(row["textPayload"] or "") for row in rows) == [0, LARGEST]
    assert "r2" in [row["insertId"] for row in rows]


def test_lines_are_delivered_once_over_restarts_of_the_router(routed: Routed, facade: Facade) -> None:
    routed.write(event(1))
    routed.router.work()
    routed.router.journal.close()

    again = make_router(routed.folder, routed.state, facade, routed.clock)
    routed.write(event(2))
    again.work()
    again.work()
    again.journal.close()

    assert sorted(row["insertId"] for row in facade.rows(STDOUT)) == ["r1", "r2"]


def test_what_bigquery_does_not_take_waits_and_arrives(routed: Routed, facade: Facade) -> None:
    httpx.post(f"{facade.url}/_sandbox/faults", json={"kind": "error_500", "count": 1}).raise_for_status()
    routed.write(event())

    routed.router.work()
    routed.router.work()
    meanwhile = facade.rows(STDOUT)
    routed.clock.advance(seconds=10)
    routed.router.work()

    assert meanwhile == []
    assert [row["insertId"] for row in facade.rows(STDOUT)] == ["r1"]


def test_a_field_of_another_type_sends_the_entry_to_the_export_errors(routed: Routed, facade: Facade) -> None:
    routed.write(event(1, input_tokens="seven"), event(2))

    routed.router.work()

    assert [row["insertId"] for row in facade.rows(STDOUT)] == ["r2"]
    (refused,) = facade.rows("export_errors")
    assert json.loads(refused["logEntry"])["insertId"] == "r1"
    assert "input_tokens" in refused["schemaErrorDetail"]
    assert refused["sinkName"] == "tallygate-usage"


def test_a_new_field_widens_the_table(routed: Routed, facade: Facade) -> None:
    routed.write(event(1, added_later={"deep": [1, 2]}), event(2))

    routed.router.work()

    added = {row["insertId"]: row["jsonPayload"]["added_later"] for row in facade.rows(STDOUT)}
    assert added["r1"]["deep"] == [1.0, 2.0]
    assert not (added["r2"] or {}).get("deep")


def test_the_request_log_is_kept_with_sizes_as_integers(routed: Routed, facade: Facade) -> None:
    entry = {
        "insertId": "i1",
        "logName": "projects/test-project/logs/run.googleapis.com%2Frequests",
        "timestamp": "2026-03-01T10:00:00.000000Z",
        "severity": "INFO",
        "trace": "projects/test-project/traces/1",
        "spanId": "1",
        "traceSampled": True,
        "resource": {
            "type": "cloud_run_revision",
            "labels": {"service_name": "tallygate-proxy", "project_id": "test-project"},
        },
        "labels": {"instanceId": "proxy-0"},
        "httpRequest": {"requestMethod": "POST", "status": 200, "responseSize": "42", "latency": "0.25s"},
    }
    routed.write(entry, "no json", file="edge.requests.log")

    routed.router.work()

    (row,) = facade.rows(REQUESTS)
    assert row["httpRequest"]["responseSize"] == 42
    assert row["httpRequest"]["latency"] == 0.25
    assert row["labels"]["instanceid"] == "proxy-0"
    assert routed.router.broken_lines == 1


@pytest.mark.parametrize(
    ("fault", "at_once", "in_the_end"),
    [
        pytest.param({"kind": "duplicate", "count": 1}, 1, 2, id="duplicate"),
        pytest.param({"kind": "delay", "count": 1, "seconds": 300}, 0, 1, id="delay"),
        pytest.param({"kind": "shuffle", "rate": 1, "seconds": 60, "seed": 4}, 0, 1, id="shuffle"),
    ],
)
def test_faults_of_delivery(
    fault: dict[str, Any], at_once: int, in_the_end: int, routed: Routed, facade: Facade
) -> None:
    routed.router.faults.arm(fault)
    routed.write(event())

    routed.router.work()
    first = len(facade.rows(STDOUT))
    due = routed.router.next_due()
    routed.clock.advance(seconds=301)
    routed.router.work()

    assert first == at_once
    assert due is not None
    assert due > START
    assert len(facade.rows(STDOUT)) == in_the_end
    assert routed.router.next_due() is None


def test_the_type_mismatch_fault_ends_in_the_export_errors(routed: Routed, facade: Facade) -> None:
    routed.router.faults.arm({"kind": "type_mismatch", "count": 1, "match": {"tenant_id": "acme"}})
    routed.write(event())

    routed.router.work()

    assert facade.rows(STDOUT) == []
    assert len(facade.rows("export_errors")) == 1


def test_a_redelivered_line_counts_once(routed: Routed, facade: Facade) -> None:
    start, end = START.isoformat(), (START + timedelta(days=30)).isoformat()
    segment = {
        "segment_id": "s", "tenant_id": "acme", "plan": "scale", "charge_basis": "tokens", "items": [],
        "period_start": start, "period_end": end, "valid_from": start, "known_at": start,
    }  # fmt: skip
    refused = facade.client.insert_rows_json(f"test-project.{facade.ledger}.billing_segments", [segment])
    assert refused == []
    routed.router.faults.arm({"kind": "duplicate", "rate": 1})
    routed.write(event(1), event(2))

    routed.router.work()
    routed.clock.advance(seconds=60)
    routed.router.work()

    assert len(facade.rows(STDOUT)) == 4
    found = facade.client.query_and_wait(
        f"SELECT COUNT(*) AS n, SUM(u.total_tokens) AS tokens FROM `{facade.ledger}.usage_events` AS u"  # noqa: S608 - the test's own dataset
    )
    assert [tuple(row.values()) for row in found] == [(2, 24)]
