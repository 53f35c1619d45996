"""``tallygate usage``: seal a window again, give a price to what had none, show what a tenant used."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from tallygate.appdb import open_database
from tallygate.cli import archive_replay
from tallygate.cli.errors import OperatorError
from tallygate.cli.functions import REPORTER
from tallygate.cli.options import AsJson, Yes, confirm
from tallygate.cli.tables import Format, written
from tallygate.cli.warehouse import check_tenant, reading
from tallygate.clock import rfc3339
from tallygate.metering.rating import prices_from, unpriced_usage
from tallygate.metering.report import SEAL_MARGIN
from tallygate.metering.seal import due_rows
from tallygate.metering.settings import ReporterSettings, reporter_settings
from tallygate.metering.window import DEPTHS, RequestError, Window, window_from
from tallygate.records import COST_METER, METERS
from tallygate.spend import REQUESTS, month_of, spent_by_hour

app = typer.Typer(no_args_is_help=True)

_DUE: Final = (
    "usage_hour", "tenant_id", "meter", "segment_id", "value", "disposition", "reason", "late", "correction",
)  # fmt: skip
_UNPRICED: Final = ("tenant_id", "model", "requests", "total_tokens", "cost_nano_usd")
_ARCHIVED: Final = ("usage_hour", "tenant_id", "meter", "used", "archived", "sealed", "difference")
_STOPPED: Final = ("usage_hour", "tenant_id", "meter", "used", "sealed")


@app.callback()
def group() -> None:
    """Usage and its ledger."""


@app.command()
def replay(
    from_: Annotated[str, typer.Option("--from", help="RFC 3339; the hour that holds it is included.")],
    to: Annotated[str, typer.Option("--to", help="RFC 3339, exclusive, rounded up to an hour.")],
    tenant: Annotated[str, typer.Option(help="One tenant; else all.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    archive: Annotated[
        str, typer.Option(help="Also take what the warehouse has lost from here: gs://BUCKET, or a folder.")
    ] = "",
    yes: Yes = False,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Compute a window anew from the raw events and seal what differs from what is sealed.

    The function usage_reporter seals, at TALLYGATE_REPORTER_URL; this only shows and asks. A second run finds
    nothing.
    """
    settings, format_ = reporter_settings(), Format.JSON if as_json else format_
    body: dict[str, Any] = {"from": from_, "to": to, **({"tenant": tenant} if tenant else {})}
    try:
        window = window_from(body | {"dry_run": dry_run}, settings.clock.now())
    except RequestError as error:
        raise OperatorError("\n".join(error.problems)) from error
    if not dry_run:
        REPORTER.url()
    if archive and not _restored(settings, window, archive, yes=yes, format_=format_):
        return
    rows = _due(settings, window)
    due = [row for row in rows if not row["stopped"]]
    stopped = [row for row in rows if row["stopped"]]
    print(written(due, _DUE, format_))
    if stopped:
        print("\nless used than sealed, left alone:")
        print(written(stopped, _STOPPED, format_))
    if dry_run or not due:
        return
    answer = REPORTER.call(body)
    print(" ".join(f"{name}={value}" for name, value in answer.items()))


@app.command()
def reprice(
    price_version: Annotated[str, typer.Option(help="A price version of the catalogue.")],
    from_: Annotated[str, typer.Option("--from", help="RFC 3339; 35 days ago if absent.")] = "",
    to: Annotated[str, typer.Option("--to", help="RFC 3339, exclusive; now if absent.")] = "",
    tenant: Annotated[str, typer.Option(help="One tenant; else all.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would charge.")] = False,
    yes: Yes = False,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Give a price to usage that had none, and seal what comes of it.

    The function usage_reporter does it, at TALLYGATE_REPORTER_URL, with the price of its own catalogue.
    What has a price keeps it: a second run finds nothing.
    """
    settings, format_ = reporter_settings(), Format.JSON if as_json else format_
    now = settings.clock.now()
    start, end = from_ or rfc3339(now - DEPTHS["daily"]), to or rfc3339(now)
    body: dict[str, Any] = {"from": start, "to": end, "price_version": price_version}
    body |= {"tenant": tenant} if tenant else {}
    try:
        window = window_from(body, now)
        prices = prices_from(settings.catalogue, price_version, now)
    except RequestError as error:
        raise OperatorError("\n".join(error.problems)) from error
    if not dry_run:
        REPORTER.url()
    with reading(settings) as warehouse:
        check_tenant(warehouse, tenant)
        rows = unpriced_usage(warehouse, window, prices)
    print(written(rows, _UNPRICED, format_))
    if dry_run or not rows:
        return
    requests = sum(row["requests"] for row in rows)
    confirm(f"Charge {requests} requests by {price_version}? What has a price keeps it.", yes=yes)
    answer = REPORTER.call(body)
    print(" ".join(f"{name}={value}" for name, value in answer.items()))


@app.command()
def show(
    tenant: Annotated[str, typer.Option(help="The tenant.")],
    month: Annotated[str, typer.Option(help="Calendar month, UTC: 2026-03; this month if absent.")] = "",
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """What a tenant used in a month, by meter: the same numbers as the tenant's own GET /v1/usage."""
    settings, format_ = reporter_settings(), Format.JSON if as_json else format_
    chosen = month or month_of(settings.clock.now())
    try:
        datetime.strptime(chosen, "%Y-%m")  # noqa: DTZ007 - only the form is looked at
    except ValueError:
        raise OperatorError(f"--month must be like 2026-03, not {chosen!r}") from None
    database = open_database(settings.app_database, project_id=settings.project_id)
    try:
        if database.get("tenants", tenant) is None:
            raise OperatorError(f"there is no tenant {tenant!r}")
        hours = spent_by_hour(database, tenant, chosen)
    finally:
        database.close()
    totals = {name: sum(spent[name] for spent in hours.values()) for name in (REQUESTS, *METERS)}
    rows = [{"meter": name, "used": used, "unit": _unit(name)} for name, used in totals.items()]
    print(written(rows, ("meter", "used", "unit"), format_))


def _restored(
    settings: ReporterSettings, window: Window, archive: str, *, yes: bool, format_: Format
) -> bool:
    """Show what the archive adds, and have it taken over; whether to go on sealing."""
    found = archive_replay.compare(settings, window, archive)
    print(written(found.rows, _ARCHIVED, format_))
    said = f"{found.files} files, {len(found.missing)} lines that the warehouse lacks"
    said += f", {found.unusable} of them not usable" if found.unusable else ""
    said += f"; {found.unreadable} lines are no usage lines" if found.unreadable else ""
    print(said, file=sys.stderr)
    if window.dry_run:
        return False
    if found.missing:
        confirm(f"Take over {len(found.missing)} lines from {archive} and seal what they add?", yes=yes)
        done = archive_replay.restore(window, found.missing)
        print(f"{done} lines taken over", file=sys.stderr)
    return True


def _unit(name: str) -> str:
    return "requests" if name == REQUESTS else "nano-USD" if name == COST_METER else "tokens"


def _due(settings: ReporterSettings, window: Window) -> list[dict[str, Any]]:
    with reading(settings) as warehouse:
        check_tenant(warehouse, window.tenant_id)
        return due_rows(warehouse, window, settings.clock.now(), settings.invoice_grace - SEAL_MARGIN)
