"""One command makes a release: archive, image, bills of materials, and the environment's release file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from delivery import image, storage
from delivery.archive import LOCK, Archive, build_archive
from delivery.environments import Environment
from delivery.errors import CannotRunError
from delivery.release_file import Release, read_release, write_release
from delivery.sbom import bill_of_materials
from delivery.sources import Commit, committed_files, head, require_clean

IMAGE_LOCK: Final = "requirements/proxy.txt"


@dataclass(frozen=True, slots=True)
class Made:
    """What a release left behind."""

    commit: Commit
    release: Release
    archive: Path
    image_note: str
    """What became of the image, for whoever reads the output."""


def make_release(
    target: Environment,
    root: Path,
    work: Path,
    *,
    publish: bool,
    keep_image: bool = False,
    base_image: str | None = None,
) -> Made:
    """Build everything from the checked-out commit and record it in the environment's release file.

    ``keep_image`` publishes the archive alone, where no image can be built: the recorded image stays.
    Without ``publish`` nothing leaves this machine, and the image, whose digest only a registry gives, stays
    as recorded. ``base_image``: by digest, to build an image again; else what the Dockerfile's tag means now.

    Raises:
        CannotRunError: when a tool or a right is missing.
        DeliveryError: for a dirty tree, or a file that can't be released.
    """
    problem = image.builder_problem() if publish and not keep_image else None
    if problem is not None:
        raise CannotRunError(
            f"no image can be built here: {problem}; repair that, or publish the archive alone: IMAGE=keep"
        )
    require_clean(root)
    base = image.base_image(root, base_image) if publish and not keep_image else None
    recorded = read_release(target.release_file)
    commit = head(root)
    archive = build_archive(root)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    path = work / archive.object_name
    path.write_bytes(archive.content)
    digest, note = recorded.image_digest, "not built: nothing is published; the recorded digest stays"
    if publish:
        storage.upload(target.functions_bucket, archive.object_name, archive.content)
        note = "kept as recorded"
    if base is not None:
        digest = image.build_and_push(root, target.image_repository, commit, base, work)
        note = f"built on {base} and pushed"
    (work / "image-name").write_text(f"{target.image_repository}/{image.NAME}\n")
    _write_bills(root, work, commit, archive, digest, base)
    release = Release(digest, archive.object_name, archive.sha256)
    write_release(target.release_file, release)
    return Made(commit, release, path, note)


def _write_bills(
    root: Path, work: Path, commit: Commit, archive: Archive, digest: str, base: str | None
) -> None:
    """``base``: of the image, where one was built; it stands in the image's bill."""
    locks = committed_files(root, LOCK, IMAGE_LOCK)
    for name, sha256, lock, on in (
        ("functions", archive.sha256, locks[LOCK], None),
        ("proxy", digest.removeprefix("sha256:"), locks[IMAGE_LOCK], base),
    ):
        text = bill_of_materials(f"tallygate-{name}", commit, sha256, lock.decode(), base=on)
        (work / f"{name}.cdx.json").write_text(text)
