"""``tallygate repairs``: what the reconciler proposes, and a person's decision about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from tallygate.cli.errors import OperatorError
from tallygate.cli.functions import RECONCILER
from tallygate.cli.options import AsJson, Yes, confirm
from tallygate.cli.settings import database, operator_settings
from tallygate.cli.tables import Format, written
from tallygate.reconciliation import repairs
from tallygate.reconciliation.repairs import Repair

app = typer.Typer(no_args_is_help=True)

_LISTED: Final = (
    "repair_id", "state", "tenant_id", "meter", "difference", "remedy", "amount_cents", "invoice",
    "proposed_at",
)  # fmt: skip
_STATES: Final = ("pending", "approved", "done", "rejected", "superseded")
RepairId = Annotated[str, typer.Argument(help="As the list shows it.")]
By = Annotated[str, typer.Option("--by", help="Who decides: a name or an address; kept for good.")]
Comment = Annotated[str, typer.Option(help="Why; kept for good.")]


@app.callback()
def group() -> None:
    """Repairs of what Stripe has beside what the ledger says."""


@app.command("list")
def list_repairs(
    state: Annotated[str, typer.Option(help=f"One of {', '.join(_STATES)}, or all.")] = "",
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """What waits for a decision, or for being carried out."""
    if state and state not in (*_STATES, "all"):
        raise OperatorError(f"--state must be one of {', '.join(_STATES)}, or all, not {state!r}")
    with database(operator_settings()) as opened:
        found = repairs.every(opened, "" if state == "all" else state)
    shown = found if state else [one for one in found if one.undone]
    print(written([asdict(one) for one in shown], _LISTED, Format.JSON if as_json else format_))


@app.command()
def show(repair: RepairId, as_json: AsJson = False) -> None:
    """All that is known about one: both sums, the remedy, who decided, what came of it."""
    facts = asdict(_one(repair))
    if as_json:
        print(written([facts], tuple(facts), Format.JSON))
        return
    rows = [{"what": name, "is": value} for name, value in facts.items() if value is not None]
    print(written(rows, ("what", "is"), Format.TABLE))


@app.command()
def approve(repair: RepairId, by: By, comment: Comment = "", yes: Yes = False) -> None:
    """Carry a repair out, once; the function usage_reconciler does it, at TALLYGATE_RECONCILER_URL.

    Refused when the difference or what is to be done about it is another one by now.
    """
    RECONCILER.url()
    found = _one(repair)
    confirm(f"{_sentence(found)}?", yes=yes or found.state == "done")
    _decide(repair, "approve", by, comment)


@app.command()
def reject(repair: RepairId, by: By, comment: Comment = "", yes: Yes = False) -> None:
    """Decide against a repair: the difference stays, and is not told again."""
    RECONCILER.url()
    found = _one(repair)
    confirm(f"Leave {found.difference} of {found.meter} of {found.tenant_id} as it is?", yes=yes)
    _decide(repair, "reject", by, comment)


def _decide(repair: str, decision: str, by: str, comment: str) -> None:
    body: dict[str, Any] = {"repair": repair, "decision": decision, "by": by}
    answer = RECONCILER.call(body | ({"comment": comment} if comment else {}))
    print(" ".join(f"{name}={value}" for name, value in answer.items() if value is not None))


def _one(repair_id: str) -> Repair:
    with database(operator_settings()) as opened:
        found = repairs.get(opened, repair_id)
    if found is None:
        raise OperatorError(f"there is no repair {repair_id!r}: see tallygate repairs list --state all")
    return found


def _sentence(repair: Repair) -> str:
    """What an approval does."""
    if repair.remedy == "meter_event":
        return f"Send a meter event of {-repair.difference} {repair.meter} for {repair.tenant_id}"
    if repair.remedy == "none":
        return f"Nothing can be done by this command ({repair.why}); try anyway"
    cents = f"{repair.amount_cents} cents"
    if repair.remedy == "credit_note":
        return f"Credit {cents} of invoice {repair.invoice} to {repair.tenant_id}"
    return f"Charge {cents} to {repair.tenant_id} on its next invoice"
