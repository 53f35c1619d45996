"""The release of an environment: which image and which archive of the functions run there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from delivery.errors import DeliveryError

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NOTHING: Final = "0" * 64
"""What a release file holds before the first release."""
NAMED_DIGITS: Final = 12
"""So many digits of an archive's hash stand in its name; ``modules/function`` insists on it."""


@dataclass(frozen=True, slots=True)
class Release:
    """An image by digest and an archive by name and hash."""

    image_digest: str
    archive_object: str
    archive_sha256: str

    def problems(self) -> list[str]:
        """What keeps this from being applied, each with what to do."""
        found = []
        if not _DIGEST.fullmatch(self.image_digest):
            found.append(
                f"image_digest must be a digest (sha256: and 64 hexadecimal digits), not "
                f"{self.image_digest!r}: a tag can come to mean another image; make release writes the digest"
            )
        elif self.image_digest.endswith(_NOTHING):
            found.append(
                "image_digest is still the placeholder: run make release where an image can be built"
            )
        if not _SHA256.fullmatch(self.archive_sha256):
            found.append(
                f"functions_archive.sha256 must be 64 hexadecimal digits, not {self.archive_sha256!r}"
            )
        elif self.archive_sha256 == _NOTHING:
            found.append("functions_archive is still the placeholder: run make release")
        elif self.archive_sha256[:NAMED_DIGITS] not in self.archive_object:
            found.append(
                f"functions_archive.object {self.archive_object!r} must hold "
                f"{self.archive_sha256[:NAMED_DIGITS]}, the first digits of its sha256: "
                "a new archive gets a new name"
            )
        return found


def read_release(path: Path) -> Release:
    """The release that a file records, whether or not it can be applied.

    Raises:
        DeliveryError: when the file is missing or has another shape.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeliveryError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise DeliveryError(f"{path}: is not JSON: {error}") from error
    try:
        archive = content["functions_archive"]
        release = Release(content["image_digest"], archive["object"], archive["sha256"])
        known = set(content) == {"image_digest", "functions_archive"} and set(archive) == {"object", "sha256"}
    except (KeyError, TypeError) as error:
        raise DeliveryError(f"{path}: {_SHAPE}; {error} is missing or of another kind") from error
    texts = (release.image_digest, release.archive_object, release.archive_sha256)
    if not known or not all(isinstance(text, str) for text in texts):
        raise DeliveryError(f"{path}: {_SHAPE}, and nothing else")
    return release


_SHAPE: Final = 'must be {"image_digest", "functions_archive": {"object", "sha256"}}, all texts'


def checked_release(path: Path) -> Release:
    """The release that a file records, fit to be applied.

    Raises:
        DeliveryError: with everything that is wrong with it.
    """
    release = read_release(path)
    problems = release.problems()
    if problems:
        raise DeliveryError(*(f"{path}: {problem}" for problem in problems))
    return release


def write_release(path: Path, release: Release) -> None:
    """Record a release, in the form that ``terraform fmt`` and reviewers expect."""
    content = {
        "image_digest": release.image_digest,
        "functions_archive": {"object": release.archive_object, "sha256": release.archive_sha256},
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
