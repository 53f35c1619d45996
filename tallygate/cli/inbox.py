"""``tallygate inbox``: Stripe's events that wait or were given up, and another try for those."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Final

import typer

from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson
from tallygate.cli.settings import database, operator_settings
from tallygate.cli.tables import Format, written, written_one
from tallygate.subscriptions import inbox
from tallygate.subscriptions.inbox import InboxRow

app = typer.Typer(no_args_is_help=True)

_LISTED: Final = ("event_id", "type", "state", "reason", "customer", "attempts", "created_at", "due_at")
_ALL: Final = tuple(InboxRow.__dataclass_fields__)


class StateName(StrEnum):
    """Where an event stands; the states of the inbox."""

    WAITING = "waiting"
    DONE = "done"
    PARKED = "parked"
    IGNORED = "ignored"


EventId = Annotated[str, typer.Argument(help="evt_…, as list shows it.")]


@app.callback()
def group() -> None:
    """The inbox holds each event once, without its payload."""


@app.command("list")
def list_rows(
    state: Annotated[StateName, typer.Option()] = StateName.PARKED,
    reason: Annotated[str, typer.Option(help="Only rows with this reason.")] = "",
    as_json: AsJson = False,
) -> None:
    """Events in a state, by default those that were given up, oldest first."""
    with database(operator_settings()) as opened:
        rows = _chosen(inbox.in_state(opened, state.value), reason)
    print(written([asdict(row) for row in rows], _LISTED, Format.JSON if as_json else Format.TABLE))


@app.command()
def show(event_id: EventId, as_json: AsJson = False) -> None:
    """All that is known of one event."""
    with database(operator_settings()) as opened:
        row = _require(inbox.get(opened, event_id), event_id)
    fields = asdict(row)
    lines = "\n".join(f"{name}  {fields[name]}" for name in _ALL if fields[name] is not None)
    print(written_one(fields, lines, as_json=as_json))


@app.command()
def retry(
    event_id: Annotated[str, typer.Argument(help="evt_…, as list shows it.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every event that was given up.")] = False,
    reason: Annotated[str, typer.Option(help="With --all: only those with this reason.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let an event that was given up wait again, due at once: the next run of the sync tries it.

    Nothing is applied twice by it: an event only says whom to look at.
    """
    if bool(event_id) == every:
        raise OperatorError("say either an event or --all: tallygate inbox list")
    settings = operator_settings()
    with database(settings) as opened:
        if every:
            chosen = _chosen(inbox.in_state(opened, "parked"), reason)
        else:
            row = _require(inbox.get(opened, event_id), event_id)
            if row.state != "parked":
                raise OperatorError(f"{event_id} is {row.state}, not parked: there is nothing to retry")
            chosen = [row]
        tried = [row for row in chosen if inbox.retry_now(opened, row.event_id, settings.clock.now())]
    if as_json:
        print(written([{"event_id": row.event_id} for row in tried], ("event_id",), Format.JSON))
        return
    for row in tried:
        print(f"{row.event_id} waits for the next run of the sync")
    if not tried:
        print("no event is parked")


def _chosen(rows: list[InboxRow], reason: str) -> list[InboxRow]:
    return sorted((row for row in rows if reason in ("", row.reason)), key=lambda row: row.stored_at)


def _require(row: InboxRow | None, event_id: str) -> InboxRow:
    if row is None:
        raise OperatorError(
            f"there is no event {event_id}: settled ones are deleted after {inbox.KEPT.days} days"
        )
    return row
