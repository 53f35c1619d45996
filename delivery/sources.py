"""What a release is made of: the files of the checked-out commit, never what else lies in the folder."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from delivery.environments import RELEASE_FILE
from delivery.errors import CannotRunError, DeliveryError

_SHOWN: Final = 10


def run_git(root: Path, *arguments: str) -> bytes:
    """The output of a git command.

    Raises:
        CannotRunError: when git is missing or refuses.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise CannotRunError("git is not on PATH: install it") from error
    if done.returncode:
        raise CannotRunError(f"git {arguments[0]} failed in {root}: {done.stderr.decode().strip()}")
    return done.stdout


def require_clean(root: Path) -> None:
    """Refuse to release what no commit holds; only release files, which a release writes, may differ.

    Raises:
        DeliveryError: naming what is not committed.
    """
    status = run_git(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    entries = [entry for entry in status.decode().split("\0") if entry]
    changed = [entry[3:] for entry in entries if Path(entry[3:]).name != RELEASE_FILE]
    if changed:
        shown = ", ".join(changed[:_SHOWN]) + (", …" if len(changed) > _SHOWN else "")
        raise DeliveryError(
            f"the tree is dirty: commit or remove {shown}; a release must be what a commit says"
        )


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit and when it was made."""

    id: str
    at: datetime


def head(root: Path) -> Commit:
    """The commit that is checked out."""
    commit, seconds = run_git(root, "log", "-1", "--format=%H %ct").decode().split()
    return Commit(commit, datetime.fromtimestamp(int(seconds), UTC))


def committed_files(root: Path, *paths: str) -> dict[str, bytes]:
    """Files of the checked-out commit under the given paths, by path: not as a checkout may change them."""
    tar = run_git(root, "-c", "core.autocrlf=false", "archive", "--format=tar", "HEAD", "--", *paths)
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                files[member.name] = content.read()
    return files
