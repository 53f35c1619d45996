"""The module as Terraform plans it: tests evaluate what would be applied, not the text of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.observability.measured import Metric
from tests.observability.places import inputs
from tests.observability.scenes import Scribe
from tests.terraform.conftest import Terraform, Workspace, recorded, terraform

__all__ = ["recorded", "terraform"]


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


@pytest.fixture(scope="session")
def metrics(planned: Planned) -> dict[str, Metric]:
    """The planned log-based metrics, by the names of their files."""
    return {name: Metric.of(made) for name, made in planned.of("google_logging_metric").items()}


@pytest.fixture(scope="session")
def policies(planned: Planned) -> dict[str, dict[str, Any]]:
    """The planned alert policies, by alert, and by alert and job."""
    return planned.of("google_monitoring_alert_policy")


@pytest.fixture
def scribe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Scribe:
    """What writes the lines of a scene."""
    return Scribe(capsys, tmp_path)
