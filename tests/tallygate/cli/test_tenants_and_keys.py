"""Operators' commands on tenants and keys, as they are typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox.layout import REPOSITORY
from tallygate.appdb import Database, open_database
from tallygate.cli.__main__ import main
from tallygate.keys import key_hash, well_formed
from tallygate.tenants import change_tenant, get_key, get_tenant, list_keys

Run = Callable[..., str]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:{tmp_path / 'app.sqlite'}", project_id="p")
    yield opened
    opened.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; its output, which ends in the exit code where that is not 0."""
    configuration = REPOSITORY / "sandbox" / "config"
    monkeypatch.setenv("TALLYGATE_PROJECT_ID", "p")
    monkeypatch.setenv("TALLYGATE_APP_DATABASE", f"sqlite:{tmp_path / 'app.sqlite'}")
    monkeypatch.setenv("TALLYGATE_CATALOGUE", str(configuration / "catalogue.json"))
    monkeypatch.setenv("TALLYGATE_PLANS", str(configuration / "plans.json"))

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["tallygate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        code = ended.value.code or 0
        return told.out + told.err + (f"exit {code}" if code else "")

    return call


def test_a_tenant_is_made_pending_with_what_its_plan_gives(run: Run, database: Database) -> None:
    told = run("tenants", "add", "acme", "--plan", "team", "--customer", "cus_1")

    tenant = get_tenant(database, "acme")
    assert told == "acme  pending  plan team  customer cus_1\n"
    assert tenant is not None
    assert (tenant.status, tenant.stripe_customer) == ("pending", "cus_1")
    assert tenant.rpm > 0
    assert run("tenants", "list") == run("tenants", "show", "acme") == told


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("tenants", "add", "acme", "--plan", "team"), "tenant acme exists"),
        (("tenants", "add", "Acme!", "--plan", "team"), "a tenant id must match"),
        (("tenants", "add", "other", "--plan", "gold"), "there is no plan 'gold': plans.json has"),
        (("tenants", "add", "other", "--plan", "team", "--customer", "cus_1"), "customer_bound"),
        (("tenants", "bind", "acme", "cus_2"), "tenant_bound"),
        (("tenants", "show", "nobody"), "there is no tenant nobody: tallygate tenants list"),
        (("tenants", "suspend", "nobody"), "there is no tenant nobody"),
        (("tenants", "erase", "acme", "--confirm", "acne"), "nothing was erased: --confirm must be acme"),
        (("keys", "issue", "nobody", "--label", "x"), "there is no tenant nobody"),
        (("keys", "revoke", "acme", "key_x"), "tenant acme has no key key_x"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(arguments: tuple[str, ...], problem: str, run: Run) -> None:
    run("tenants", "add", "acme", "--plan", "team", "--customer", "cus_1")

    told = run(*arguments)

    assert problem in told
    assert told.endswith("exit 1")


def test_every_missing_setting_is_named_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TALLYGATE_PROJECT_ID", "TALLYGATE_APP_DATABASE"):
        monkeypatch.delenv(name)

    told = run("tenants", "list")

    assert "TALLYGATE_PROJECT_ID" in told
    assert "TALLYGATE_APP_DATABASE" in told
    assert told.endswith("exit 2")


def test_an_operator_stops_service_and_gives_it_back_to_the_subscription(
    run: Run, database: Database
) -> None:
    run("tenants", "add", "acme", "--plan", "team")
    change_tenant(database, "acme", lambda was: replace(was, billing_status="active", status="active"))

    assert run("tenants", "suspend", "acme").startswith("acme  suspended (by an operator: suspended)")
    assert run("tenants", "resume", "acme").startswith("acme  active  plan team")


def test_a_key_is_shown_once_and_is_worthless_once_revoked(run: Run, database: Database) -> None:
    run("tenants", "add", "acme", "--plan", "team")

    secret = run("keys", "issue", "acme", "--label", "ci", "--expires-in-days", "30").strip()
    listed = run("keys", "list", "acme")
    stored = get_key(database, key_hash(secret))

    assert well_formed(secret)
    assert stored is not None
    assert stored.valid_at(datetime.now(UTC))
    assert secret not in listed
    assert re.fullmatch(rf"{stored.key_id}  ci  created \S+  expires \S+\n", listed)

    assert run("keys", "revoke", "acme", stored.key_id) == f"{stored.key_id} is revoked\n"
    stored = get_key(database, key_hash(secret))
    assert stored is not None
    assert not stored.valid_at(datetime.now(UTC))


def test_an_erased_tenant_is_closed_for_good_and_leaves_no_key(run: Run, database: Database) -> None:
    run("tenants", "add", "acme", "--plan", "team", "--customer", "cus_1")
    secret = run("keys", "issue", "acme", "--label", "a person's laptop").strip()

    told = run("tenants", "erase", "acme", "--confirm", "acme")

    tenant = get_tenant(database, "acme")
    assert "acme is closed; 1 keys are deleted" in told
    assert "delete or redact customer cus_1 there" in told
    assert tenant is not None
    assert tenant.status == "closed"
    assert list_keys(database, "acme") == []
    assert get_key(database, key_hash(secret)) is None
    assert "closed for good" in run("tenants", "resume", "acme")
