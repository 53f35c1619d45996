"""``python -m tallygate.cli``. Exit codes: 0 right, 1 wrong, 2 could not run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tallygate.appdb import DatabaseUnavailableError
from tallygate.cli import inbox, invoice, keys, plans, repairs, secret_values, stripe_account, tenants, usage
from tallygate.cli.errors import OperatorError
from tallygate.cli.sandbox import sandbox_environment
from tallygate.cli.stripe_client import KEY_VARIABLE
from tallygate.schemas import ConfigurationError
from tallygate.tenants import RecordError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.add_typer(tenants.app, name="tenants", help="Who is served.")
app.add_typer(keys.app, name="keys", help="The keys that tenants call with.")
app.add_typer(tenants.app, name="tenant", hidden=True)
app.add_typer(keys.app, name="key", hidden=True)
app.add_typer(plans.app, name="plans", help="What tenants can subscribe to.")
app.add_typer(stripe_account.app, name="stripe", help="Links, subscriptions, and the way of events here.")
app.add_typer(secret_values.app, name="secrets", help="Values of the gateway's secrets.")
app.add_typer(inbox.app, name="inbox", help="Stripe's events and what became of them.")
app.add_typer(usage.app, name="usage", help="What was used, and what is sealed of it.")
app.add_typer(repairs.app, name="repairs", help="Differences that need a person's decision.")
app.add_typer(invoice.app, name="invoice", help="What stands behind an invoice.")


@app.callback()
def place(
    sandbox: Annotated[
        Path | None,
        typer.Option(
            envvar="TALLYGATE_SANDBOX",
            help="Folder of a running sandbox to work on, for example .sandbox. "
            "Without it the environment's variables say where.",
        ),
    ] = None,
) -> None:
    """What operators do: tenants, keys, plans, Stripe, secrets, usage and invoices."""
    if sandbox is not None:
        os.environ.pop(KEY_VARIABLE, None)  # a real key stays here
        os.environ.update(sandbox_environment(sandbox))


def main() -> None:
    """Run a command and exit."""
    try:
        app()
    except OperatorError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except ConfigurationError as error:
        print("\n".join(error.problems), file=sys.stderr)
        sys.exit(2)
    except RecordError as error:
        print(f"the app database holds what is not understood: {error}", file=sys.stderr)
        sys.exit(2)
    except DatabaseUnavailableError as error:
        print(f"the app database can't be reached: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
