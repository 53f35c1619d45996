"""Plan an environment, apply the plan that was saved, look for drift."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from delivery import storage, terraform
from delivery.configuration import check_configuration
from delivery.environments import Environment
from delivery.errors import DeliveryError
from delivery.plan_comment import render
from delivery.plan_policy import changes, refusals
from delivery.saved_plan import SavedPlan

_OPTIONS: Final = ("-input=false", "-no-color")
_READ_ONLY: Final = "-lock=false"
"""The planner may not write to the state's bucket; the state's serial tells a stale plan."""


def make_plan(target: Environment, root: Path, folder: Path, labels: Collection[str]) -> SavedPlan:
    """Plan an environment and save the plan with what reviewers need.

    Raises:
        DeliveryError: when the environment's files can't be used, or the plan breaks a rule: it is saved all
            the same, with the comment that says so.
        CannotRunError: when Terraform fails.
    """
    check_configuration(target)
    saved = _plan(target, root, folder)
    plan = terraform.show(target, saved.plan)
    saved.comment.write_text(render(plan, target.name, labels))
    saved.changes.write_text("".join(f"{change.address}\n" for change in changes(plan)))
    _refuse(plan, target, labels)
    return saved


def apply_plan(
    target: Environment, root: Path, folder: Path, labels: Collection[str], *, check_archive: bool = True
) -> None:
    """Apply the plan that was saved, if it is still what was reviewed and still allowed.

    Raises:
        DeliveryError: when it is stale, breaks a rule, or names an archive that is not what its hash says.
        CannotRunError: when Terraform fails or something is missing.
    """
    saved = SavedPlan(folder)
    saved.require_fresh(target, root, now=datetime.now(UTC))
    release = check_configuration(target)
    terraform.init(target)
    _refuse(terraform.show(target, saved.plan), target, labels)
    if check_archive:
        storage.require(target.functions_bucket, release.archive_object, release.archive_sha256)
    terraform.run(target, ["apply", *_OPTIONS, "-lock-timeout=10m", str(saved.plan)])


def find_drift(target: Environment, root: Path, folder: Path) -> str | None:
    """What differs between an environment and its files, as Markdown; None when nothing does.

    Raises:
        CannotRunError: when Terraform fails.
    """
    saved = _plan(target, root, folder)
    return drift_report(terraform.show(target, saved.plan), target.name)


def drift_report(plan: dict[str, Any], environment: str) -> str | None:
    """What a plan of unchanged files would do: None when nothing."""
    planned = changes(plan)
    if not planned:
        return None
    outside = changes({"resource_changes": plan.get("resource_drift", [])})
    lines = [
        f"{environment} is not what its files say: the next apply would do the following.", "",
        render(plan, environment, ()),
        "Either bring the change into the files by a pull request, or run the deployment of main again: "
        "it puts things back.",
    ]  # fmt: skip
    if outside:
        lines += ["", "Changed outside Terraform:", ""]
        lines += [f"- `{change.address}`: {', '.join(change.changed_names())}" for change in outside]
    return "\n".join(lines) + "\n"


def _plan(target: Environment, root: Path, folder: Path) -> SavedPlan:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    saved = SavedPlan(folder.resolve())
    terraform.init(target)
    terraform.run(target, ["plan", *_OPTIONS, _READ_ONLY, f"-out={saved.plan}"])
    saved.record(target, root)
    return saved


def _refuse(plan: dict[str, Any], target: Environment, labels: Collection[str]) -> None:
    found = refusals(plan, target.name, labels)
    if found:
        raise DeliveryError(*(f"{refusal.address}: {refusal.reason}" for refusal in found))
