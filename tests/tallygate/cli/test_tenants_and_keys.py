"""Operators' commands on tenants and keys, as they are typed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tallygate.appdb import Database
from tallygate.keys import key_hash, well_formed
from tallygate.subscriptions import inbox
from tallygate.subscriptions.inbox import NO_TENANT
from tallygate.tenants import change_tenant, get_key, get_tenant, list_keys
from tests.tallygate.cli.conftest import Run, parked


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
        (("keys", "rotate", "acme", "key_x"), "tenant acme has no key key_x"),
        (("tenants", "suspend", "acme"), "Stop serving acme? Nothing was done: say --yes"),
        (("tenants", "close", "acme"), "Close acme for good and revoke its keys? Nothing was done"),
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

    assert run("tenants", "suspend", "acme", "--yes").startswith(
        "acme  suspended (by an operator: suspended)"
    )
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

    assert run("keys", "revoke", "acme", stored.key_id, "--yes") == f"{stored.key_id} is revoked\n"
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


def test_a_closed_tenant_is_closed_for_good_and_its_keys_are_worthless(run: Run, database: Database) -> None:
    run("tenants", "add", "acme", "--plan", "team", "--customer", "cus_1")
    change_tenant(database, "acme", lambda was: replace(was, billing_status="active", status="active"))
    secret = run("keys", "issue", "acme", "--label", "ci").strip()

    told = run("tenants", "close", "acme", "--yes")

    key = get_key(database, key_hash(secret))
    assert told.startswith("acme  closed")
    assert "the subscription of cus_1 goes on in Stripe: cancel it there" in told
    assert key is not None
    assert not key.valid_at(datetime.now(UTC))
    assert "closed for good" in run("tenants", "resume", "acme")


def test_a_key_in_the_place_of_another_works_beside_it_for_a_while(run: Run, database: Database) -> None:
    run("tenants", "add", "acme", "--plan", "team")
    old = json.loads(run("keys", "issue", "acme", "--label", "ci", "--json"))

    made = json.loads(run("keys", "rotate", "acme", old["key_id"], "--overlap-hours", "2", "--yes", "--json"))

    now = datetime.now(UTC)
    before, after = (get_key(database, key_hash(one["key"])) for one in (old, made))
    assert before is not None
    assert after is not None
    assert (made["label"], made["replaces"]) == ("ci", old["key_id"])
    assert before.valid_at(now + timedelta(minutes=100))
    assert not before.valid_at(now + timedelta(minutes=140))
    assert after.valid_at(now + timedelta(days=400))


def test_a_rotation_never_makes_a_key_last_longer(run: Run, database: Database) -> None:
    run("tenants", "add", "acme", "--plan", "team")
    old = json.loads(run("keys", "issue", "acme", "--label", "ci", "--expires-in-days", "1", "--json"))

    run("keys", "rotate", "acme", old["key_id"], "--overlap-hours", "999", "--yes")

    key = get_key(database, key_hash(old["key"]))
    assert key is not None
    assert not key.valid_at(datetime.now(UTC) + timedelta(days=2))
    run("keys", "revoke", "acme", old["key_id"], "--yes")
    assert "worthless already" in run("keys", "rotate", "acme", old["key_id"], "--yes")


def test_programs_read_json(run: Run) -> None:
    made = json.loads(run("tenants", "add", "acme", "--plan", "team", "--json"))
    issued = json.loads(run("keys", "issue", "acme", "--label", "ci", "--json"))

    (listed,) = json.loads(run("keys", "list", "acme", "--json"))

    assert json.loads(run("tenants", "list", "--json")) == [made]
    assert json.loads(run("tenants", "show", "acme", "--json")) == made
    assert (made["status"], made["plan"]) == ("pending", "team")
    assert listed["key_id"] == issued["key_id"]
    assert issued["key"] not in json.dumps(listed)


def test_short_names_of_the_groups_work_too(run: Run) -> None:
    made = run("tenant", "create", "acme", "--plan", "team")

    assert made == run("tenants", "show", "acme")
    assert len(run("key", "issue", "acme", "--label", "ci")) > 20


def test_binding_a_customer_lets_its_parked_events_wait_again(run: Run, database: Database) -> None:
    run("tenants", "add", "acme", "--plan", "team")
    parked(database, "evt_1", NO_TENANT, customer="cus_1")

    run("tenants", "bind", "acme", "cus_1")

    row = inbox.get(database, "evt_1")
    assert row is not None
    assert (row.state, row.waiting_for) == ("waiting", "cus_1")
