"""``python -m tallygate.cli``. Exit codes: 0 right, 1 wrong, 2 could not run."""

from __future__ import annotations

import sys

import typer

from tallygate.appdb import DatabaseUnavailableError
from tallygate.cli import invoice, keys, plans, tenants, usage
from tallygate.cli.errors import OperatorError
from tallygate.schemas import ConfigurationError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.add_typer(tenants.app, name="tenants", help="Who is served.")
app.add_typer(keys.app, name="keys", help="The keys that tenants call with.")
app.add_typer(plans.app, name="plans", help="What tenants can subscribe to.")
app.add_typer(usage.app, name="usage", help="What was used, and what is sealed of it.")
app.add_typer(invoice.app, name="invoice", help="What stands behind an invoice.")


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
    except DatabaseUnavailableError as error:
        print(f"the app database can't be reached: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
