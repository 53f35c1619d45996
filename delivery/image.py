"""The proxy's image, by ``docker buildx`` where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from delivery.errors import CannotRunError, DeliveryError
from delivery.google import access_token
from delivery.sources import Commit

NAME: Final = "proxy"
DOCKERFILE: Final = "proxy/Dockerfile"
_NAMED_BASE: Final = re.compile(r"^ARG BASE_IMAGE=(\S+)$", re.MULTILINE)
_BY_DIGEST: Final = re.compile(r"[\w./:-]+@(sha256:[0-9a-f]{64})")


def builder_problem() -> str | None:
    """Why no image can be built on this machine; None where it can."""
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    for command in (["docker", "version"], ["docker", "buildx", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(command)} fails: {(done.stderr or done.stdout).strip().splitlines()[0]}"
    return None


def base_image(root: Path, given: str | None = None) -> str:
    """The image's base by digest: the one ``given``, else what the Dockerfile's tag means now.

    Raises:
        CannotRunError: when the tag can't be looked up.
        DeliveryError: when ``given`` names no digest, or the registry tells none.
    """
    if given is not None:
        if not _BY_DIGEST.fullmatch(given):
            raise DeliveryError(
                "BASE_IMAGE must be an image by digest (python@sha256: and 64 hexadecimal digits), not "
                f"{given!r}: a tag can come to mean another image; left out, the tag in use is looked up"
            )
        return given
    (name,) = _NAMED_BASE.findall((root / DOCKERFILE).read_text(encoding="utf-8"))
    told = _buildx(
        "inspect", name, "--format", "{{json .Manifest}}", advice=f"{name} of {DOCKERFILE} can't be looked up"
    )
    found = f"{name}@{json.loads(told).get('digest')}"
    if not _BY_DIGEST.fullmatch(found):
        raise DeliveryError(f"{name} has no digest: update docker buildx, or give BASE_IMAGE by digest")
    return found


def build_and_push(root: Path, repository: str, commit: Commit, base: str, work: Path) -> str:
    """Build the image of a clean checkout on a base, push it to a registry path; its digest.

    Layers take the commit's time, so that one builder makes the same image of the same commit and base. The
    base stands in the image's labels, under the names that the Open Container Initiative gives them.

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
        "--build-arg", f"BASE_IMAGE={base}",
        "--label", f"org.opencontainers.image.base.name={base.partition('@')[0]}",
        "--label", f"org.opencontainers.image.base.digest={base.partition('@')[2]}",
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
