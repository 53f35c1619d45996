"""Runs Terraform on copies of the modules, with the real provider where it lies here, else with a stand-in.

``TALLYGATE_TERRAFORM_PROVIDER``: ``real`` (fail without it), ``recorded`` (the stand-in), ``auto`` (default).
The real provider is only looked for in Terraform's local plugin folders; no registry is asked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.terraform.stand_in import StandIn, served

REPOSITORY: Final = Path(__file__).resolve().parents[2]
MODULES: Final = REPOSITORY / "modules"
ROOTS: Final = REPOSITORY / "terraform"
ENVIRONMENTS: Final = ("dev", "staging", "prod")
MOCKS: Final = Path(__file__).parent / "mocks"
RECORDING: Final = Path(__file__).parent / "schemas" / "google-8.0.0.json.gz"
_CONFIGURES: Final = (".tf", ".hcl", ".py")
_PLUGIN_FOLDERS: Final = (
    Path.home() / ".terraform.d/plugins",
    Path.home() / ".local/share/terraform/plugins",
    Path("/usr/local/share/terraform/plugins"),
    Path("/usr/share/terraform/plugins"),
)


def plugin_folder() -> Path | None:
    """The local plugin folder that holds a google provider of version 8."""
    for folder in _PLUGIN_FOLDERS:
        google = folder / "registry.terraform.io/hashicorp/google"
        if any(google.glob("8.*")) or any(google.glob("terraform-provider-google_8.*.zip")):
            return folder
    return None


def types_in_use() -> set[str]:
    """Names that may be types of the provider, from everything here that a test gives to Terraform."""
    folders = (MODULES, ROOTS, Path(__file__).parent)
    texts = [
        path.read_text() for folder in folders for path in folder.rglob("*") if path.suffix in _CONFIGURES
    ]
    return {name for text in texts for name in re.findall(r"\bgoogle_\w+", text)}


def chosen_provider() -> str:
    """``real`` or ``recorded``.

    Raises:
        pytest.UsageError: when the environment asks for what can't be had.
    """
    wanted = os.environ.get("TALLYGATE_TERRAFORM_PROVIDER", "auto")
    if wanted not in ("auto", "real", "recorded"):
        raise pytest.UsageError("TALLYGATE_TERRAFORM_PROVIDER must be auto, real or recorded")
    if wanted == "real" and plugin_folder() is None:
        raise pytest.UsageError(
            "TALLYGATE_TERRAFORM_PROVIDER=real, but no local plugin folder holds google 8.x"
        )
    if wanted == "auto":
        return "recorded" if plugin_folder() is None else "real"
    return wanted


def pytest_report_header() -> str:
    """Say which provider the tests run with."""
    return f"terraform: google provider {chosen_provider()}"


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended."""

    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Workspace:
    """A copy of one module or root, initialised."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> Answer:
        """Run ``terraform`` in it."""
        ended = subprocess.run(
            ["terraform", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=850,
            check=False,
        )
        return Answer(ended.returncode, ended.stdout + ended.stderr)

    def plan(self, **variables: Any) -> dict[str, Any]:
        """The plan as data."""
        (self.folder / "test.auto.tfvars.json").write_text(json.dumps(variables))
        made = self.run("plan", "-no-color", "-input=false", "-out=plan.tfplan")
        assert made.code == 0, made.output
        shown = self.run("show", "-json", "plan.tfplan")
        assert shown.code == 0, shown.output
        plan: dict[str, Any] = json.loads(shown.output)
        return plan


@dataclass(frozen=True, slots=True)
class Terraform:
    """Makes workspaces."""

    environment: dict[str, str]
    init: tuple[str, ...]

    def workspace(self, module: str, folder: Path) -> Workspace:
        """A copy of a module in ``folder``, initialised."""
        return self._initialised(folder, f"modules/{module}")

    def root(self, name: str, folder: Path) -> Workspace:
        """A copy of a root in ``folder``, initialised; its state would be a local file."""
        return self._initialised(folder, f"terraform/{name}")

    def _initialised(self, folder: Path, inside: str) -> Workspace:
        for source in (MODULES, ROOTS, MOCKS):
            shutil.copytree(
                source,
                folder / source.relative_to(REPOSITORY),
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(".terraform*"),
            )
        workspace = Workspace(folder / inside, self.environment)
        (workspace.folder / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        done = workspace.run("init", "-no-color", "-input=false", *self.init)
        assert done.code == 0, done.output
        return workspace


@dataclass(frozen=True, slots=True)
class Plans:
    """Plans of whole roots, made once for all workers: the committed values, with what a variant changes."""

    terraform: Terraform
    folders: pytest.TempPathFactory
    shared: Path
    """A folder of this test run, for all workers."""
    made: dict[str, dict[str, Any]]

    def of(self, root: str, *, values: str = "", **changes: Any) -> dict[str, Any]:
        """The plan of a root; ``values`` names its value file where it has several."""
        key = json.dumps([root, values, changes], sort_keys=True)
        if key not in self.made:
            file = self.shared / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
            with file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not file.exists():
                    file.write_text(json.dumps(self._plan(root, values, changes)))
            self.made[key] = json.loads(file.read_text())
        return self.made[key]

    def _plan(self, root: str, values: str, changes: dict[str, Any]) -> dict[str, Any]:
        workspace = self.terraform.root(root, self.folders.mktemp(root))
        if values:
            shutil.copy(workspace.folder / values, workspace.folder / "aa_values.auto.tfvars")
        return workspace.plan(**changes)


@pytest.fixture(scope="session")
def plans(recorded: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Plans:
    """Plans of whole roots: by the recorded schema always, for they read the project's number from Google."""
    own = tmp_path_factory.getbasetemp()  # of a worker: in the folder of the whole run
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "plans"
    shared.mkdir(exist_ok=True)
    return Plans(recorded, tmp_path_factory, shared, {})


@pytest.fixture(scope="session")
def terraform(request: pytest.FixtureRequest) -> Terraform:
    """Terraform with the chosen provider."""
    if chosen_provider() == "recorded":
        made: Terraform = request.getfixturevalue("recorded")
        return made
    environment = _environment() | {"GOOGLE_OAUTH_ACCESS_TOKEN": "offline"}
    return Terraform(environment, (f"-plugin-dir={plugin_folder()}",))


@pytest.fixture(scope="session")
def recorded() -> Iterator[Terraform]:
    """Terraform with the provider's recorded schema."""
    with served(StandIn(RECORDING, types_in_use())) as where:
        yield Terraform(_environment() | where, ())


def _environment() -> dict[str, str]:
    if shutil.which("terraform") is None:
        pytest.fail("terraform is not installed: version 1.11 or later is a prerequisite of the tests")
    dropped = ("TF_CLI_CONFIG_FILE", "TF_REATTACH_PROVIDERS", "TF_LOG")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    # A command lives for seconds: a third of its time would go into collecting what it could have kept.
    return environment | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "GOGC": "400"}
