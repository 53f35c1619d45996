"""Lines that can't be usage: kept with their reason, counted, never in the way of the good ones."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from sandbox.router.entries import LARGEST
from tallygate.reconciliation.reconcile import reconcile
from tests.sql.cases import HOUR, INPUT, ONLY_INPUT, admit, entry, line, segment, tokens
from tests.support.stage import Stage

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
ERRORS: Final = "usage_raw.export_errors"
REJECTED: Final = "ledger.rejected_lines"

BAD: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "missing_count": (STDOUT, tokens(None, request_id="bad")),
    "negative_count": (STDOUT, tokens(-7, request_id="bad")),
    "huge_count": (STDOUT, tokens(1e30, request_id="bad")),
    "fractional_count": (STDOUT, tokens(1.5, request_id="bad")),
    "type_mismatch": (  # a count that is text: the sink's table has no place for it
        ERRORS,
        {
            "insertId": "bad",
            "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
            "timestamp": HOUR,
            "receiveTimestamp": HOUR,
            "schemaErrorDetail": "input_tokens is no number",
            "logEntry": '{"event":"llm_usage","request_id":"bad","tenant_id":"acme"}',
        },
    ),
    "unreadable_count": (STDOUT, line("bad", cost_nano_usd="many")),
    "total_mismatch": (STDOUT, line("bad", total_tokens=119)),
    "unknown_tenant": (STDOUT, line("bad", tenant_id="stranger", at="2026-03-10T13:10:00Z")),
    "missing_tenant": (STDOUT, line("bad", tenant_id=None)),
    "missing_request_id": (STDOUT, line(None)),
    "future_schema_version": (STDOUT, line("bad", schema_version=2)),
    "missing_schema_version": (STDOUT, line("bad", schema_version=None)),
    "unknown_event": (STDOUT, line("bad", event="llm_guess")),
    "broken_json": (STDOUT, entry("bad", at=HOUR, text='{"event":"llm_usage","input_tok')),
    "timestamp_in_future": (STDOUT, line("bad", at="2026-04-10T00:00:00Z") | {"receiveTimestamp": HOUR}),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_line_is_kept_with_its_reason_and_the_good_ones_are_billed(
    on_stage: Stage, reason: str
) -> None:
    customer = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=customer))
    on_stage.insert(STDOUT, line("good1", **ONLY_INPUT))
    on_stage.insert(*BAD[reason])
    on_stage.insert(STDOUT, line("good2", **ONLY_INPUT))

    run = on_stage.report()
    again = on_stage.report()

    assert (run.error, run.sent) == (None, 1)
    assert (run.rejected_lines, again.rejected_lines) == (1, 0)
    assert on_stage.billed() == {(customer, INPUT): 200}
    (kept,) = on_stage.rows(REJECTED)
    assert kept["reason"] == reason
    assert kept["line_id"]


def test_a_line_over_256_kb_is_kept_as_what_cloud_logging_makes_of_it(on_stage: Stage) -> None:
    """It is cut, so that it is no JSON any more: text, and its request is unrecorded by its admit line."""
    customer = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=customer))
    cut = '{"event":"llm_usage","model":"' + "m" * LARGEST
    on_stage.insert(
        STDOUT, admit("bad"), entry("bad", at=HOUR, text=cut[:LARGEST]), line("good", **ONLY_INPUT)
    )

    run = on_stage.report()

    assert (run.rejected_lines, on_stage.billed()) == (1, {(customer, INPUT): 100})
    (kept,) = on_stage.rows(REJECTED)
    assert (kept["reason"], kept["detail"]) == ("broken_json", f"{LARGEST} characters of text")
    assert [row["request_id"] for row in on_stage.rows("ledger.unrecorded_usage")] == ["bad"]


def test_a_line_of_forty_days_ago_is_told_and_billed_by_a_replay(
    on_stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """No scheduled run looks back so far; the reconciler looks for what was received of late."""
    customer = on_stage.customer()
    january = {"valid_from": "2026-01-01T00:00:00Z", "period_start": "2026-01-01T00:00:00Z"}
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=customer, **january))
    old = line("old", at="2026-01-29T10:10:00Z", **ONLY_INPUT)
    on_stage.insert(STDOUT, old | {"receiveTimestamp": "2026-03-10T14:20:00Z"}, line("good", **ONLY_INPUT))
    scheduled = on_stage.report(depth="daily")
    on_stage.advance(hours=1)
    capsys.readouterr()

    first = reconcile(on_stage.reconciler(), "daily")
    told = [json.loads(text) for text in capsys.readouterr().out.splitlines() if '"too_old"' in text]
    second = reconcile(on_stage.reconciler(), "daily")
    replayed = on_stage.report(from_="2026-01-29T10:00:00Z", to="2026-01-29T11:00:00Z")

    assert scheduled.sent == 1
    assert (first.losses.unrecorded_usage, second.losses.unrecorded_usage) == (1, 0)
    (line_told,) = told
    assert (line_told["event"], line_told["tenant_id"], line_told["example"]) == (
        "unrecorded_usage",
        "acme",
        "old",
    )
    assert (replayed.error, replayed.sent) == (None, 1)
    assert on_stage.billed() == {(customer, INPUT): 200}


def test_a_line_of_a_hundred_days_ago_is_told_within_a_week_and_once(
    on_stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looking so far back reads much: it is done once a week."""
    reconcile(on_stage.reconciler(), "daily")
    on_stage.advance(days=1)
    received = on_stage.now.isoformat()
    for request_id, at in (("very-old", "2025-12-01T10:10:00Z"), ("old", "2026-01-06T10:10:00Z")):
        on_stage.insert(STDOUT, line(request_id, at=at, **ONLY_INPUT) | {"receiveTimestamp": received})
    capsys.readouterr()
    told = []

    for _ in range(16):
        on_stage.advance(days=1)
        reconcile(on_stage.reconciler(), "daily")
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        told += [one["example"] for one in lines if one.get("witness") == "too_old"]

    assert told == ["old", "very-old"]


def test_all_of_them_at_once_and_each_delivered_twice(on_stage: Stage) -> None:
    customer = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=customer))
    on_stage.insert(STDOUT, line("good", **ONLY_INPUT), line("good", **ONLY_INPUT))
    for number, (table, row) in enumerate(BAD.values()):
        apart = row | {"insertId": f"bad{number}"}
        if row.get("jsonPayload"):
            apart["jsonPayload"] = row["jsonPayload"] | {
                "request_id": row["jsonPayload"]["request_id"] and f"bad{number}"
            }
        on_stage.insert(table, apart, apart)

    run = on_stage.report()

    assert run.rejected_lines == len(BAD)
    assert sorted(row["reason"] for row in on_stage.rows(REJECTED)) == sorted(BAD)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_request_whose_event_was_rejected_is_unrecorded_with_its_tenant(on_stage: Stage) -> None:
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=on_stage.customer()))
    on_stage.insert(STDOUT, admit("bad"), tokens(-7, request_id="bad"))

    on_stage.report()

    (row,) = on_stage.rows("ledger.unrecorded_usage")
    assert (row["request_id"], row["tenant_id"], row["reason"]) == ("bad", "acme", "negative_count")


@pytest.mark.parametrize(("minutes", "noted"), [(30, 0), (61, 1)])
def test_a_line_of_a_tenant_learned_later_is_billed_then(on_stage: Stage, minutes: int, noted: int) -> None:
    """Nobody knows the tenant yet, which is told only when it lasts; its segment arrives: billed."""
    on_stage.insert(STDOUT, line("early", at="2026-03-10T14:30:00Z", **ONLY_INPUT))
    on_stage.advance(minutes=minutes)
    first = on_stage.report()
    customer = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=customer))

    second = on_stage.report()

    assert (first.rejected_lines, first.sent) == (noted, 0)
    assert (second.rejected_lines, second.sent) == (0, 1)
    assert on_stage.billed() == {(customer, INPUT): 100}
