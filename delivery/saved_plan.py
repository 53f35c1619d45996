"""A plan is saved, reviewed and then applied as it is: never one that was made of something else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from delivery.environments import Environment
from delivery.errors import CannotRunError, DeliveryError
from delivery.sources import head, run_git

MAX_AGE: Final = timedelta(hours=24)
"""A day: what was approved yesterday was approved of yesterday's resources."""
_HOUR: Final = timedelta(hours=1)
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a saved plan was made of."""

    environment: str
    commit: str
    inputs: dict[str, str]
    """Git's own hash of each folder that Terraform read, by path."""
    plan_sha256: str
    made_at: str
    """RFC 3339."""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A folder with a plan of one environment."""

    folder: Path

    @property
    def plan(self) -> Path:
        """Terraform's own file."""
        return self.folder / "tfplan"

    @property
    def comment(self) -> Path:
        """What reviewers read."""
        return self.folder / "comment.md"

    @property
    def changes(self) -> Path:
        """Addresses of what it changes, one a line; an empty file when nothing."""
        return self.folder / "changes"

    def record(self, target: Environment, root: Path) -> None:
        """Write down what the plan was made of."""
        manifest = Manifest(
            environment=target.name,
            commit=head(root).id,
            inputs=inputs(target, root),
            plan_sha256=_sha256(self.plan),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (self.folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")

    def manifest(self) -> Manifest:
        """What the plan was made of.

        Raises:
            CannotRunError: when there is no plan here.
        """
        try:
            content: dict[str, Any] = json.loads((self.folder / _MANIFEST).read_text())
            return Manifest(**content)
        except (OSError, ValueError, TypeError) as error:
            raise CannotRunError(f"{self.folder} holds no plan: run make plan first ({error})") from error

    def require_fresh(self, target: Environment, root: Path, *, now: datetime) -> None:
        """Refuse a plan of another environment, another configuration, another file, or of long ago.

        Raises:
            DeliveryError: with everything that is stale.
            CannotRunError: when there is no plan.
        """
        manifest = self.manifest()
        problems = []
        if manifest.environment != target.name:
            problems.append(f"it is a plan of {manifest.environment}, not of {target.name}")
        if manifest.plan_sha256 != _sha256(self.plan):
            problems.append("its file is not the one that was made and reviewed")
        now_read = inputs(target, root)
        changed = sorted(path for path in now_read if manifest.inputs.get(path) != now_read[path])
        if changed:
            problems.append(f"{' and '.join(changed)} changed since commit {manifest.commit[:12]}")
        age = now - datetime.fromisoformat(manifest.made_at)
        if age > MAX_AGE:
            problems.append(
                f"it is {age // timedelta(hours=1)} h old, the limit is {MAX_AGE // timedelta(hours=1)} h"
            )
        if problems:
            raise DeliveryError(f"the saved plan is stale: {'; '.join(problems)}. Plan again.")


def inputs(target: Environment, root: Path) -> dict[str, str]:
    """Git's hash of each folder that Terraform reads for an environment, in the checked-out commit."""
    paths = [str(target.folder.relative_to(root)), "modules"]
    listed = run_git(root, "ls-tree", "HEAD", "--", *paths).decode()
    return {line.split("\t")[1]: line.split()[2] for line in listed.splitlines()}


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CannotRunError(f"{path} can't be read: {error.strerror}: run make plan first") from error
