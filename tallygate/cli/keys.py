"""``tallygate keys``: issue a key, list a tenant's keys, revoke one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from tallygate.cli.errors import OperatorError
from tallygate.cli.settings import database, operator_settings
from tallygate.tenants import get_tenant, issue_key, list_keys, revoke_key

app = typer.Typer(no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(help="For example acme.")]


@app.command()
def issue(
    tenant_id: TenantId,
    label: Annotated[str, typer.Option(help="What it is for; no person's name is needed.")],
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="Without it, never.")] = None,
) -> None:
    """Make a key and print it: it is shown this once, only its hash is stored."""
    settings = operator_settings()
    now = settings.clock.now()
    with database(settings) as opened:
        if get_tenant(opened, tenant_id) is None:
            raise OperatorError(f"there is no tenant {tenant_id}: tallygate tenants list")
        expires_at = None if expires_in_days is None else now + timedelta(days=expires_in_days)
        print(issue_key(opened, tenant_id, label=label, now=now, expires_at=expires_at).secret)


@app.command("list")
def list_of(tenant_id: TenantId) -> None:
    """A tenant's keys, oldest first: ids and labels, never a key."""
    with database(operator_settings()) as opened:
        for key in list_keys(opened, tenant_id):
            ends = f"revoked {key.revoked_at}" if key.revoked_at else f"expires {key.expires_at or 'never'}"
            print(f"{key.key_id}  {key.label}  created {key.created_at}  {ends}")


@app.command()
def revoke(
    tenant_id: TenantId,
    key_id: Annotated[str, typer.Argument(help="key_…, as list shows it.")],
) -> None:
    """Make a key worthless from now on; proxies that know it forget it within the key cache's time."""
    settings = operator_settings()
    with database(settings) as opened:
        found = [key for key in list_keys(opened, tenant_id) if key.key_id == key_id]
        if not found:
            raise OperatorError(f"tenant {tenant_id} has no key {key_id}: tallygate keys list {tenant_id}")
        revoke_key(opened, found[0], at=settings.clock.now())
        print(f"{key_id} is revoked")
