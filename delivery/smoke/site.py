"""What the smoke test needs of a gateway, wherever that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from google.cloud import bigquery


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest summary line of a job."""

    at: datetime | None
    """None where the line itself has no time."""
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a gateway is and who calls it."""

    proxy_url: str
    api_key: str
    webhook_url: str | None
    webhook_secret: str | None
    """None: no event can be signed, and the check that needs one is left out."""
    models: Mapping[str, str]
    """Every model of the catalogue, with its mode."""
    livemode: bool
    ledger: str
    """``project.dataset``."""
    wait_seconds: int
    """How long a usage event may take to the warehouse."""


class Site(Protocol):
    """A running gateway."""

    @property
    def place(self) -> Place:
        """Where it is."""
        ...

    def warehouse(self) -> bigquery.Client:
        """A client that may read usage events."""
        ...

    def now(self) -> datetime:
        """The site's time."""
        ...

    def settle(self) -> None:
        """Let what is scheduled happen, where time can be moved; else nothing."""
        ...

    def last_run(self, job: str) -> LastRun | None:
        """The newest run of a job that left a summary line; None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found."""

    check: str
    outcome: str
    """``ok``, ``failed`` or ``left out``."""
    detail: str
