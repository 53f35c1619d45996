"""The module's files and the inputs that tests give it."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.terraform.conftest import MODULES, REPOSITORY

MODULE: Final = MODULES / "observability"
JOBS: Final = MODULES / "scheduler" / "jobs.json"
CATALOGUE: Final = REPOSITORY / "sandbox" / "config" / "catalogue.json"
PLAYBOOKS: Final = REPOSITORY / "docs" / "playbooks" / "alerts"
PROJECT: Final = "demo-project"
SERVICE: Final = "tallygate-proxy"


def jobs() -> dict[str, dict[str, Any]]:
    """The scheduled jobs, as the scheduler has them."""
    content: dict[str, dict[str, Any]] = json.loads(JOBS.read_text())
    return content


def inputs(**changes: Any) -> dict[str, Any]:
    """The module's inputs, as the stack would give them."""
    fields = ("description", "function", "cron", "body")
    return {
        "project_id": PROJECT,
        "environment": "prod",
        "location": "europe-west1",
        "host": "gateway.example.com",
        "models": sorted(json.loads(CATALOGUE.read_text())["models"]),
        "jobs": {name: {key: job[key] for key in fields if key in job} for name, job in jobs().items()},
        "channels": {
            "page": ["projects/demo-project/notificationChannels/1"],
            "ticket": ["projects/demo-project/notificationChannels/2"],
        },
        **changes,
    }


def stems(folder: str, suffix: str) -> set[str]:
    """Names of the module's files of one kind."""
    return {path.name.removesuffix(suffix) for path in (MODULE / folder).glob(f"*{suffix}")}
