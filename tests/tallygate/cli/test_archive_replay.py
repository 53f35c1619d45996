"""``tallygate usage replay --archive``: what the raw table has lost comes back from the archive, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tallygate.cli.errors import OperatorError
from tests.sql.cases import COST, INPUT, admit, line, segment
from tests.support.archived import BUCKET, bucket, write_archive
from tests.support.stage import Stage
from tests.support.stage_fixtures import bigquery_host, on_stage, stripe_host
from tests.support.tool import Tool, calling

__all__ = ["bigquery_host", "on_stage", "stripe_host"]

HOURS: Final = ["--from", "2026-03-10T14:00:00Z", "--to", "2026-03-10T15:00:00Z"]
STDOUT: Final = "usage_raw.run_googleapis_com_stdout"


@pytest.fixture
def tool(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """The command; its calls reach the function without a network."""
    return calling("usage_reporter", "TALLYGATE_REPORTER_URL", on_stage, monkeypatch)


@pytest.fixture
def customer(on_stage: Stage) -> str:
    made = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=made))
    return made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three requests; the warehouse has the first alone."""
    folder = tmp_path / "archive"
    write_archive(
        folder,
        line("r1"),
        admit("r2"),
        line("r2", at="2026-03-10T14:11:00.123456789Z"),
        line("r2", at="2026-03-10T14:11:00.123456789Z"),
        line("r3", at="2026-03-10T14:12:00Z"),
        line("r9", at="2026-03-10T13:59:59Z"),
        line("r8", tenant_id="other"),
    )
    return folder


def values(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """The compared numbers by tenant and meter."""
    names = ("used", "archived", "sealed", "difference")
    return {
        (row["tenant_id"], row["meter"]): (
            row[names[0]], row[names[1]], row[names[2]], row[names[3]],
        )
        for row in rows
    }  # fmt: skip


def test_what_was_lost_is_shown_taken_over_and_sealed_once(
    tool: Tool, on_stage: Stage, customer: str, archive: Path
) -> None:
    on_stage.insert(STDOUT, line("r1"))
    on_stage.report()
    command = ["usage", "replay", *HOURS, "--archive", str(archive), "--tenant", "acme"]

    shown = values(json.loads(tool(*command, "--dry-run", "--json")))
    untouched = on_stage.rows("ledger.restored_lines"), len(on_stage.deltas())
    tool(*command, "--yes")
    again = values(json.loads(tool(*command, "--dry-run", "--json")))
    sealed = on_stage.deltas()
    tool(*command, "--yes")

    assert shown["acme", INPUT] == (100, 200, 100, 200)
    assert shown["acme", COST] == (5000, 10000, 5000, 10000)
    assert untouched == ([], 3)
    assert again == {}
    assert on_stage.billed()[customer, INPUT] == 300
    assert on_stage.deltas() == sealed
    kept = {(row["event"], row["request_id"]): row["file"] for row in on_stage.rows("ledger.restored_lines")}
    assert kept.keys() == {("llm_admit", "r2"), ("llm_usage", "r2"), ("llm_usage", "r3")}
    assert set(kept.values()) == {"run.googleapis.com/stdout/2026/03/10/14:00:00_14:59:59_S0.json"}


def test_what_is_sealed_already_is_only_taken_over(
    tool: Tool, on_stage: Stage, customer: str, archive: Path
) -> None:
    """The raw table was lost after the seal: usage and ledger agree again, and nothing is billed twice."""
    on_stage.insert(
        STDOUT,
        line("r1"),
        line("r2", at="2026-03-10T14:11:00.123456Z"),
        line("r3", at="2026-03-10T14:12:00Z"),
    )
    on_stage.report()
    billed = on_stage.billed()
    on_stage.client.query_and_wait(f"DELETE FROM `{STDOUT}` WHERE TRUE")  # noqa: S608 - a constant

    command = ["usage", "replay", *HOURS, "--archive", str(archive), "--tenant", "acme"]
    shown = values(json.loads(tool(*command, "--dry-run", "--json")))
    tool(*command, "--yes")

    assert shown["acme", INPUT] == (0, 300, 300, 0)
    assert on_stage.billed() == billed
    assert on_stage.report().stopped_buckets == 0


def test_a_bucket_is_read_page_by_page(
    tool: Tool, customer: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket(archive) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)

        rows = json.loads(
            tool(
                "usage",
                "replay",
                *HOURS,
                "--archive",
                f"gs://{BUCKET}",
                "--dry-run",
                "--tenant",
                "acme",
                "--json",
            )
        )
        with pytest.raises(OperatorError, match="gs://other answers 403: may you read it"):
            tool("usage", "replay", *HOURS, "--archive", "gs://other", "--dry-run")

    assert values(rows)["acme", INPUT] == (0, 300, 0, 300)


def test_lines_that_are_no_usage_are_counted_and_in_nobody_s_way(
    tool: Tool, customer: str, archive: Path
) -> None:
    path = archive / "run.googleapis.com" / "stdout" / "2026" / "03" / "10" / "14:00:00_14:59:59_A0.json"
    bad = line("r7", input_tokens="many")
    path.write_text('{"jsonPayload": \n[]\n' + json.dumps(bad) + "\n")

    rows = json.loads(
        tool("usage", "replay", *HOURS, "--archive", str(archive), "--dry-run", "--tenant", "acme", "--json")
    )

    assert values(rows)["acme", INPUT] == (0, 300, 0, 300)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--from", HOURS[3], "--to", HOURS[1]], "from: must be before to"),
        ([*HOURS, "--tenant", "stranger"], "no billing segment names the tenant 'stranger'"),
        (HOURS, "is no folder"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(tool: Tool, arguments: list[str], problem: str) -> None:
    with pytest.raises(OperatorError, match=problem):
        tool("usage", "replay", *arguments, "--archive", "/nowhere", "--dry-run")


def test_nothing_is_taken_over_without_a_word(
    tool: Tool, on_stage: Stage, customer: str, archive: Path
) -> None:
    with pytest.raises(OperatorError, match=r"Take over 5 lines .*--yes"):
        tool("usage", "replay", *HOURS, "--archive", str(archive))

    assert on_stage.rows("ledger.restored_lines") == []
