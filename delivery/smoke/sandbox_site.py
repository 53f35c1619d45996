"""The sandbox as a site: its own clock is moved instead of waiting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from google.cloud import bigquery

from delivery.errors import CannotRunError
from delivery.smoke.site import LastRun, Place
from sandbox.demo.collect import Connections, connect
from sandbox.demo.settle import advance, now
from sandbox.layout import Layout
from sandbox.state import NotRunningError
from tallygate.catalogue import load_catalogue
from tallygate.plans import load_plans
from tallygate.secrets import STRIPE_WEBHOOK_SECRET

_TWO_RUNS_SECONDS: Final = 10 * 60
"""The reporter runs every five minutes."""


@dataclass(frozen=True, slots=True)
class SandboxSite:
    """A running sandbox."""

    connections: Connections
    place: Place

    def warehouse(self) -> bigquery.Client:
        """A client of the façade."""
        return self.connections.warehouse

    def now(self) -> datetime:
        """The sandbox's time."""
        return now(self.connections.state)

    def settle(self) -> None:
        """Let the jobs run by their schedule."""
        advance(self.connections.state, _TWO_RUNS_SECONDS)

    def last_run(self, job: str) -> LastRun | None:
        """The newest summary line that the function printed."""
        lines = [
            line
            for path in _outputs(self.connections, job)
            for line in _lines(path)
            if line.get("event") == "job_run" and line.get("job") == job
        ]
        return LastRun(None, lines[-1]) if lines else None


def sandbox_site(layout: Layout) -> SandboxSite:
    """The sandbox that runs there.

    Raises:
        CannotRunError: when none does.
    """
    try:
        connections = connect(layout)
    except NotRunningError as error:
        raise CannotRunError(str(error)) from error
    state = connections.state
    catalogue = load_catalogue(layout.catalogue, now=now(state))
    plans = load_plans(layout.plans, catalogue).plans
    tenant = max(state["tenants"], key=lambda entry: len(plans[entry["plan"]].models))
    secret = layout.secrets / STRIPE_WEBHOOK_SECRET
    return SandboxSite(
        connections,
        Place(
            proxy_url=state["proxy_url"],
            api_key=tenant["api_key"],
            webhook_url=state["webhook_url"],
            webhook_secret=secret.read_text().split()[0] if secret.exists() else None,
            models={name: catalogue.models[name].mode for name in plans[tenant["plan"]].models},
            livemode=False,
            ledger=f"{state['project_id']}.{state['dataset_ledger']}",
            wait_seconds=60,
        ),
    )


def _outputs(connections: Connections, job: str) -> list[Path]:
    root = connections.layout
    return sorted([*root.part_logs.glob(f"{job}*.log"), *root.logs.glob(f"{job}*.stdout.log")])


def _lines(path: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found
