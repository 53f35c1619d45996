"""``tallygate stripe``: links for tenants, and Stripe's way to the webhook."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson, TenantId, Yes, confirm
from tallygate.cli.secret_store import store_for
from tallygate.cli.settings import database, operator_settings
from tallygate.cli.stripe_client import stripe_client, told_by_stripe
from tallygate.cli.tables import written_one
from tallygate.secrets import STRIPE_WEBHOOK_SECRET
from tallygate.subscriptions.changing import ChangeError, cancel, running_subscriptions, set_seats
from tallygate.subscriptions.checkout import checkout_link
from tallygate.subscriptions.connecting import ConnectError, connect_webhook
from tallygate.subscriptions.portal import portal_link
from tallygate.subscriptions.prices import NotPublishedError, current_prices
from tallygate.subscriptions.settings import sync_settings
from tallygate.subscriptions.signature import VALID_AT_ONCE
from tallygate.tenants import Tenant, get_tenant

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """The Stripe account of the environment."""


@app.command("checkout-link")
def make_checkout_link(
    tenant_id: TenantId,
    success_url: Annotated[str, typer.Option(help="Where the page leads when it is paid.")],
    plan: Annotated[str, typer.Option(help="A plan of plans.json; the tenant's own if absent.")] = "",
    seats: Annotated[int, typer.Option(min=1, help="Where the plan has seats.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Make a page on which a tenant subscribes to a plan; who pays there is the tenant's customer.

    The link is for the tenant alone and ends after a day.
    """
    settings = sync_settings()
    _check_url("--success-url", success_url)
    tenant = _tenant(tenant_id)
    if tenant.operator_status == "closed":
        raise OperatorError(f"tenant {tenant_id} is closed for good: make another one")
    chosen = settings.plans.plans.get(plan or tenant.plan)
    if chosen is None:
        plans = ", ".join(sorted(settings.plans.plans))
        raise OperatorError(f"there is no plan {plan or tenant.plan!r}: plans.json has {plans}")
    client = stripe_client(settings)
    with told_by_stripe():
        running = running_subscriptions(client, tenant.stripe_customer) if tenant.stripe_customer else []
        if running:
            ids = ", ".join(one.id for one in running)
            raise OperatorError(
                f"tenant {tenant_id} has {ids} already: a second subscription would stop its "
                "meters; cancel that one first (tallygate stripe cancel)"
            )
        try:
            made = checkout_link(
                client, tenant_id=tenant_id, plan=chosen, prices=current_prices(client, settings.plans),
                success_url=success_url, seats=seats, customer=tenant.stripe_customer,
            )  # fmt: skip
        except NotPublishedError as error:
            raise OperatorError(str(error)) from error
    shown = {"tenant_id": tenant_id, "plan": chosen.name, "session_id": made.session_id, "url": made.url}
    print(written_one(shown, made.url, as_json=as_json))


@app.command("portal-link")
def make_portal_link(
    tenant_id: TenantId,
    return_url: Annotated[str, typer.Option(help="Where the portal leads back to.")],
    as_json: AsJson = False,
) -> None:
    """Make a link to the customer portal: seats, payment method, invoices, cancel at the period's end."""
    settings = sync_settings()
    _check_url("--return-url", return_url)
    customer = _customer(tenant_id)
    client = stripe_client(settings)
    with told_by_stripe():
        try:
            url = portal_link(client, customer, return_url)
        except NotPublishedError as error:
            raise OperatorError(str(error)) from error
    print(written_one({"tenant_id": tenant_id, "customer": customer, "url": url}, url, as_json=as_json))


@app.command("seats")
def change_seats(
    tenant_id: TenantId,
    seats: Annotated[int, typer.Argument(min=1, help="How many there shall be.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give a tenant's subscription so many seats, at once; Stripe prorates."""
    settings = sync_settings()
    customer = _customer(tenant_id)
    client = stripe_client(settings)
    confirm(f"Give {tenant_id} {seats} seats, which are charged from now on?", yes=yes)
    with told_by_stripe():
        try:
            changed = set_seats(client, customer, seats)
        except ChangeError as error:
            raise OperatorError(f"tenant {tenant_id}: {error}") from error
    shown = {"tenant_id": tenant_id, "subscription": changed, "seats": seats}
    print(written_one(shown, f"{changed} has {seats} seats", as_json=as_json))


@app.command("cancel")
def cancel_subscriptions(
    tenant_id: TenantId,
    now: Annotated[bool, typer.Option("--now", help="At once, with a last invoice.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End a tenant's subscriptions when their periods end. Final usage is on the final invoice either way.

    What was paid ahead for the period is not given back.
    """
    settings = sync_settings()
    customer = _customer(tenant_id)
    client = stripe_client(settings)
    when = "now" if now else "when the period ends"
    confirm(f"End the subscriptions of {tenant_id} {when}?", yes=yes)
    with told_by_stripe():
        ended = cancel(client, customer, at_once=now)
    if not ended:
        raise OperatorError(f"tenant {tenant_id} has no running subscription")
    shown = {"tenant_id": tenant_id, "subscriptions": ended, "at_once": now}
    print(written_one(shown, f"{', '.join(ended)} ends {when}", as_json=as_json))


@app.command("connect-webhook")
def connect(
    url: Annotated[str, typer.Option(help="Of the function stripe_webhook: output gateway, webhook_url.")],
    roll: Annotated[bool, typer.Option("--roll", help="Give it a new signing secret.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let Stripe send its events to the webhook, and keep the signing secret where the webhook reads it.

    The secret is not shown. What is connected already is brought up to date; it never gets a second time.
    """
    settings = sync_settings()
    _check_url("--url", url, secure=settings.livemode)
    client, store = stripe_client(settings), store_for(settings.secrets)
    before = store.state(STRIPE_WEBHOOK_SECRET)
    if not before.exists:
        raise OperatorError(
            f"there is no secret {STRIPE_WEBHOOK_SECRET} to keep it in: apply terraform/bootstrap first"
        )
    if roll:
        confirm(f"Give the webhook {url} a new signing secret?", yes=yes)
    with told_by_stripe():
        try:
            made = connect_webhook(
                client, url, kept=before.versions[:VALID_AT_ONCE], roll=roll,
                keep=lambda secret: store.add(STRIPE_WEBHOOK_SECRET, secret),
            )  # fmt: skip
        except ConnectError as error:
            raise OperatorError(str(error)) from error
    shown = {"destination_id": made.destination_id, "url": url, "outcome": made.outcome}
    print(written_one(shown, f"{made.destination_id} sends to {url}: {made.outcome}", as_json=as_json))


def _tenant(tenant_id: str) -> Tenant:
    with database(operator_settings()) as opened:
        tenant = get_tenant(opened, tenant_id)
    if tenant is None:
        raise OperatorError(f"there is no tenant {tenant_id}: tallygate tenants list")
    return tenant


def _customer(tenant_id: str) -> str:
    customer = _tenant(tenant_id).stripe_customer
    if customer is None:
        raise OperatorError(f"tenant {tenant_id} has no Stripe customer yet: tallygate stripe checkout-link")
    return customer


def _check_url(option: str, url: str, *, secure: bool = False) -> None:
    parts = urlsplit(url)
    if parts.scheme not in (("https",) if secure else ("https", "http")) or not parts.hostname:
        raise OperatorError(f"{option}: must be {'an https' if secure else 'a'} URL, not {url!r}")
