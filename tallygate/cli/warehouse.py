"""The warehouse as the operators' commands read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from google.api_core.exceptions import GoogleAPIError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tallygate.cli.errors import OperatorError
from tallygate.metering.settings import ReporterSettings
from tallygate.metering.warehouse import JobRunningError, Warehouse

_JOB_SECONDS: Final = 900.0
"""A person waits for a list of a million requests."""


def open_warehouse(settings: ReporterSettings) -> Warehouse:
    """The warehouse of the settings, with the operator's own credentials."""
    client = (
        bigquery.Client(project=settings.project_id, credentials=AnonymousCredentials())
        if settings.bigquery_emulator
        else bigquery.Client(project=settings.project_id)
    )
    return Warehouse(client, settings.dataset_raw, settings.dataset_ledger, job_seconds=_JOB_SECONDS)


@contextmanager
def reading(settings: ReporterSettings) -> Iterator[Warehouse]:
    """The warehouse, for reading.

    Raises:
        OperatorError: when it can't be read.
    """
    try:
        yield open_warehouse(settings)
    except (GoogleAPIError, JobRunningError) as error:
        raise OperatorError(f"the warehouse can't be read: {error}") from error


def check_tenant(warehouse: Warehouse, tenant_id: str) -> None:
    """Nothing for an empty id.

    Raises:
        OperatorError: when no billing segment names the tenant.
    """
    if tenant_id and not warehouse.read("known_tenants", {"tenant_id": tenant_id}):
        raise OperatorError(f"no billing segment names the tenant {tenant_id!r}")
