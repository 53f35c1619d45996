"""The function ``stripe_webhook`` as it is deployed: signed bytes in, an answer and the inbox out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe
from flask.testing import FlaskClient
from functions_framework import create_app
from werkzeug.test import TestResponse

from sandbox.faults import FaultRegistry
from sandbox.layout import REPOSITORY
from tallygate.appdb import faults
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.subscriptions import inbox
from tallygate.subscriptions.events import SNAPSHOT_EVENTS, read_event
from tests.support.stripe_events import SECRET, sign, snapshot, thin

SOURCE = str(REPOSITORY / "functions" / "main.py")
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there: attempts to apply fail, the event is kept all the same."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "stripe-webhook-secret").write_text(SECRET)
    (tmp_path / "secrets" / "stripe-api-key").write_text("sk_test_of_the_tests")
    for name, value in {
        "PROJECT_ID": "tests",
        "APP_DATABASE": f"sqlite:{tmp_path / 'app.sqlite'}",
        "SECRETS": f"file:{tmp_path / 'secrets'}",
        "STRIPE_API_BASE": NOWHERE,
        "CATALOGUE": str(REPOSITORY / "sandbox" / "config" / "catalogue.json"),
        "PLANS": str(REPOSITORY / "sandbox" / "config" / "plans.json"),
    }.items():
        monkeypatch.setenv(f"TALLYGATE_{name}", value)
    return tmp_path


@pytest.fixture
def database(folder: Path) -> SQLiteDatabase:
    return SQLiteDatabase(folder / "app.sqlite")


@pytest.fixture
def client(folder: Path) -> FlaskClient:
    made: FlaskClient = create_app("stripe_webhook", SOURCE).test_client()
    return made


Post = Callable[..., TestResponse]


@pytest.fixture
def post(client: FlaskClient) -> Post:
    def send(body: bytes, header: str | None = "signed") -> TestResponse:
        signature = sign(body) if header == "signed" else header
        headers = {} if signature is None else {"Stripe-Signature": signature}
        return client.post("/", data=body, headers=headers)

    return send


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in read if line["event"] == "webhook"]


@pytest.mark.parametrize("body", [snapshot(), thin()], ids=["snapshot", "thin"])
def test_a_signed_event_is_kept_and_acknowledged(post: Post, database: SQLiteDatabase, body: bytes) -> None:
    answer = post(body)

    row = inbox.get(database, json.loads(body)["id"])
    assert answer.status_code == 200
    assert row is not None
    assert (row.type, row.state) == ("customer.subscription.updated", "waiting")


def test_a_repeated_event_is_acknowledged_and_kept_once(
    post: Post, database: SQLiteDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    post(snapshot())
    answer = post(snapshot())

    assert answer.status_code == 200
    assert [line["outcome"] for line in lines(capsys)] == ["stored", "duplicate"]
    assert len(database.query("inbox")) == 1


def test_nothing_of_the_payload_is_kept(post: Post, database: SQLiteDatabase) -> None:
    post(snapshot(about={"metadata": {"secret": "canary"}, "description": "canary"}))

    assert "canary" not in json.dumps(database.query("inbox"))


@pytest.mark.parametrize(
    "body",
    [
        snapshot("evt_1", kind="radar.early_fraud_warning.created"),
        thin("evt_1", kind="v1.radar.early_fraud_warning.created"),
        thin("evt_1", kind="v2.some.thing"),
    ],
    ids=["snapshot", "thin", "of version 2"],
)
def test_an_unknown_type_is_kept_and_ignored(
    post: Post, database: SQLiteDatabase, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    answer = post(body)

    row = inbox.get(database, "evt_1")
    assert answer.status_code == 200
    assert row is not None
    assert row.state == "ignored"
    assert lines(capsys)[0]["outcome"] == "ignored"


OLD = timedelta(seconds=302)
BODY = snapshot()


Header = Callable[[datetime], str | None]
"""Made when the test runs: a signature is good for five minutes."""


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param(lambda now: None, "missing", id="none"),
        pytest.param(lambda now: "", "missing", id="empty"),
        pytest.param(lambda now: "garbage", "malformed", id="garbage"),
        pytest.param(lambda now: "t=,v1=", "malformed", id="empty parts"),
        pytest.param(lambda now: "t=1,t=2,v1=ab", "malformed", id="two times"),
        pytest.param(lambda now: f"t={int(now.timestamp())}", "malformed", id="no signature"),
        pytest.param(lambda now: sign(BODY, now, "whsec_other"), "no_match", id="another secret"),
        pytest.param(
            lambda now: sign(BODY, now, "").replace("v1=", "v0="), "malformed", id="an empty secret"
        ),
        pytest.param(lambda now: sign(BODY, now - OLD), "too_old", id="old"),
        pytest.param(lambda now: sign(BODY, now + timedelta(days=1)), "in_future", id="future"),
        pytest.param(lambda now: sign(b"other", now), "no_match", id="another body"),
    ],
)
def test_a_bad_signature_is_refused(
    post: Post, database: SQLiteDatabase, capsys: pytest.CaptureFixture[str], header: Header, reason: str
) -> None:
    answer = post(BODY, header(datetime.now(UTC)))

    assert answer.status_code == 400
    assert [(line["outcome"], line["reason"]) for line in lines(capsys)] == [("bad_signature", reason)]
    assert database.query("inbox") == []


def test_the_same_json_written_otherwise_is_refused(post: Post) -> None:
    """The signature is over bytes: whoever reads and writes JSON in between breaks it."""
    answer = post(json.dumps(json.loads(BODY), indent=1).encode(), sign(BODY))

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"\xff\xfe", "bad_event"),
        (b"[]", "bad_event"),
        (b'"text"', "bad_event"),
        (b"{}", "bad_event"),
        (b"[" * 100_000, "bad_event"),
        (snapshot(event_id="../tenants/acme"), "bad_event"),
        (snapshot(created="soon"), "bad_event"),
        (snapshot(created=10**20), "bad_event"),
        (snapshot(livemode=None), "bad_event"),
        (snapshot(data=None), "bad_event"),
        (snapshot(about={"customer": 7}), "bad_event"),
        (thin(created="yesterday"), "bad_event"),
        (thin(related_object="sub_1"), "bad_event"),
        (snapshot(livemode=True), "wrong_mode"),
        (thin(livemode=True), "wrong_mode"),
        (snapshot(account="acct_other"), "wrong_account"),
        (thin(context="acct_other"), "wrong_account"),
    ],
)
def test_a_signed_body_that_is_no_event_of_ours_is_refused(
    post: Post, database: SQLiteDatabase, capsys: pytest.CaptureFixture[str], body: bytes, outcome: str
) -> None:
    answer = post(body)

    assert answer.status_code == 400
    assert [line["outcome"] for line in lines(capsys)] == [outcome]
    assert database.query("inbox") == []


def test_a_large_body_is_refused_without_being_read(post: Post, capsys: pytest.CaptureFixture[str]) -> None:
    answer = post(b"x" * 10_000_000)

    assert answer.status_code == 413
    assert [line["outcome"] for line in lines(capsys)] == ["too_large"]


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_post_is_taken(client: FlaskClient, method: str) -> None:
    assert getattr(client, method)("/").status_code == 405


def test_without_a_signing_secret_stripe_is_asked_to_come_again(post: Post, folder: Path) -> None:
    (folder / "secrets" / "stripe-webhook-secret").unlink()

    assert post(snapshot()).status_code == 500


def test_an_event_that_can_not_be_kept_is_not_acknowledged(
    post: Post, database: SQLiteDatabase, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    post(snapshot("evt_0"))
    database.close()
    fault = FaultRegistry(faults.KINDS).arm({"kind": "outage", "count": 100})
    faults.arm(faults.faults_path(folder / "app.sqlite"), fault.describe())

    answer = post(snapshot())

    assert answer.status_code == 500
    assert lines(capsys)[-1]["outcome"] == "store_failed"


def test_both_newest_secrets_are_taken_and_an_older_one_is_not(post: Post, folder: Path) -> None:
    (folder / "secrets" / "stripe-webhook-secret").write_text("whsec_new\nwhsec_old\nwhsec_oldest")
    now = datetime.now(UTC)

    statuses = [
        post(snapshot(f"evt_{name}"), sign(snapshot(f"evt_{name}"), now, f"whsec_{name}")).status_code
        for name in ("new", "old", "oldest")
    ]

    assert statuses == [200, 200, 400]


def test_the_header_of_the_sdk_is_taken(post: Post) -> None:
    """Our own check of signatures agrees with the one that Stripe publishes."""
    body = snapshot()
    at = int(datetime.now(UTC).timestamp())
    digest = stripe.WebhookSignature._compute_signature(f"{at}.{body.decode()}", SECRET)

    assert post(body, f"t={at},v1={digest}").status_code == 200
    assert stripe.WebhookSignature.verify_header(body.decode(), sign(body), SECRET, 300)


def test_all_events_that_are_asked_for_have_a_use() -> None:
    for kind in SNAPSHOT_EVENTS:
        assert read_event(snapshot(kind=kind)).topic != "ignored", kind
