"""The command line as it is typed, on an app database, and on a Stripe double where a test needs one."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stripe

from sandbox.layout import REPOSITORY
from tallygate.appdb import Database, open_database
from tallygate.cli.__main__ import main
from tallygate.subscriptions import inbox
from tallygate.subscriptions.events import StripeEvent
from tests.sandbox.stripe.double import Double, Host
from tests.support.stage_fixtures import stripe_host

__all__ = ["stripe_host"]

Run = Callable[..., str]
KEY = "sk_test_of_the_operator"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:{tmp_path / 'app.sqlite'}", project_id="p")
    yield opened
    opened.close()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "stripe-api-key").write_text(KEY)
    return folder


@pytest.fixture
def run(
    tmp_path: Path, secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs a command line; its output, which ends in the exit code where that is not 0.

    ``stdin``: what comes on standard input.
    """
    configuration = REPOSITORY / "sandbox" / "config"
    monkeypatch.delenv("STRIPE_API_KEY", raising=False)
    monkeypatch.setenv("TALLYGATE_PROJECT_ID", "p")
    monkeypatch.setenv("TALLYGATE_APP_DATABASE", f"sqlite:{tmp_path / 'app.sqlite'}")
    monkeypatch.setenv("TALLYGATE_SECRETS", f"file:{secrets}")
    monkeypatch.setenv("TALLYGATE_CATALOGUE", str(configuration / "catalogue.json"))
    monkeypatch.setenv("TALLYGATE_PLANS", str(configuration / "plans.json"))

    def call(*arguments: str, stdin: str = "") -> str:
        monkeypatch.setattr(sys, "argv", ["tallygate", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        code = ended.value.code or 0
        return told.out + told.err + (f"exit {code}" if code else "")

    return call


@pytest.fixture
def double(tmp_path: Path, stripe_host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """Stripe, where the commands look for it."""
    with stripe_host.running(tmp_path / "stripe") as here:
        monkeypatch.setenv("TALLYGATE_STRIPE_API_BASE", here.url)
        yield here


@pytest.fixture
def client(double: Double) -> stripe.StripeClient:
    return double.client()


def parked(database: Database, event_id: str, reason: str, *, customer: str | None = None) -> None:
    """An event that was given up."""
    now = datetime.now(UTC)
    event = StripeEvent(
        event_id=event_id, type="customer.subscription.updated", thin=False, created=now, livemode=False,
        account=None, object_id="sub_1", customer=customer,
    )  # fmt: skip
    row = inbox.store(database, event, now, "webhook")
    assert row is not None
    inbox.park(database, row, reason, now)
