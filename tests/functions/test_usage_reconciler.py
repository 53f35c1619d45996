"""The function ``usage_reconciler`` as it is deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.functions.deployed import environment, function, stage_of_functions
from tests.sandbox.stripe.double import Host
from tests.sql.cases import INPUT, ONLY_INPUT, line, segment
from tests.support.host import Host as ServerHost
from tests.support.stage import Stage


@pytest.fixture
def on_stage(tmp_path: Path, bigquery_host: ServerHost, stripe_host: Host) -> Iterator[Stage]:
    with stage_of_functions(tmp_path, bigquery_host, stripe_host) as here:
        yield here


def test_a_run_confirms_what_stripe_counts_and_leaves_one_summary_line(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = on_stage.customer()
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=customer))
    on_stage.insert("usage_raw.run_googleapis_com_stdout", line("r1", **ONLY_INPUT))
    on_stage.report()
    on_stage.advance(hours=3)
    reconciler = function("usage_reconciler", environment(on_stage), monkeypatch)
    capsys.readouterr()

    answer = reconciler.post("/", json={"depth": "hourly"})

    assert answer.status_code == 200
    assert answer.json is not None
    assert (answer.json["confirmed"], answer.json["proposed"]) == (1, 0)
    (row,) = on_stage.deliveries()
    assert (row["meter"], row["delivery"]) == (INPUT, "confirmed")
    out = capsys.readouterr().out
    (summary,) = [json.loads(text) for text in out.splitlines() if '"job_run"' in text]
    assert (summary["job"], summary["depth"], summary["outcome"]) == ("usage_reconciler", "hourly", "done")
    assert "sk_test" not in out


@pytest.mark.parametrize("body", [{"depth": "deep"}, {"depth": None}, {"from": "x"}, []])
def test_a_body_that_makes_no_sense_is_refused(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    reconciler: FlaskClient = function("usage_reconciler", environment(on_stage), monkeypatch)

    answer = reconciler.post("/", json=body)

    assert answer.status_code == 400
    assert answer.json is not None
    assert "recent, hourly, daily" in answer.json["error"]


def test_only_post_works(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reconciler: FlaskClient = function("usage_reconciler", environment(on_stage), monkeypatch)

    assert reconciler.get("/").json == {"function": "usage_reconciler"}
    assert reconciler.put("/").status_code == 405


def test_a_decision_is_taken_and_one_that_can_t_be_is_refused(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciler: FlaskClient = function("usage_reconciler", environment(on_stage), monkeypatch)
    body = {"repair": "summary:x", "decision": "approve", "by": "finance"}

    bad = reconciler.post("/", json=body | {"decision": "maybe"})
    unknown = reconciler.post("/", json=body)

    assert bad.status_code == 400
    assert unknown.status_code == 409
    assert unknown.json is not None
    assert "there is no repair" in unknown.json["error"]
