"""``tallygate tenants``: make a tenant, look at one, stop and resume service, forget one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Annotated, Final

import typer

from tallygate.appdb import Database
from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson, TenantId, Yes, confirm
from tallygate.cli.settings import database, operator_settings, plans_by_name
from tallygate.cli.tables import Format, written, written_one
from tallygate.subscriptions.binding import BindingError, bind
from tallygate.subscriptions.inbox import parked_for_want_of_tenant, retry_now
from tallygate.tenants import (
    TENANT_ID,
    OperatorStatus,
    Tenant,
    change_tenant,
    get_tenant,
    list_keys,
    put_tenant,
    revoke_key,
    tenant_from,
)

app = typer.Typer(no_args_is_help=True)

_COLUMNS: Final = tuple(name for name in Tenant.__dataclass_fields__)


@app.command("create", hidden=True)
@app.command()
def add(
    tenant_id: TenantId,
    plan: Annotated[str, typer.Option(help="A plan of plans.json: what holds until Stripe says more.")],
    customer: Annotated[str | None, typer.Option(help="Its Stripe customer, cus_….")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant. It is pending, and served from when its subscription is active."""
    if not TENANT_ID.fullmatch(tenant_id):
        raise OperatorError(f"a tenant id must match {TENANT_ID.pattern}, not {tenant_id!r}")
    settings = operator_settings()
    plans = plans_by_name(settings.clock)
    if plan not in plans:
        raise OperatorError(f"there is no plan {plan!r}: plans.json has {', '.join(sorted(plans))}")
    chosen = plans[plan]
    made = Tenant(
        tenant_id=tenant_id,
        status="pending",
        grace_until=None,
        plan=plan,
        models=chosen.models,
        rpm=chosen.quotas.rpm,
        tpm=chosen.quotas.tpm,
        max_parallel=chosen.quotas.max_parallel,
        monthly_budget_nano_usd=chosen.monthly_budget_nano_usd,
        stripe_customer=None,
    )
    with database(settings) as opened:
        if get_tenant(opened, tenant_id) is not None:
            raise OperatorError(f"tenant {tenant_id} exists: tallygate tenants show {tenant_id}")
        put_tenant(opened, made)
        if customer is not None:
            _bind(opened, tenant_id, customer)
        _print(_require(opened, tenant_id), as_json=as_json)


@app.command("bind")
def bind_customer(
    tenant_id: TenantId,
    customer: Annotated[str, typer.Argument(help="Its Stripe customer, cus_….")],
    as_json: AsJson = False,
) -> None:
    """Say which Stripe customer a tenant is. One customer belongs to one tenant, for good."""
    settings = operator_settings()
    with database(settings) as opened:
        _bind(opened, tenant_id, customer)
        for event_id in parked_for_want_of_tenant(opened, customer):
            retry_now(opened, event_id, settings.clock.now())
        _print(_require(opened, tenant_id), as_json=as_json)


@app.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """All tenants, one a line."""
    with database(operator_settings()) as opened:
        found = [tenant_from(document) for _, document in opened.query("tenants")]
    if as_json:
        print(written([asdict(tenant) for tenant in found], _COLUMNS, Format.JSON))
        return
    for tenant in found:
        _print(tenant)


@app.command()
def show(tenant_id: TenantId, as_json: AsJson = False) -> None:
    """One tenant."""
    with database(operator_settings()) as opened:
        _print(_require(opened, tenant_id), as_json=as_json)


@app.command()
def suspend(tenant_id: TenantId, yes: Yes = False, as_json: AsJson = False) -> None:
    """Stop serving a tenant, whatever its subscription says. Takes effect within the key cache's time."""
    _set_operator_status(tenant_id, "suspended", f"Stop serving {tenant_id}?", yes=yes, as_json=as_json)


@app.command()
def resume(tenant_id: TenantId, as_json: AsJson = False) -> None:
    """Let a tenant's subscription decide again."""
    _set_operator_status(tenant_id, None, "", yes=True, as_json=as_json)


@app.command()
def close(tenant_id: TenantId, yes: Yes = False, as_json: AsJson = False) -> None:
    """Stop serving a tenant for good and revoke its keys. What it used stays billed.

    Its subscription is Stripe's: cancel it there, by the portal or the API, with a last invoice at once.
    """
    settings = operator_settings()
    with database(settings) as opened:
        tenant = _require(opened, tenant_id)
        confirm(f"Close {tenant_id} for good and revoke its keys?", yes=yes)
        closed = _change(opened, tenant_id, _closed)
        for key in list_keys(opened, tenant_id):
            if key.revoked_at is None:
                revoke_key(opened, key, at=settings.clock.now())
        _print(closed, as_json=as_json)
    if tenant.billing_status in ("active", "grace"):
        typer.echo(
            f"the subscription of {tenant.stripe_customer} goes on in Stripe: cancel it there", err=True
        )


@app.command()
def erase(
    tenant_id: TenantId,
    again: Annotated[str, typer.Option("--confirm", help="The tenant's id once more.")],
    as_json: AsJson = False,
) -> None:
    """Close a tenant for good and delete what is known of its people: the labels and hashes of its keys.

    Invoices and the usage that they rest on are kept under the tenant's id, as the law of bookkeeping asks.
    """
    if again != tenant_id:
        raise OperatorError(f"nothing was erased: --confirm must be {tenant_id}")
    with database(operator_settings()) as opened:
        tenant = _require(opened, tenant_id)
        settings = operator_settings()
        _change(opened, tenant_id, _closed)
        keys = list_keys(opened, tenant_id)
        for key in keys:
            revoke_key(opened, key, at=settings.clock.now())
            opened.delete("api_keys", key.key_hash)
    if as_json:
        erased = {"tenant_id": tenant_id, "keys": len(keys), "stripe_customer": tenant.stripe_customer}
        print(written_one(erased, "", as_json=True))
        return
    print(f"{tenant_id} is closed; {len(keys)} keys are deleted")
    if tenant.stripe_customer is not None:
        print(f"names and addresses are at Stripe: delete or redact customer {tenant.stripe_customer} there")


def _set_operator_status(
    tenant_id: str, status: OperatorStatus | None, question: str, *, yes: bool, as_json: bool
) -> None:
    def change(tenant: Tenant) -> Tenant:
        if tenant.operator_status == "closed":
            raise OperatorError(f"tenant {tenant_id} is closed for good: make another one")
        return replace(tenant, operator_status=status, status=status or tenant.billing_status or "pending")

    with database(operator_settings()) as opened:
        _require(opened, tenant_id)
        confirm(question, yes=yes)
        _print(_change(opened, tenant_id, change), as_json=as_json)


def _closed(tenant: Tenant) -> Tenant:
    return replace(tenant, operator_status="closed", status="closed")


def _bind(opened: Database, tenant_id: str, customer: str) -> None:
    try:
        bind(opened, tenant_id, customer)
    except BindingError as error:
        raise OperatorError(f"{customer} can't be bound to {tenant_id}: {error.reason}") from error


def _change(opened: Database, tenant_id: str, change: Callable[[Tenant], Tenant]) -> Tenant:
    try:
        return change_tenant(opened, tenant_id, change)
    except KeyError:
        raise _missing(tenant_id) from None


def _require(opened: Database, tenant_id: str) -> Tenant:
    tenant = get_tenant(opened, tenant_id)
    if tenant is None:
        raise _missing(tenant_id)
    return tenant


def _missing(tenant_id: str) -> OperatorError:
    return OperatorError(f"there is no tenant {tenant_id}: tallygate tenants list")


def _print(tenant: Tenant, *, as_json: bool = False) -> None:
    by_operator = f" (by an operator: {tenant.operator_status})" if tenant.operator_status else ""
    line = (
        f"{tenant.tenant_id}  {tenant.status}{by_operator}  plan {tenant.plan}  "
        f"customer {tenant.stripe_customer or 'none'}"
    )
    print(written_one(asdict(tenant), line, as_json=as_json))
