"""Tenants and keys as stored: what is broken is told by document and field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tallygate import keys
from tallygate.appdb import Database
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import rfc3339
from tallygate.tenants import (
    RecordError,
    Tenant,
    get_key,
    get_tenant,
    issue_key,
    list_keys,
    put_tenant,
    revoke_key,
    tenant_from,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TENANT = Tenant(
    tenant_id="acme",
    status="active",
    grace_until=None,
    plan="team",
    models=("gpt-4o-mini",),
    rpm=60,
    tpm=1000,
    max_parallel=5,
    monthly_budget_nano_usd=10**9,
    stripe_customer="cus_1",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    yield database
    database.close()


@pytest.mark.parametrize(
    "tenant", [TENANT, replace(TENANT, monthly_budget_nano_usd=None, stripe_customer=None)]
)
def test_a_tenant_comes_back_as_it_was_written(database: Database, tenant: Tenant) -> None:
    put_tenant(database, tenant)

    assert get_tenant(database, "acme") == tenant
    assert get_tenant(database, "nobody") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"plan": None}, "plan must be str, not NoneType"),
        ({"rpm": "60"}, "rpm must be int, not str"),
        ({"rpm": True}, "rpm must be int, not bool"),
        ({"rpm": 1.5}, "rpm must be int, not float"),
        ({"models": "gpt-4o"}, "models must be list, not str"),
        ({"status": "happy"}, "status 'happy' is none of pending, active, grace, suspended, closed"),
        ({"tenant_id": "A"}, "tenant_id does not match"),
        ({"tenant_id": "acme\n"}, "tenant_id does not match"),
        ({"monthly_budget_nano_usd": "1"}, "monthly_budget_nano_usd must be int, not str"),
    ],
    ids=str,
)
def test_a_broken_tenant_is_told_by_document_and_field(change: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordError, match="tenants/") as raised:
        tenant_from(asdict(TENANT) | {"models": ["gpt-4o-mini"]} | change)

    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("status", "grace_until", "serves"),
    [
        ("pending", None, False),
        ("active", None, True),
        ("grace", None, False),
        ("grace", rfc3339(NOW + timedelta(microseconds=1)), True),
        ("grace", rfc3339(NOW), False),
        ("suspended", rfc3339(NOW + timedelta(days=1)), False),
        ("closed", None, False),
    ],
)
def test_who_is_served_when(status: Any, grace_until: str | None, serves: bool) -> None:
    assert replace(TENANT, status=status, grace_until=grace_until).serves_at(NOW) is serves


def test_a_key_is_stored_under_its_hash_and_its_secret_nowhere(database: Database) -> None:
    minted = issue_key(database, "acme", label="ci", now=NOW, expires_at=NOW + timedelta(days=1))

    stored = get_key(database, minted.key_hash)

    assert stored is not None
    assert (stored.key_id, stored.tenant_id, stored.label) == (minted.key_id, "acme", "ci")
    assert minted.secret not in str(database.query("api_keys"))
    assert get_key(database, keys.mint().key_hash) is None


def test_a_key_ends_by_expiry_or_revocation_whichever_comes_first(database: Database) -> None:
    minted = issue_key(database, "acme", label="ci", now=NOW, expires_at=NOW + timedelta(days=2))
    (key,) = list_keys(database, "acme")
    assert key.valid_at(NOW + timedelta(days=2, microseconds=-1))
    assert not key.valid_at(NOW + timedelta(days=2))

    revoke_key(database, key, at=NOW + timedelta(days=1))

    revoked = get_key(database, minted.key_hash)
    assert revoked is not None
    assert revoked.valid_at(NOW)
    assert not revoked.valid_at(NOW + timedelta(days=1))


def test_keys_are_listed_per_tenant_oldest_first(database: Database) -> None:
    for days, tenant_id in ((2, "acme"), (1, "acme"), (0, "other")):
        issue_key(database, tenant_id, label=f"{days}", now=NOW + timedelta(days=days))

    assert [key.label for key in list_keys(database, "acme")] == ["1", "2"]


def test_a_broken_key_is_told_by_document_and_field(database: Database) -> None:
    minted = issue_key(database, "acme", label="ci", now=NOW)
    database.put("api_keys", minted.key_hash, {"key_id": minted.key_id, "key_hash": minted.key_hash})

    with pytest.raises(RecordError, match=f"api_keys/{minted.key_id}: tenant_id must be str"):
        get_key(database, minted.key_hash)
