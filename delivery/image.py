"""The proxy's image, by ``docker buildx`` where there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from delivery.errors import CannotRunError, DeliveryError
from delivery.google import access_token
from delivery.sources import Commit

NAME: Final = "proxy"
DOCKERFILE: Final = "proxy/Dockerfile"


def builder_problem() -> str | None:
    """Why no image can be built on this machine; None where it can."""
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    for command in (["docker", "version"], ["docker", "buildx", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(command)} fails: {(done.stderr or done.stdout).strip().splitlines()[0]}"
    return None


def build_and_push(root: Path, repository: str, commit: Commit, work: Path) -> str:
    """Build the image of a clean checkout, push it to a registry path; its digest.

    Layers take the commit's time, so that one builder makes the same image of the same commit.

    Raises:
        CannotRunError: when the build or the push fails.
        DeliveryError: when the builder reports no digest.
    """
    _log_in(repository)
    metadata = work / "image.json"
    command = [
        "docker", "buildx", "build", "--file", DOCKERFILE, "--platform", "linux/amd64",
        "--tag", f"{repository}/{NAME}:{commit.id[:12]}",
        "--build-arg", f"SOURCE_DATE_EPOCH={int(commit.at.timestamp())}",
        "--provenance", "false",  # a statement about the builder would make the index differ each time
        "--output", "type=image,push=true,rewrite-timestamp=true,oci-mediatypes=true",
        "--metadata-file", str(metadata), ".",
    ]  # fmt: skip
    if subprocess.run(command, cwd=root, check=False).returncode:
        raise CannotRunError(
            f"the image could not be built or pushed to {repository}: see above; the applier needs "
            "roles/artifactregistry.writer there, which terraform/bootstrap grants"
        )
    digest = json.loads(metadata.read_text()).get("containerimage.digest")
    if not isinstance(digest, str):
        raise DeliveryError(f"{metadata} names no digest: update docker buildx")
    return digest


def copy(digest: str, source: str, target: str) -> None:
    """Copy an image between registry paths, byte for byte: the digest stays what was reviewed.

    Raises:
        CannotRunError: when the registry refuses.
        DeliveryError: when the copy has another digest.
    """
    for repository in {source, target}:
        _log_in(repository)
    tagged = f"{target}/{NAME}:{digest.removeprefix('sha256:')[:12]}"
    # without the preference a single image is wrapped into an index, which has another digest
    _buildx(
        "create", "--prefer-index=false", "--tag", tagged, f"{source}/{NAME}@{digest}",
        advice=f"the target's applier needs roles/artifactregistry.reader on {source} and writer on {target}",
    )  # fmt: skip
    told = _buildx("inspect", tagged, "--format", "{{json .Manifest}}", advice=f"{tagged} can't be read back")
    found = json.loads(told).get("digest")
    if found != digest:
        raise DeliveryError(f"{tagged} has the digest {found}, not {digest}: copy it anew")


def _buildx(*arguments: str, advice: str) -> str:
    command = ["docker", "buildx", "imagetools", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRunError(f"{' '.join(command)} failed: {done.stderr.strip()}; {advice}")
    return done.stdout


def _log_in(repository: str) -> None:
    """Give docker a token of the pipeline's own identity, for this registry."""
    registry = repository.partition("/")[0]
    done = subprocess.run(
        ["docker", "login", "--username", "oauth2accesstoken", "--password-stdin", registry],
        input=access_token(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CannotRunError(f"docker login {registry} failed: {done.stderr.strip()}")
