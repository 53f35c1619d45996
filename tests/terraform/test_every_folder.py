"""Every module and every root: formatted, valid, and its own tests pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.terraform.conftest import ENVIRONMENTS, MODULES, REPOSITORY, ROOTS, Terraform, Workspace

FOLDERS = sorted(
    str(folder.relative_to(REPOSITORY)) for parent in (MODULES, ROOTS) for folder in parent.iterdir()
)

BAD_INPUTS = "bad_*.tftest.hcl"
RULES = ("variables.tf", "inputs.tf", "versions.tf", "backend_override.tf")
"""Of the stack: the rules about its inputs, and what they compare with."""


@pytest.fixture(scope="module", params=FOLDERS)
def workspace(
    request: pytest.FixtureRequest, terraform: Terraform, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    """The folder, initialised."""
    parent, name = request.param.split("/")
    make = terraform.workspace if parent == "modules" else terraform.root
    return make(name, tmp_path_factory.mktemp(name))


def test_it_is_formatted(workspace: Workspace) -> None:
    checked = workspace.run("fmt", "-check", "-recursive", "-diff")

    assert checked.code == 0, checked.output


def test_it_is_valid(workspace: Workspace) -> None:
    checked = workspace.run("validate", "-no-color")

    assert checked.code == 0, checked.output


@pytest.mark.timeout(900)
def test_its_own_tests_pass(workspace: Workspace) -> None:
    for bad in (workspace.folder / "tests").glob(BAD_INPUTS):
        bad.unlink()
    tested = workspace.run("test", "-no-color")

    assert tested.code == 0, tested.output
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", tested.output), tested.output


def test_the_stack_refuses_bad_inputs(terraform: Terraform, tmp_path: Path) -> None:
    """By its rules alone: planning the rest takes ten times as long, and says nothing about inputs."""
    stack = terraform.workspace("stack", tmp_path)
    for file in stack.folder.glob("*.tf"):
        if file.name not in RULES:
            file.unlink()
    for test in (stack.folder / "tests").iterdir():
        if not test.match(BAD_INPUTS):
            test.unlink()

    tested = stack.run("test", "-no-color")

    assert tested.code == 0, tested.output
    runs = sum(path.read_text().count("\nrun ") for path in (MODULES / "stack/tests").glob(BAD_INPUTS))
    assert f"Success! {runs} passed, 0 failed" in tested.output


def test_a_module_is_never_deeper_than_root_stack_leaf() -> None:
    calls = {
        folder: set(re.findall(r'source\s*=\s*"(\.[^"]+)"', _text(REPOSITORY / folder))) for folder in FOLDERS
    }

    for folder, sources in calls.items():
        if folder == "modules/stack":
            assert all(re.fullmatch(r"\.\./[a-z-]+", source) for source in sources), folder
        elif folder.startswith("modules/"):
            assert sources == set(), f"{folder} calls {sources}: only modules/stack calls modules"


def test_environments_have_the_same_files_with_other_values() -> None:
    def files(environment: str) -> dict[str, str]:
        root = ROOTS / environment
        return {
            str(path.relative_to(root)): path.read_text()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    first, *others = (files(environment) for environment in ENVIRONMENTS)

    for environment, other in zip(ENVIRONMENTS[1:], others, strict=True):
        assert other.keys() == first.keys(), environment
        for name, text in first.items():
            if name.endswith((".tf", ".tftest.hcl")):
                assert other[name] == text, f"terraform/dev/{name} and terraform/{environment}/{name} differ"


@pytest.mark.parametrize("folder", FOLDERS)
def test_versions_are_bounded(folder: str) -> None:
    """Modules take what roots choose; roots choose one major version."""
    text = (REPOSITORY / folder / "versions.tf").read_text()
    expected = (">= 1.11", ">= 8.0, < 9") if folder.startswith("modules/") else ("~> 1.11", "~> 8.0")

    assert (re.findall(r'required_version = "(.+)"', text), re.findall(r' version = "(.+)"', text)) == (
        [expected[0]],
        [expected[1]],
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_variables_are_described_and_sorted(folder: str) -> None:
    path = REPOSITORY / folder / "variables.tf"
    blocks = re.split(r'^(?=variable ")', path.read_text(), flags=re.MULTILINE)[1:]
    names = [block.split('"')[1] for block in blocks]

    assert names == sorted(names), f"{folder}/variables.tf: variables stand from A to Z"
    for name, block in zip(names, blocks, strict=True):
        assert re.search(r'^  description = ".+\."$', block, re.MULTILINE), (
            f"{folder}: {name} has no sentence"
        )
        assert re.search(r"^  type\s+=", block, re.MULTILINE), f"{folder}: {name} has no type"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_asks_for_few_values_and_fits_on_a_screen(environment: str) -> None:
    root = ROOTS / environment
    blocks = re.split(r'^(?=variable ")', (root / "variables.tf").read_text(), flags=re.MULTILINE)[1:]
    needed = [block.split('"')[1] for block in blocks if not re.search(r"^  default ", block, re.MULTILINE)]

    assert len(needed) <= 12, needed
    assert len((root / "terraform.tfvars").read_text().splitlines()) <= 50


def test_nothing_runs_on_the_operators_machine() -> None:
    forbidden = re.compile(
        r'null_resource|local-exec|remote-exec|data "external"|ignore_changes\s*=\s*\[(?!input|schema\])'
    )

    found = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for parent in (MODULES, ROOTS)
        for path in sorted(parent.rglob("*.tf"))
        for line in path.read_text().splitlines()
        if forbidden.search(line)
    ]

    assert found == []


def _text(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.tf")))
