"""Every module and root says what it is for, and its README lists its inputs and outputs as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.terraform.conftest import MODULES, REPOSITORY, ROOTS
from tests.terraform.readme import with_tables

FOLDERS: Final = [*sorted(MODULES.iterdir()), ROOTS / "bootstrap"]
PAGE: Final = REPOSITORY / "docs" / "playbooks" / "tasks" / "first-apply.md"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_readme_lists_inputs_and_outputs_as_they_are(folder: Path) -> None:
    readme = (folder / "README.md").read_text()

    assert readme == with_tables(readme, folder), f"{folder.name}/README.md: run python -m {__name__}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_readme_names_every_file_that_it_lists(folder: Path) -> None:
    listed = set(re.findall(r"^\| `([a-z_]+\.(?:tf|json|lql))`", (folder / "README.md").read_text(), re.M))

    assert {name for name in listed if not (folder / name).exists()} == set()


def test_the_architecture_names_every_file_of_the_stack_and_every_module() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    files = {path.name for path in (MODULES / "stack").glob("*.tf")} - {
        "variables.tf",
        "outputs.tf",
        "versions.tf",
    }
    modules = {folder.name for folder in MODULES.iterdir()} - {"stack"}

    assert {name for name in files | modules if f"`{name}`" not in page} == set()


def test_the_first_apply_names_files_outputs_and_targets_that_there_are() -> None:
    page = PAGE.read_text()
    outputs = set(re.findall(r'^output "(\w+)"', (ROOTS / "bootstrap/outputs.tf").read_text(), re.M))
    outputs |= set(re.findall(r'^output "(\w+)"', (ROOTS / "dev/outputs.tf").read_text(), re.M))
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))

    assert set(re.findall(r"outputs? `(\w+)`", page)) <= outputs
    assert set(re.findall(r"^make ([a-z-]+)", page, re.M)) <= targets
    for environment in ("dev", "staging", "prod"):
        for named in re.findall(r"terraform/(?:bootstrap/)?ENV[./][\w.]+|\.\./ENV/[\w.]+", page):
            path = named.replace("ENV", environment).replace("../", "terraform/").rstrip(".")
            assert (REPOSITORY / path).exists(), path


def test_the_first_apply_counts_its_steps() -> None:
    page = PAGE.read_text()
    headings = re.findall(r"^## (\d) ", page, re.M)

    assert headings == ["1", "2", "3", "4", "5"]
    assert "to a first completion: five steps" in page


def test_state_buckets_are_the_ones_that_bootstrap_makes() -> None:
    state = (ROOTS / "bootstrap/state.tf").read_text()
    assert '"${var.project_id}-tfstate"' in state

    for environment in ("dev", "staging", "prod"):
        project = re.search(r'project_id\s+= "(.*)"', (ROOTS / environment / "terraform.tfvars").read_text())
        bootstrap = re.search(
            r'project_id\s+= "(.*)"', (ROOTS / f"bootstrap/{environment}.tfvars").read_text()
        )
        bucket = re.search(r'bucket = "(.*)"', (ROOTS / environment / "backend.hcl").read_text())
        assert project is not None
        assert bootstrap is not None
        assert bucket is not None
        assert project[1] == bootstrap[1]
        assert bucket[1] == f"{project[1]}-tfstate"


if __name__ == "__main__":
    for changed in FOLDERS:
        readme_file = changed / "README.md"
        readme_file.write_text(with_tables(readme_file.read_text(), changed))
