"""``tallygate plans``: bring Stripe's meters, products and prices to what ``plans.json`` says."""

from __future__ import annotations

from typing import Annotated

import stripe
import typer

from tallygate.cli.errors import OperatorError
from tallygate.secrets import STRIPE_API_KEY, SecretMissingError
from tallygate.stripe_key import check_mode
from tallygate.subscriptions.publishing import PublishError, publish
from tallygate.subscriptions.settings import SyncSettings, sync_settings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Plans as code."""


@app.command("apply")
def apply_plans(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Make what is missing in Stripe. A changed price becomes a new one; meters are never deleted."""
    settings = sync_settings()
    try:
        actions = publish(_client(settings), settings.plans, dry_run=dry_run)
    except PublishError as error:
        raise OperatorError("\n".join(error.problems)) from error
    except stripe.StripeError as error:
        raise OperatorError(f"Stripe: {error.user_message or error}: run this again") from error
    for action in actions:
        print(f"{'would ' if dry_run else ''}{action.change}  {action.name}  {action.detail}")
    if not actions:
        print("Stripe has what plans.json says")


def _client(settings: SyncSettings) -> stripe.StripeClient:
    try:
        key = settings.secrets.newest(STRIPE_API_KEY)[0]
    except SecretMissingError as error:
        raise OperatorError(str(error)) from error
    check_mode(key, livemode=settings.livemode)
    base = settings.stripe_api_base
    return stripe.StripeClient(key, base_addresses={"api": base} if base else None)
