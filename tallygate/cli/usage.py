"""``tallygate usage``: seal a window again, give a price to what had none, show what a tenant used."""

from __future__ import annotations

import ipaddress
import os
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import requests
import typer
from google.api_core.exceptions import GoogleAPIError
from google.auth.transport.requests import Request as GoogleRequest
from google.oauth2 import id_token

from tallygate.appdb import open_database
from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson
from tallygate.cli.tables import Format, written
from tallygate.cli.warehouse import open_warehouse
from tallygate.metering.report import SEAL_MARGIN
from tallygate.metering.seal import due_rows
from tallygate.metering.settings import ReporterSettings, reporter_settings
from tallygate.metering.warehouse import JobRunningError, Warehouse
from tallygate.metering.window import RequestError, Window, window_from
from tallygate.records import COST_METER, METERS
from tallygate.spend import REQUESTS, month_of, spent_by_hour

app = typer.Typer(no_args_is_help=True)

_TIMEOUT_SECONDS: Final = (5.0, 540.0)
"""To connect, and as long as the function may take."""
_DUE: Final = (
    "usage_hour", "tenant_id", "meter", "segment_id", "value", "disposition", "reason", "late", "correction",
)  # fmt: skip
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
        window = window_from(body, settings.clock.now())
    except RequestError as error:
        raise OperatorError("\n".join(error.problems)) from error
    url = "" if dry_run else _reporter_url()
    rows = _due(open_warehouse(settings), settings, window)
    due = [row for row in rows if not row["stopped"]]
    stopped = [row for row in rows if row["stopped"]]
    print(written(due, _DUE, format_))
    if stopped:
        print("\nless used than sealed, left alone:")
        print(written(stopped, _STOPPED, format_))
    if dry_run or not due:
        return
    answer = _call(url, body)
    print(" ".join(f"{name}={value}" for name, value in answer.items()))
    if answer.get("skipped"):
        raise OperatorError("another run holds the lease: run this again in a few minutes")


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


def _unit(name: str) -> str:
    return "requests" if name == REQUESTS else "nano-USD" if name == COST_METER else "tokens"


def _due(warehouse: Warehouse, settings: ReporterSettings, window: Window) -> list[dict[str, Any]]:
    closes_after = settings.invoice_grace - SEAL_MARGIN
    try:
        if window.tenant_id and not warehouse.read("known_tenants", {"tenant_id": window.tenant_id}):
            raise OperatorError(f"no billing segment names the tenant {window.tenant_id!r}")
        return due_rows(warehouse, window, settings.clock.now(), closes_after)
    except (GoogleAPIError, JobRunningError) as error:
        raise OperatorError(f"the warehouse can't be read: {error}") from error


def _reporter_url() -> str:
    url = os.environ.get("TALLYGATE_REPORTER_URL", "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OperatorError("TALLYGATE_REPORTER_URL: set it to the URL of the function usage_reporter")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise OperatorError("TALLYGATE_REPORTER_URL: must be https")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _call(url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {}
    if urlsplit(url).scheme == "https":
        token = id_token.fetch_id_token(GoogleRequest(), url)  # type: ignore[no-untyped-call]
        headers["Authorization"] = f"Bearer {token}"
    try:
        answer = requests.post(url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
        counts: dict[str, Any] = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise OperatorError(f"usage_reporter gave no answer: {error}; run this again") from error
    if answer.status_code != 200:
        raise OperatorError(f"usage_reporter: {counts.get('error', answer.status_code)}; run this again")
    return counts
