"""The workflows: well formed, thin over make targets, pinned, with no right that a job does not need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from delivery.environments import ORDER, REPOSITORY
from delivery.plan_policy import DELETE_LABEL

_FOLDER: Final = REPOSITORY / ".github" / "workflows"
_FILES: Final = sorted(_FOLDER.glob("*.yml"))
_ACTIONLINT: Final = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
_PINNED: Final = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
_SAME_REPOSITORY: Final = "github.event.pull_request.head.repo.full_name == github.repository"
_SOMEBODY: Final = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
_MAKE_THERE: Final = ("make", "--no-print-directory", "-o", ".venv/.ready")
"""With the packages of these tests, however old their lock is."""
_MAKE: Final = re.compile(r"^make ([a-z-]+)")
_WRITES: Final = {
    ("release.yml", "build"): {"id-token", "attestations"},
    ("release.yml", "propose"): {"contents", "pull-requests"},
    ("promote.yml", "propose"): {"contents", "pull-requests"},
    ("pull-request.yml", "plan"): {"id-token"},
    ("pull-request.yml", "comment"): {"pull-requests"},
    ("deploy.yml", "dev"): {"id-token"},
    ("deploy.yml", "staging"): {"id-token"},
    ("deploy.yml", "prod"): {"id-token"},
    ("deploy-environment.yml", "plan"): {"id-token"},
    ("deploy-environment.yml", "apply"): {"id-token"},
    ("drift.yml", "look"): {"id-token"},
    ("drift.yml", "tell"): {"issues"},
}
"""What each job may write, and no other job anything: an addition is a decision."""


def workflow(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load((_FOLDER / name).read_text())
    return content


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in _FILES:
        for name, job in workflow(path.name)["jobs"].items():
            yield path.name, name, job


def steps() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for file, name, job in jobs():
        for step in job.get("steps", []):
            yield file, name, step


def test_actionlint_finds_nothing() -> None:
    go = shutil.which("go")
    if go is None:
        assert not os.environ.get("TALLYGATE_REQUIRE_EMULATORS"), "install Go: it lints the workflows"
        pytest.skip("Go is not installed: the workflows are not linted here")

    done = subprocess.run(
        [go, "run", _ACTIONLINT, "-color=false", *map(str, _FILES)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_actions_are_pinned_by_commit_and_say_their_version() -> None:
    for path in _FILES:
        for line in path.read_text().splitlines():
            if "uses: " in line and "uses: ./" not in line:
                assert _PINNED.search(line), f"{path}: {line.strip()}"


def test_one_action_has_one_version() -> None:
    pins: dict[str, set[str]] = {}
    for path in _FILES:
        for action, commit in re.findall(r"uses: ([\w./-]+)@(\w+)", path.read_text()):
            pins.setdefault(action, set()).add(commit)

    assert {action: commits for action, commits in pins.items() if len(commits) > 1} == {}


def test_nothing_is_allowed_but_what_a_job_says() -> None:
    for path in _FILES:
        assert workflow(path.name)["permissions"] == {}, path


def test_each_job_writes_only_what_it_must() -> None:
    found = {}
    for file, name, job in jobs():
        assert isinstance(job["permissions"], dict), f"{file}: {name}"
        writes = {scope for scope, right in job["permissions"].items() if right == "write"}
        if writes:
            found[file, name] = writes

    assert found == _WRITES


def test_every_job_that_runs_ends_in_time() -> None:
    assert [
        f"{file}: {name}" for file, name, job in jobs() if "steps" in job and not job.get("timeout-minutes")
    ] == []


def test_a_fork_gets_no_identity() -> None:
    """GitHub gives forks no id-token; the condition holds even where a repository's settings would."""
    for file, name, job in jobs():
        triggers = workflow(file)[True]  # YAML reads the key "on" as true
        assert "pull_request_target" not in triggers, f"{file} would give a fork's code rights"
        if "pull_request" in triggers and job["permissions"].get("id-token") == "write":
            assert job["if"] == _SAME_REPOSITORY, f"{file}: {name}"


def test_identities_belong_to_their_jobs() -> None:
    """Appliers only in a protected environment, planners never there."""
    for file, name, job in jobs():
        text = yaml.safe_dump(job)
        if "APPLIER" in text:
            assert "environment" in job, f"{file}: {name} uses an applier outside a protected environment"
        if "PLANNER" in text:
            assert "environment" not in job, f"{file}: {name}"
            assert "make apply" not in text, f"{file}: {name}"


def test_one_deployment_an_environment_at_a_time() -> None:
    deployments = workflow("deploy.yml")["jobs"]

    assert list(deployments) == list(ORDER)
    for position, name in enumerate(ORDER):
        job = deployments[name]
        assert job["with"] == {"environment": name}
        assert job["concurrency"] == {"group": f"deploy-{name}", "cancel-in-progress": False}
        assert job.get("needs") == (ORDER[position - 1] if position else None)
    drift = workflow("drift.yml")["jobs"]["look"]
    assert drift["concurrency"]["group"].startswith("deploy-${{ matrix.environment }}")
    assert drift["strategy"]["matrix"]["environment"] == list(ORDER)
    assert workflow("pull-request.yml")["jobs"]["plan"]["strategy"]["matrix"]["environment"] == list(ORDER)


def test_the_plan_that_was_made_is_the_one_that_is_applied_then_smoke_tested() -> None:
    parts = workflow("deploy-environment.yml")["jobs"]
    plan, apply = (parts[name]["steps"] for name in ("plan", "apply"))
    uploaded = next(step["with"] for step in plan if "upload-artifact" in step.get("uses", ""))
    downloaded = next(step["with"] for step in apply if "download-artifact" in step.get("uses", ""))
    commands = [step["run"].split()[:2] for step in apply if "run" in step]

    assert (uploaded["name"], uploaded["path"]) == (downloaded["name"], downloaded["path"])
    assert commands == [
        ["make", "copy-artifacts"],
        ["gh", "attestation"],
        ["make", "apply"],
        ["make", "smoke"],
    ]
    assert "make plan" not in yaml.safe_dump(apply)


def test_no_text_of_an_event_reaches_a_shell() -> None:
    """Titles, branches and labels are written by anybody: they enter by the environment, or not at all."""
    for file, name, step in steps():
        assert "${{" not in step.get("run", ""), f"{file}: {name}: {step['run']}"


def test_the_label_that_allows_deleting_has_one_name() -> None:
    for name in ("pull-request.yml", "deploy-environment.yml"):
        assert DELETE_LABEL in (_FOLDER / name).read_text(), f"{name} and delivery/plan_policy.py differ"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody gets who clones this repository, with what is not committed yet, and its packages."""
    folder = tmp_path_factory.mktemp("clone") / "tallygate"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    (folder / ".venv/bin").mkdir(parents=True)
    python = folder / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "Clone")):
        subprocess.run(["git", *_SOMEBODY, *command], cwd=folder, check=True)
    return folder


def run(clone: Path, *command: str) -> str:
    """Run a step there, with nothing of this machine's settings; what it printed."""
    passed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(command, cwd=clone, env=passed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_steps_that_need_no_cloud_run_in_a_fresh_clone(clone: Path) -> None:
    """What the pull request, release and promotion workflows do before they speak to Google or GitHub."""
    before = json.loads((clone / "terraform/dev/release.auto.tfvars.json").read_text())

    run(clone, *_MAKE_THERE, "release", "ENV=dev", "IMAGE=keep")
    after = json.loads((clone / "terraform/dev/release.auto.tfvars.json").read_text())

    assert after["functions_archive"] != before["functions_archive"]
    assert (clone / "build/release" / after["functions_archive"]["object"]).is_file()
    assert (clone / "build/release/proxy.cdx.json").is_file()
    changed = run(clone, "git", "status", "--porcelain").split()
    assert changed == ["M", "terraform/dev/release.auto.tfvars.json"], "a release changes its own file alone"


def test_steps_are_thin_over_targets_that_exist(clone: Path) -> None:
    """Each make target that a workflow calls runs in a fresh clone as far as ``make -n`` goes."""
    called = {match[1] for _, _, step in steps() if (match := _MAKE.match(step.get("run", "")))}

    for target in sorted(called):
        assert run(clone, *_MAKE_THERE, "-n", target, "ENV=dev"), f"make {target} does nothing"
    assert called >= {
        "test",
        "plan",
        "apply",
        "smoke",
        "release",
        "promote",
        "copy-artifacts",
        "drift",
        "audit",
    }


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_tools_have_the_versions_that_the_project_is_tested_with(path: Path) -> None:
    text = path.read_text()

    assert set(re.findall(r'python-version: "([^"]+)"', text)) <= {"3.11"}
    assert set(re.findall(r'terraform_version: "([^"]+)"', text)) <= {"1.11.4"}
    assert text.count("setup-terraform@") == text.count("terraform_wrapper: false")


def test_a_checkout_keeps_no_token_unless_it_pushes() -> None:
    for file, name, step in steps():
        if "actions/checkout" in step.get("uses", "") and (file, name) not in (
            ("release.yml", "propose"),
            ("promote.yml", "propose"),
        ):
            assert step["with"]["persist-credentials"] is False, f"{file}: {name}"
