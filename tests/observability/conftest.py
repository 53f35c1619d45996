"""The module as Terraform plans it: tests evaluate what would be applied, not the text of its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.terraform.conftest import MODULES, REPOSITORY, Terraform, Workspace, terraform

__all__ = ["terraform"]

MODULE: Final = MODULES / "observability"
JOBS: Final = MODULES / "scheduler" / "jobs.json"
CATALOGUE: Final = REPOSITORY / "sandbox" / "config" / "catalogue.json"
PROJECT: Final = "demo-project"
SERVICE: Final = "tallygate-proxy"


def inputs(**changes: Any) -> dict[str, Any]:
    """The module's inputs, as the stack would give them."""
    jobs = json.loads(JOBS.read_text())
    return {
        "project_id": PROJECT,
        "environment": "prod",
        "location": "europe-west1",
        "host": "gateway.example.com",
        "models": sorted(json.loads(CATALOGUE.read_text())["models"]),
        "jobs": {
            name: {key: job[key] for key in ("description", "function", "cron", "body") if key in job}
            for name, job in jobs.items()
        },
        "channels": {
            "page": ["projects/demo-project/notificationChannels/1"],
            "ticket": ["projects/demo-project/notificationChannels/2"],
        },
        **changes,
    }


@dataclass(frozen=True, slots=True)
class Planned:
    """What a first apply would make."""

    resources: dict[str, dict[str, Any]]
    """By address."""
    outputs: dict[str, Any]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of one type: by key where there are several, else by name."""
        found = {address: made for address, made in self.resources.items() if address.startswith(f"{kind}.")}
        return {_key(address): made for address, made in found.items()}


def _key(address: str) -> str:
    name = address.partition(".")[2]
    return name.partition('["')[2].removesuffix('"]') if '["' in name else name


@pytest.fixture(scope="session")
def workspace(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The module, initialised."""
    return terraform.workspace("observability", tmp_path_factory.mktemp("observability"))


@pytest.fixture(scope="session")
def planned(workspace: Workspace) -> Planned:
    """The plan with the sandbox's catalogue and the scheduler's jobs."""
    plan = workspace.plan(**inputs())
    return Planned(
        {change["address"]: change["change"]["after"] for change in plan["resource_changes"]},
        {name: output.get("value") for name, output in plan["planned_values"]["outputs"].items()},
    )


def stems(folder: str, suffix: str) -> set[str]:
    """Names of the module's files of one kind."""
    return {path.name.removesuffix(suffix) for path in (MODULE / folder).glob(f"*{suffix}")}


def module_file(path: str) -> Path:
    """A file of the module."""
    return MODULE / path
