"""Functions that start while the app database is down: an answer in their own form, and one line of log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from functions_framework import create_app

from sandbox.faults import FaultRegistry
from sandbox.layout import REPOSITORY
from tallygate.appdb import faults
from tallygate.appdb.sqlite import SQLiteDatabase
from tests.support.stripe_events import SECRET, sign, snapshot

SOURCE = str(REPOSITORY / "functions" / "main.py")
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stripe-webhook-secret").write_text(SECRET)
    (tmp_path / "stripe-api-key").write_text("sk_test_of_the_tests")
    for name, value in {
        "PROJECT_ID": "tests",
        "APP_DATABASE": f"sqlite:{tmp_path / 'app.sqlite'}",
        "SECRETS": f"file:{tmp_path}",
        "STRIPE_API_BASE": NOWHERE,
        "CATALOGUE": str(REPOSITORY / "sandbox" / "config" / "catalogue.json"),
        "PLANS": str(REPOSITORY / "sandbox" / "config" / "plans.json"),
    }.items():
        monkeypatch.setenv(f"TALLYGATE_{name}", value)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", NOWHERE)
    return tmp_path


@pytest.mark.parametrize("name", ["usage_reporter", "stripe_sync", "usage_reconciler"])
def test_a_job_is_called_again_and_says_why(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = create_app(name, SOURCE).test_client()
    take_down(folder)

    answer = client.post("/", json={"depth": "recent"})

    assert (answer.status_code, answer.mimetype) == (500, "application/json")
    said = answer.get_json()
    assert {"run_id", "error"} <= said.keys()
    assert "DatabaseUnavailableError" in said["error"]
    (line,) = lines(capsys)
    assert (line["event"], line["job"], line["outcome"]) == ("job_run", name, "failed")


def test_a_webhook_is_sent_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = create_app("stripe_webhook", SOURCE).test_client()
    take_down(folder)
    body = snapshot()

    answer = client.post("/", data=body, headers={"Stripe-Signature": sign(body)})
    faults.faults_path(folder / "app.sqlite").unlink()
    again = client.post("/", data=body, headers={"Stripe-Signature": sign(body)})

    assert (answer.status_code, answer.get_json()) == (500, {"outcome": "store_failed"})
    assert (again.status_code, again.get_json()) == (200, {"outcome": "stored"})
    assert [line["outcome"] for line in lines(capsys)] == ["store_failed", "stored"]


def take_down(folder: Path) -> None:
    """The app database is there, and does not answer."""
    SQLiteDatabase(folder / "app.sqlite").close()
    fault = FaultRegistry(faults.KINDS).arm({"kind": "outage", "rate": 1.0})
    faults.arm(faults.faults_path(folder / "app.sqlite"), fault.describe())


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in capsys.readouterr().out.splitlines() if text.startswith("{")]
