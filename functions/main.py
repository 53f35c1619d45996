"""Entry points of the functions: each reads a request, calls the package and answers."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import flask
import functions_framework
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tallygate.appdb import open_database
from tallygate.metering.report import Reporter, report
from tallygate.metering.settings import ReporterSettings, reporter_settings
from tallygate.metering.sinks.stripe import StripeSink
from tallygate.metering.warehouse import Warehouse
from tallygate.metering.window import RequestError, window_from
from tallygate.schemas import ConfigurationError
from tallygate.secrets import STRIPE_API_KEY

Answer = tuple[dict[str, Any], int]


def _settings() -> ReporterSettings:
    try:
        return reporter_settings()
    except ConfigurationError as error:
        sys.exit(
            "The configuration can't be used:\n" + "\n".join(f"- {problem}" for problem in error.problems)
        )


SETTINGS = _settings()


@functions_framework.http  # type: ignore[untyped-decorator]
def usage_reporter(request: flask.Request) -> Answer:
    """Seal and send usage: POST ``{"depth"}`` or ``{"from", "to", "tenant", "dry_run"}``. GET: it is up."""
    if request.method == "GET":
        return {"function": "usage_reporter"}, 200
    if request.method != "POST":
        return {"error": "use POST"}, 405
    body = request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict):
        return {"error": "the body must be a JSON object"}, 400
    try:
        window = window_from(body, SETTINGS.clock.now())
    except RequestError as error:
        return {"error": str(error), "problems": error.problems}, 400
    run = report(_reporter(), window)
    return run.answer(), 500 if run.error else 200


@cache
def _reporter() -> Reporter:
    client = _bigquery()
    return Reporter(
        warehouse=lambda: Warehouse(client, raw=SETTINGS.dataset_raw, ledger=SETTINGS.dataset_ledger),
        sink=_sink,
        database=open_database(SETTINGS.app_database, project_id=SETTINGS.project_id),
        clock=SETTINGS.clock,
        invoice_grace=SETTINGS.invoice_grace,
    )


def _bigquery() -> bigquery.Client:
    if SETTINGS.bigquery_emulator:
        return bigquery.Client(project=SETTINGS.project_id, credentials=AnonymousCredentials())
    return bigquery.Client(project=SETTINGS.project_id)


def _sink() -> StripeSink:
    """Made for each run, so that a rotated key is used from then on."""
    key = SETTINGS.secrets.newest(STRIPE_API_KEY)[0]
    SETTINGS.check_stripe_key(key)
    return StripeSink(key, api_base=SETTINGS.stripe_api_base)
