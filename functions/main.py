"""Entry points of the functions: each reads a request, calls the package and answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import flask
import functions_framework
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tallygate.appdb import Database, open_database
from tallygate.appdb.later import OpenedLater
from tallygate.metering.after_close import AfterClosePolicy
from tallygate.metering.archive import ArchivedLine
from tallygate.metering.rating import PriceRow, prices_from
from tallygate.metering.report import Reporter, report, send_policy, take_over
from tallygate.metering.restoring import lines_from
from tallygate.metering.settings import ReporterSettings, reporter_settings
from tallygate.metering.sinks import UsageSink
from tallygate.metering.sinks.cloudevents import CloudEventsSink
from tallygate.metering.sinks.stripe import StripeSink
from tallygate.metering.sinks.stripe_invoices import StripeInvoices
from tallygate.metering.warehouse import Warehouse
from tallygate.metering.window import RequestError, window_from
from tallygate.reconciliation.books import StripeBooks, open_books
from tallygate.reconciliation.decisions import decide, decision_from
from tallygate.reconciliation.reconcile import DEPTHS as RECONCILE_DEPTHS
from tallygate.reconciliation.reconcile import Reconciler, reconcile
from tallygate.reconciliation.summaries import StripeSummaries
from tallygate.schemas import ConfigurationError
from tallygate.secrets import CLOUDEVENTS_TOKEN, STRIPE_API_KEY
from tallygate.subscriptions import wiring
from tallygate.subscriptions.settings import SyncSettings, sync_settings
from tallygate.subscriptions.sync import DEPTHS, Sync, synchronise
from tallygate.subscriptions.webhook import LARGEST_BODY, Receiver

T = TypeVar("T")
Answer = tuple[dict[str, Any], int]


@functions_framework.http  # type: ignore[untyped-decorator]
def usage_reporter(request: flask.Request) -> Answer:
    """Seal and send usage: POST ``{"depth"}`` or ``{"from", "to", "tenant", "dry_run"}``. GET: it is up.

    With ``price_version`` usage without a price is given that one first; ``lines`` are taken over from the
    archive, and not sealed yet.
    """
    if request.method == "GET":
        return {"function": "usage_reporter"}, 200
    if request.method != "POST":
        return {"error": "use POST"}, 405
    body = request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        return {"error": "the body must be a JSON object"}, 400
    settings = _reporter_settings()
    prices: list[PriceRow] = []
    try:
        window = window_from(body, settings.clock.now())
        if "lines" in body:
            return _restored(lines_from(body["lines"], window))
        if window.price_version:
            prices = prices_from(settings.catalogue, window.price_version, settings.clock.now())
    except RequestError as error:
        return {"error": str(error), "problems": error.problems}, 400
    run = report(_reporter(), window, prices)
    return run.answer(), 500 if run.error else 200


def _restored(lines: list[ArchivedLine]) -> Answer:
    run = take_over(_reporter(), lines)
    return run, 500 if "error" in run else 200


@functions_framework.http  # type: ignore[untyped-decorator]
def stripe_webhook(request: flask.Request) -> Answer:
    """Take an event of Stripe: POST, signed. 2xx only once it is kept."""
    if request.method != "POST":
        return {"error": "use POST"}, 405
    body = request.stream.read(LARGEST_BODY + 1)
    answer = _receiver().receive(body, request.headers.get("Stripe-Signature"))
    return {"outcome": answer.outcome}, answer.status


@functions_framework.http  # type: ignore[untyped-decorator]
def stripe_sync(request: flask.Request) -> Answer:
    """Apply what the inbox holds and look for what it lacks: POST ``{"depth"}``. GET: it is up."""
    if request.method == "GET":
        return {"function": "stripe_sync"}, 200
    if request.method != "POST":
        return {"error": "use POST"}, 405
    body = request.get_json(silent=True) if request.get_data() else {}
    depth = body.get("depth", "recent") if isinstance(body, dict) and not body.keys() - {"depth"} else None
    if depth not in DEPTHS:
        return {"error": f'the body must be {{"depth": one of {", ".join(DEPTHS)}}}'}, 400
    run = synchronise(_sync(), depth)
    return run.answer(), 500 if run.error else 200


@functions_framework.http  # type: ignore[untyped-decorator]
def usage_reconciler(request: flask.Request) -> Answer:
    """Compare the ledger with its witnesses: POST ``{"depth"}``. GET: it is up.

    A person's decision about a proposed repair: ``{"repair", "decision", "by", "comment"}``.
    """
    if request.method == "GET":
        return {"function": "usage_reconciler"}, 200
    if request.method != "POST":
        return {"error": "use POST"}, 405
    body = request.get_json(silent=True) if request.get_data() else {}
    if isinstance(body, dict) and "repair" in body:
        return _decided(body, request.headers.get("Authorization", ""))
    depth = body.get("depth", "recent") if isinstance(body, dict) and not body.keys() - {"depth"} else None
    if depth not in RECONCILE_DEPTHS:
        return {"error": f'the body must be {{"depth": one of {", ".join(RECONCILE_DEPTHS)}}}'}, 400
    run = reconcile(_reconciler(), depth)
    return run.answer(), 500 if run.error else 200


def _decided(body: dict[str, Any], authorization: str) -> Answer:
    """Carry out a decision: 200 when that is done, 409 when nothing is to be done, 500 to be called again."""
    try:
        decision = decision_from(body, authorization)
    except RequestError as error:
        return {"error": str(error), "problems": error.problems}, 400
    return decide(_reconciler(), decision)


@cache
def _receiver() -> Receiver:
    settings = _sync_settings()
    return wiring.receiver(settings, _database(settings))


@cache
def _sync() -> Sync:
    settings = _sync_settings()
    return wiring.sync(settings, _database(settings))


@cache
def _reporter() -> Reporter:
    settings = _reporter_settings()
    client = _bigquery(settings)
    return Reporter(
        warehouse=lambda: Warehouse(client, raw=settings.dataset_raw, ledger=settings.dataset_ledger),
        sink=_sink,
        database=_database(settings),
        clock=settings.clock,
        invoice_grace=settings.invoice_grace,
        policy=send_policy(settings.invoice_grace, settings.invoice_hold),
        invoices=_invoices if settings.cloudevents_url is None else None,
        after_close=AfterClosePolicy(
            minimum_cents=settings.one_off_minimum_cents, decided_after=settings.one_off_after
        ),
    )


@cache
def _reconciler() -> Reconciler:
    settings = _reporter_settings()
    client = _bigquery(settings)
    return Reconciler(
        warehouse=lambda: Warehouse(client, raw=settings.dataset_raw, ledger=settings.dataset_ledger),
        stripe=_summaries if settings.cloudevents_url is None else None,
        books=_books,
        sink=_sink,
        database=_database(settings),
        clock=settings.clock,
    )


def _database(settings: ReporterSettings | SyncSettings) -> Database:
    """Opened by the first request that needs it: while it is down each answers for itself."""
    return OpenedLater(lambda: open_database(settings.app_database, project_id=settings.project_id))


def _bigquery(settings: ReporterSettings) -> bigquery.Client:
    if settings.bigquery_emulator:
        return bigquery.Client(project=settings.project_id, credentials=AnonymousCredentials())
    return bigquery.Client(project=settings.project_id)


def _sink() -> UsageSink:
    """Made for each run, so that a rotated key is used from then on."""
    settings = _reporter_settings()
    if settings.cloudevents_url is not None:
        return CloudEventsSink(settings.cloudevents_url, settings.secrets.newest(CLOUDEVENTS_TOKEN)[0])
    key = settings.secrets.newest(STRIPE_API_KEY)[0]
    settings.check_stripe_key(key)
    return StripeSink(key, api_base=settings.stripe_api_base)


def _invoices() -> StripeInvoices:
    """Made for each run, so that a rotated key is used from then on."""
    settings = _reporter_settings()
    key = settings.secrets.newest(STRIPE_API_KEY)[0]
    settings.check_stripe_key(key)
    return StripeInvoices(key, api_base=settings.stripe_api_base)


def _summaries() -> StripeSummaries:
    """Made for each run, so that a rotated key is used from then on."""
    settings = _reporter_settings()
    key = settings.secrets.newest(STRIPE_API_KEY)[0]
    settings.check_stripe_key(key)
    return StripeSummaries(key, api_base=settings.stripe_api_base)


def _books() -> StripeBooks:
    """Made for each run, as above."""
    settings = _reporter_settings()
    key = settings.secrets.newest(STRIPE_API_KEY)[0]
    settings.check_stripe_key(key)
    return open_books(key, api_base=settings.stripe_api_base)


@cache
def _reporter_settings() -> ReporterSettings:
    return _read(reporter_settings)


@cache
def _sync_settings() -> SyncSettings:
    return _read(sync_settings)


def _read(settings: Callable[[], T]) -> T:
    """A function's settings; a configuration that can't be used ends the process."""
    try:
        return settings()
    except ConfigurationError as error:
        sys.exit(
            "The configuration can't be used:\n" + "\n".join(f"- {problem}" for problem in error.problems)
        )


_SETTINGS: Final[Mapping[str, Callable[[], object]]] = {
    "usage_reporter": _reporter_settings,
    "usage_reconciler": _reporter_settings,
    "stripe_webhook": _sync_settings,
    "stripe_sync": _sync_settings,
}
# functions-framework names the function that this process is before it loads the file
_SETTINGS.get(os.environ.get("FUNCTION_TARGET", ""), lambda: None)()
