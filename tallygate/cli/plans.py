"""``tallygate plans``: bring Stripe's meters, products, prices and portal to what ``plans.json`` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson, Yes, confirm
from tallygate.cli.stripe_client import stripe_client, told_by_stripe
from tallygate.cli.tables import Format, written
from tallygate.plans import Plan, Plans
from tallygate.subscriptions.prices import current_prices, wanted_prices
from tallygate.subscriptions.publishing import FELT, Action, PublishError, publish
from tallygate.subscriptions.settings import sync_settings

app = typer.Typer(no_args_is_help=True)

_ACTION: Final = ("change", "name", "detail")
_PRICE: Final = ("plan", "kind", "cents", "lookup_key", "stripe_price")


@app.callback()
def group() -> None:
    """Plans as code."""


@app.command("apply")
def apply_plans(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make what is missing in Stripe. A changed price becomes a new one; meters are never deleted.

    It asks where somebody may feel it: a price that is replaced or closed, and what the portal allows.
    """
    settings = sync_settings()
    client = stripe_client(settings)
    with told_by_stripe():
        try:
            planned = publish(client, settings.plans, dry_run=True)
            if dry_run:
                _print(planned, as_json=as_json, dry_run=True)
                return
            felt = [action for action in planned if action.change in FELT]
            if felt and not yes:
                _tell(felt)
                confirm("Change this in Stripe?", yes=yes)
            done = publish(client, settings.plans, dry_run=False)
        except PublishError as error:
            raise OperatorError("\n".join(error.problems)) from error
    _print(done, as_json=as_json, dry_run=False)


@app.command()
def show(
    plan: Annotated[str, typer.Argument(help="Only this one.")] = "",
    as_json: AsJson = False,
) -> None:
    """What plans.json gives, and the prices of it that Stripe has."""
    settings = sync_settings()
    plans = settings.plans.plans
    if plan and plan not in plans:
        raise OperatorError(f"there is no plan {plan!r}: plans.json has {', '.join(sorted(plans))}")
    chosen = {name: one for name, one in plans.items() if plan in ("", name)}
    with told_by_stripe():
        published = current_prices(stripe_client(settings), Plans(plans=chosen))
    if as_json:
        rows = [_whole(one, published) for one in chosen.values()]
        print(written(rows, tuple(rows[0]) if rows else (), Format.JSON))
        return
    for one in chosen.values():
        quotas = one.quotas
        print(
            f"{one.name}  charges by {one.charge_basis}  rpm {quotas.rpm}  tpm {quotas.tpm}  "
            f"parallel {quotas.max_parallel}  budget {one.monthly_budget_nano_usd or 'none'}  "
            f"models {' '.join(one.models)}"
        )
    prices = [row for one in chosen.values() for row in _prices(one, published)]
    print(f"\n{written(prices, _PRICE, Format.TABLE)}")


def _whole(plan: Plan, published: Mapping[str, str]) -> dict[str, Any]:
    return {
        "plan": plan.name,
        "charge_basis": plan.charge_basis,
        "models": list(plan.models),
        "quotas": asdict(plan.quotas),
        "monthly_budget_nano_usd": plan.monthly_budget_nano_usd,
        "prices": list(_prices(plan, published)),
    }


def _prices(plan: Plan, published: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for price in wanted_prices(plan):
        yield {
            "plan": plan.name,
            "kind": price.kind,
            "cents": format(price.cents, "f"),
            "lookup_key": price.lookup_key,
            "stripe_price": published.get(price.lookup_key),
        }


def _print(actions: list[Action], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print(written([asdict(action) for action in actions], _ACTION, Format.JSON))
        return
    for action in actions:
        print(f"{'would ' if dry_run else ''}{action.change}  {action.name}  {action.detail}")
    if not actions:
        print("Stripe has what plans.json says")


def _tell(actions: list[Action]) -> None:
    for action in actions:
        typer.echo(f"would {action.change}  {action.name}  {action.detail}", err=True)
