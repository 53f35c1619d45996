"""An environment in Google Cloud as a site, found by its own values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import requests
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from delivery.environments import Environment
from delivery.errors import CannotRunError
from delivery.google import session
from delivery.smoke.checks import require_key
from delivery.smoke.site import LastRun, Place
from tallygate.catalogue import load_catalogue
from tallygate.clock import parse_rfc3339

WEBHOOK_PATH: Final = "/webhooks/stripe"
_ENTRIES: Final = "https://logging.googleapis.com/v2/entries:list"
_LEDGER: Final = "ledger"
_TIMEOUT_SECONDS: Final = 30
_WAIT_SECONDS: Final = 300
"""Cloud Logging's sink writes within a minute or two as a rule."""


@dataclass(frozen=True, slots=True)
class CloudSite:
    """An environment that has been applied."""

    project_id: str
    place: Place

    def warehouse(self) -> bigquery.Client:
        """A client with this machine's identity."""
        try:
            return bigquery.Client(project=self.project_id)
        except GoogleAuthError as error:
            raise CannotRunError(f"this machine has no identity that reads the warehouse: {error}") from error

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    def settle(self) -> None:
        """Nothing: time passes by itself."""

    def last_run(self, job: str) -> LastRun | None:
        """The newest summary line in Cloud Logging."""
        body = {
            "resourceNames": [f"projects/{self.project_id}"],
            "filter": f'jsonPayload.event="job_run" AND jsonPayload.job="{job}"',
            "orderBy": "timestamp desc",
            "pageSize": 1,
        }
        with session() as http:
            answer = http.post(_ENTRIES, json=body, timeout=_TIMEOUT_SECONDS)
        if answer.status_code != requests.codes.ok:
            raise CannotRunError(
                f"Cloud Logging answers HTTP {answer.status_code}: the identity needs roles/logging.viewer"
            )
        entries: list[Mapping[str, Any]] = answer.json().get("entries", [])
        if not entries:
            return None
        return LastRun(parse_rfc3339(entries[0]["timestamp"]), entries[0]["jsonPayload"])


def cloud_site(target: Environment, variables: Mapping[str, str] | None = None) -> CloudSite:
    """The environment, as its files describe it and ``TALLYGATE_SMOKE_*`` complete it.

    Raises:
        CannotRunError: when an address or a key is missing.
    """
    given = os.environ if variables is None else variables
    values = target.values()
    url = given.get("TALLYGATE_SMOKE_URL") or _public_url(values)
    if url is None:
        raise CannotRunError(
            f"{target.name} is private: set TALLYGATE_SMOKE_URL to one of the gateway.proxy_uris that "
            "terraform output shows"
        )
    catalogue = load_catalogue(target.folder / "catalogue.json", now=datetime.now(UTC))
    project_id = str(values["project_id"])
    public = _public_url(values)
    return CloudSite(
        project_id,
        Place(
            proxy_url=url.rstrip("/"),
            api_key=require_key(given.get("TALLYGATE_SMOKE_KEY"), target.name),
            webhook_url=given.get("TALLYGATE_SMOKE_WEBHOOK_URL") or (public and public + WEBHOOK_PATH),
            webhook_secret=given.get("TALLYGATE_SMOKE_WEBHOOK_SECRET") or None,
            models={name: model.mode for name, model in catalogue.models.items()},
            livemode=bool(values.get("livemode")),
            ledger=f"{project_id}.{_LEDGER}",
            wait_seconds=_WAIT_SECONDS,
        ),
    )


def _public_url(values: Mapping[str, Any]) -> str | None:
    """The first host, as the stack's own ``webhook_url`` takes it; None with private exposure."""
    hosts = values.get("domains", {}).get("hosts", [])
    if values.get("exposure", {}).get("mode") != "public" or not hosts:
        return None
    return f"https://{hosts[0]}"
