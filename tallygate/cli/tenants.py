"""``tallygate tenants``: make a tenant, look at one, stop and resume service, forget one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import typer

from tallygate.appdb import Database
from tallygate.cli.errors import OperatorError
from tallygate.cli.settings import database, operator_settings, plans_by_name
from tallygate.subscriptions.binding import BindingError, bind
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

TenantId = Annotated[str, typer.Argument(help="For example acme.")]


@app.command()
def add(
    tenant_id: TenantId,
    plan: Annotated[str, typer.Option(help="A plan of plans.json: what holds until Stripe says more.")],
    customer: Annotated[str | None, typer.Option(help="Its Stripe customer, cus_….")] = None,
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
        _print(_require(opened, tenant_id))


@app.command("bind")
def bind_customer(
    tenant_id: TenantId, customer: Annotated[str, typer.Argument(help="Its Stripe customer, cus_….")]
) -> None:
    """Say which Stripe customer a tenant is. One customer belongs to one tenant, for good."""
    with database(operator_settings()) as opened:
        _bind(opened, tenant_id, customer)
        _print(_require(opened, tenant_id))


@app.command("list")
def list_tenants() -> None:
    """All tenants, one a line."""
    with database(operator_settings()) as opened:
        for _, document in opened.query("tenants"):
            _print(tenant_from(document))


@app.command()
def show(tenant_id: TenantId) -> None:
    """One tenant."""
    with database(operator_settings()) as opened:
        _print(_require(opened, tenant_id))


@app.command()
def suspend(tenant_id: TenantId) -> None:
    """Stop serving a tenant, whatever its subscription says. Takes effect within the key cache's time."""
    _set_operator_status(tenant_id, "suspended")


@app.command()
def resume(tenant_id: TenantId) -> None:
    """Let a tenant's subscription decide again."""
    _set_operator_status(tenant_id, None)


@app.command()
def erase(
    tenant_id: TenantId,
    confirm: Annotated[str, typer.Option(help="The tenant's id once more.")],
) -> None:
    """Close a tenant for good and delete what is known of its people: the labels and hashes of its keys.

    Invoices and the usage that they rest on are kept under the tenant's id, as the law of bookkeeping asks.
    """
    if confirm != tenant_id:
        raise OperatorError(f"nothing was erased: --confirm must be {tenant_id}")
    with database(operator_settings()) as opened:
        tenant = _require(opened, tenant_id)
        settings = operator_settings()
        _change(opened, tenant_id, lambda was: replace(was, operator_status="closed", status="closed"))
        keys = list_keys(opened, tenant_id)
        for key in keys:
            revoke_key(opened, key, at=settings.clock.now())
            opened.delete("api_keys", key.key_hash)
        print(f"{tenant_id} is closed; {len(keys)} keys are deleted")
        if tenant.stripe_customer is not None:
            print(
                f"names and addresses are at Stripe: delete or redact customer {tenant.stripe_customer} there"
            )


def _set_operator_status(tenant_id: str, status: OperatorStatus | None) -> None:
    def change(tenant: Tenant) -> Tenant:
        if tenant.operator_status == "closed":
            raise OperatorError(f"tenant {tenant_id} is closed for good: make another one")
        return replace(tenant, operator_status=status, status=status or tenant.billing_status or "pending")

    with database(operator_settings()) as opened:
        _print(_change(opened, tenant_id, change))


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


def _print(tenant: Tenant) -> None:
    by_operator = f" (by an operator: {tenant.operator_status})" if tenant.operator_status else ""
    print(
        f"{tenant.tenant_id}  {tenant.status}{by_operator}  plan {tenant.plan}  "
        f"customer {tenant.stripe_customer or 'none'}"
    )
