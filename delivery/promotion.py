"""A release moves to the next environment: three files by a pull request, their artifacts by a copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from delivery import image, storage
from delivery.configuration import check_configuration
from delivery.environments import ORDER, PROMOTED, Environment, environment, next_after
from delivery.errors import CannotRunError, DeliveryError
from delivery.release_file import Release
from delivery.sources import run_git


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion changed."""

    source: Environment
    target: Environment
    release: Release
    changed: tuple[str, ...]
    """Names of the files that differ now."""

    def message(self) -> str:
        """For the pull request: what it brings, and how it is taken back."""
        return "\n".join(
            [
                f"Promotes what runs in {self.source.name} to {self.target.name}.",
                "",
                f"- image `{self.release.image_digest}`",
                f"- functions `{self.release.archive_object}`, SHA-256 `{self.release.archive_sha256}`",
                f"- files that change: {', '.join(f'`{name}`' for name in self.changed)}",
                "",
                "Reverting this pull request takes it back: older artifacts stay where they are.",
                "",
            ]
        )


def promote(source: Environment, root: Path) -> Promotion:
    """Copy the three files of an environment to the next one, in the working tree.

    Raises:
        DeliveryError: when a file can't be used, is not committed, or nothing would change.
        CannotRunError: from the last environment.
    """
    target = environment(next_after(source.name), root=root)
    release = check_configuration(source)
    paths = [str((source.folder / name).relative_to(root)) for name in PROMOTED]
    if run_git(root, "status", "--porcelain", "--", *paths).strip():
        raise DeliveryError(f"{', '.join(paths)} differ from the commit: only what was merged is promoted")
    changed = tuple(name for name in PROMOTED if _content(source, name) != _content(target, name))
    if not changed:
        raise DeliveryError(f"{target.name} has what {source.name} has: there is nothing to promote")
    for name in changed:
        shutil.copyfile(source.folder / name, target.folder / name)
    return Promotion(source, target, release, changed)


def copy_artifacts(target: Environment, root: Path, work: Path) -> Release:
    """Copy what an environment's release file names from the environment before; the release.

    Nothing is copied to the first environment, where releases are made. The archive is left in a folder too,
    so that its attestation can be verified.

    Raises:
        DeliveryError: when an artifact is not what its hash says.
        CannotRunError: when one is missing or a right is.
    """
    release = check_configuration(target)
    position = ORDER.index(target.name)
    if position == 0:
        content = storage.require(target.functions_bucket, release.archive_object, release.archive_sha256)
        _keep(work, release, content)
        return release
    source = environment(ORDER[position - 1], root=root)
    content = storage.copy(
        source.functions_bucket, target.functions_bucket, release.archive_object, release.archive_sha256
    )
    _keep(work, release, content)
    problem = image.builder_problem()
    if problem is not None:
        raise CannotRunError(f"the archive is copied, the image is not: {problem}")
    image.copy(release.image_digest, source.image_repository, target.image_repository)
    return release


def _keep(work: Path, release: Release, content: bytes) -> None:
    work.mkdir(parents=True, exist_ok=True)
    (work / release.archive_object).write_bytes(content)


def _content(of: Environment, name: str) -> bytes | None:
    path = of.folder / name
    return path.read_bytes() if path.exists() else None
