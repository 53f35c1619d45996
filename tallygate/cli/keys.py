"""``tallygate keys``: issue a key, list a tenant's keys, revoke one, replace one by another."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import typer

from tallygate.appdb import Database
from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson, TenantId, Yes, confirm
from tallygate.cli.settings import database, operator_settings
from tallygate.cli.tables import Format, written, written_one
from tallygate.clock import parse_rfc3339
from tallygate.keys import MintedKey
from tallygate.tenants import ApiKey, end_key, get_tenant, issue_key, list_keys, revoke_key

app = typer.Typer(no_args_is_help=True)

_COLUMNS: Final = ("key_id", "tenant_id", "label", "created_at", "expires_at", "revoked_at")

KeyId = Annotated[str, typer.Argument(help="key_…, as list shows it.")]


@app.command()
def issue(
    tenant_id: TenantId,
    label: Annotated[str, typer.Option(help="What it is for; no person's name is needed.")],
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="Without it, never.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it is shown this once, only its hash is stored."""
    settings = operator_settings()
    now = settings.clock.now()
    with database(settings) as opened:
        if get_tenant(opened, tenant_id) is None:
            raise OperatorError(f"there is no tenant {tenant_id}: tallygate tenants list")
        expires_at = None if expires_in_days is None else now + timedelta(days=expires_in_days)
        made = issue_key(opened, tenant_id, label=label, now=now, expires_at=expires_at)
    _print_new(made, {"tenant_id": tenant_id, "label": label, "expires_at": expires_at}, as_json=as_json)


@app.command("list")
def list_of(tenant_id: TenantId, as_json: AsJson = False) -> None:
    """A tenant's keys, oldest first: ids and labels, never a key."""
    with database(operator_settings()) as opened:
        found = list_keys(opened, tenant_id)
    if as_json:
        rows = [{name: getattr(key, name) for name in _COLUMNS} for key in found]
        print(written(rows, _COLUMNS, Format.JSON))
        return
    for key in found:
        ends = f"revoked {key.revoked_at}" if key.revoked_at else f"expires {key.expires_at or 'never'}"
        print(f"{key.key_id}  {key.label}  created {key.created_at}  {ends}")


@app.command()
def revoke(tenant_id: TenantId, key_id: KeyId, yes: Yes = False, as_json: AsJson = False) -> None:
    """Make a key worthless from now on; proxies that know it forget it within the key cache's time."""
    settings = operator_settings()
    with database(settings) as opened:
        key = _require(opened, tenant_id, key_id)
        confirm(f"Revoke {key_id} ({key.label}) of {tenant_id}?", yes=yes)
        now = settings.clock.now()
        revoke_key(opened, key, at=now)
    shown = {"key_id": key_id, "tenant_id": tenant_id, "revoked_at": now}
    print(written_one(shown, f"{key_id} is revoked", as_json=as_json))


@app.command()
def rotate(
    tenant_id: TenantId,
    key_id: KeyId,
    overlap_hours: Annotated[int, typer.Option(min=0, help="How long the old key still works.")] = 24,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make a key in the place of another and print it, this once. The old one ends after the overlap."""
    settings = operator_settings()
    with database(settings) as opened:
        old = _require(opened, tenant_id, key_id)
        now = settings.clock.now()
        if not old.valid_at(now):
            raise OperatorError(f"{key_id} is worthless already: tallygate keys issue {tenant_id}")
        ends = min([now + timedelta(hours=overlap_hours), *_end_of(old)])
        confirm(f"Let {key_id} ({old.label}) of {tenant_id} end at {ends:%Y-%m-%d %H:%M} UTC?", yes=yes)
        made = issue_key(opened, tenant_id, label=old.label, now=now)
        end_key(opened, old, at=ends)
    shown = {"tenant_id": tenant_id, "label": old.label, "replaces": key_id, "replaced_until": ends}
    _print_new(made, shown, as_json=as_json)


def _end_of(key: ApiKey) -> list[datetime]:
    return [] if key.expires_at is None else [parse_rfc3339(key.expires_at)]


def _require(opened: Database, tenant_id: str, key_id: str) -> ApiKey:
    for key in list_keys(opened, tenant_id):
        if key.key_id == key_id:
            return key
    raise OperatorError(f"tenant {tenant_id} has no key {key_id}: tallygate keys list {tenant_id}")


def _print_new(made: MintedKey, about: dict[str, Any], *, as_json: bool) -> None:
    print(written_one({"key_id": made.key_id, "key": made.secret, **about}, made.secret, as_json=as_json))
