"""The warehouse as the operators' commands read it."""

from __future__ import annotations

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tallygate.metering.settings import ReporterSettings
from tallygate.metering.warehouse import Warehouse


def open_warehouse(settings: ReporterSettings) -> Warehouse:
    """The warehouse of the settings, with the operator's own credentials."""
    client = (
        bigquery.Client(project=settings.project_id, credentials=AnonymousCredentials())
        if settings.bigquery_emulator
        else bigquery.Client(project=settings.project_id)
    )
    return Warehouse(client, raw=settings.dataset_raw, ledger=settings.dataset_ledger)
