"""The function ``usage_reporter`` as it is deployed: over HTTP, with the official clients behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from sandbox.layout import REPOSITORY
from tests.functions.deployed import environment, function, stage_of_functions
from tests.sandbox.stripe.double import Host
from tests.sql.cases import INPUT, ONLY_INPUT, line, segment
from tests.support.host import Host as ServerHost
from tests.support.stage import Stage

COUNTS = ["run_id", "sealed", "sent", "parked", "rejected", "backlog"]


@pytest.fixture
def on_stage(tmp_path: Path, bigquery_host: ServerHost, stripe_host: Host) -> Iterator[Stage]:
    with stage_of_functions(tmp_path, bigquery_host, stripe_host) as here:
        yield here


@pytest.fixture
def reporter(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    return function("usage_reporter", environment(on_stage), monkeypatch)


@pytest.fixture
def customer(on_stage: Stage) -> str:
    """The customer of tenant acme, who has used 100 input tokens."""
    made = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=made))
    on_stage.insert("usage_raw.run_googleapis_com_stdout", line("r1", **ONLY_INPUT))
    return made


def test_a_scheduled_run_seals_and_sends(reporter: FlaskClient, on_stage: Stage, customer: str) -> None:
    answer = reporter.post("/", json={"depth": "recent"})

    assert answer.status_code == 200
    assert answer.json is not None
    assert [name for name in COUNTS if name not in answer.json] == []
    assert (answer.json["sealed"], answer.json["sent"], answer.json["backlog"]) == (1, 1, 0)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_a_second_run_does_nothing(reporter: FlaskClient, on_stage: Stage, customer: str) -> None:
    reporter.post("/", json={"depth": "recent"})

    answer = reporter.post("/")

    assert answer.json is not None
    assert (answer.status_code, answer.json["sealed"], answer.json["sent"]) == (200, 0, 0)
    assert on_stage.billed() == {(customer, INPUT): 100}


def test_an_operator_seals_a_range_of_one_tenant(
    reporter: FlaskClient, on_stage: Stage, customer: str
) -> None:
    body = {"from": "2026-03-10T14:00:00Z", "to": "2026-03-10T15:00:00Z", "tenant": "acme"}

    rehearsed = reporter.post("/", json={**body, "dry_run": True}).json
    before = on_stage.deltas()
    done = reporter.post("/", json=body).json

    assert rehearsed is not None
    assert done is not None
    assert (rehearsed["sealed"], before) == (1, [])
    assert (done["sealed"], done["sent"]) == (1, 1)


def test_a_run_beside_another_is_skipped_with_200(reporter: FlaskClient, on_stage: Stage) -> None:
    on_stage.database.put(
        "leases", "usage_reporter", {"holder": "other", "expires_at": "2026-03-10T23:00:00Z"}
    )

    answer = reporter.post("/", json={})

    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["skipped"] is True


def test_what_cannot_be_sent_asks_to_be_called_again(
    reporter: FlaskClient, on_stage: Stage, customer: str
) -> None:
    (on_stage.folder / "secrets" / "stripe-api-key").write_text("sk_live_of_another_account")

    answer = reporter.post("/", json={})

    assert answer.status_code == 500
    assert answer.json is not None
    assert "TALLYGATE_LIVEMODE" in answer.json["error"]
    assert "sk_live" not in answer.get_data(as_text=True)
    assert answer.json["sealed"] == 1, "what is sealed stays sealed"


def test_a_rotated_key_is_used_without_a_restart(
    reporter: FlaskClient, on_stage: Stage, customer: str
) -> None:
    key = on_stage.folder / "secrets" / "stripe-api-key"
    key.write_text("whsec_not_a_key_test_")
    refused = reporter.post("/", json={})
    key.write_text("sk_test_rotated")

    answer = reporter.post("/", json={})

    assert refused.status_code == 500
    assert answer.json is not None
    assert (answer.status_code, answer.json["sent"]) == (200, 1)


def test_a_run_leaves_one_summary_line_and_no_secret(
    reporter: FlaskClient, customer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter.post("/", json={"depth": "hourly"})

    out, err = capsys.readouterr()
    (summary,) = [json.loads(text) for text in out.splitlines() if '"job_run"' in text]
    assert (summary["job"], summary["depth"], summary["sent"]) == ("usage_reporter", "hourly", 1)
    assert "sk_test" not in out + err


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"[]", "must be a JSON object"),
        (b"{", "must be a JSON object"),
        (b'"recent"', "must be a JSON object"),
        (b'{"depth": "deepest"}', "depth: must be one of"),
        (b'{"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}', "from: must be before to"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_with_the_reason(
    reporter: FlaskClient, on_stage: Stage, body: bytes, problem: str
) -> None:
    answer = reporter.post("/", data=body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json is not None
    assert problem in answer.json["error"]
    assert on_stage.rows("ledger.ledger_epochs") == []


@pytest.mark.parametrize(("method", "status"), [("get", 200), ("put", 405), ("delete", 405)])
def test_only_post_works(reporter: FlaskClient, on_stage: Stage, method: str, status: int) -> None:
    answer: Any = getattr(reporter, method)("/")

    assert answer.status_code == status
    assert on_stage.rows("ledger.ledger_epochs") == []


def test_a_bad_environment_is_told_at_start_with_all_problems(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        function("usage_reporter", {"TALLYGATE_LIVEMODE": "maybe"}, monkeypatch)

    for name in ("TALLYGATE_PROJECT_ID", "TALLYGATE_APP_DATABASE", "TALLYGATE_LIVEMODE"):
        assert name in str(ended.value)


def test_a_price_version_is_looked_up_in_the_function_s_own_catalogue(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = str(REPOSITORY / "sandbox" / "config" / "catalogue.json")
    here = function("usage_reporter", environment(on_stage) | {"TALLYGATE_CATALOGUE": catalogue}, monkeypatch)

    unknown = here.post("/", json={"price_version": "v9"})
    known = here.post("/", json={"price_version": "gpt-4o-mini-2025-01"})

    assert unknown.status_code == 400
    assert unknown.json is not None
    assert "it has" in unknown.json["error"]
    assert known.json is not None
    assert (known.status_code, known.json["rated"]) == (200, 0)
