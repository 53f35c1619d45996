"""The functions' source archive: from the same commit always the same bytes.

Entries are sorted, their times and modes are fixed, and they are stored uncompressed, because two versions
of zlib may compress the same bytes differently. Google's buildpack expects ``main.py`` and
``requirements.txt`` at the top.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from delivery.errors import DeliveryError
from delivery.release_file import NAMED_DIGITS
from delivery.sources import committed_files

ENTRY_POINTS: Final = "functions/main.py"
LOCK: Final = "requirements/functions.txt"
_PACKAGES: Final = ("functions", "tallygate")
_OPERATORS_ONLY: Final = "tallygate/cli/"
"""The operators' command line needs packages that the functions don't have."""
_OLDEST_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE: Final = 0o100644 << 16
_UNIX: Final = 3


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive and its hash."""

    content: bytes

    @property
    def sha256(self) -> str:
        """Hexadecimal digits of the content's SHA-256."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def object_name(self) -> str:
        """Its name in the bucket: another content has another name."""
        return f"functions-{self.sha256[:NAMED_DIGITS]}.zip"


def build_archive(root: Path) -> Archive:
    """The archive of the checked-out commit.

    Raises:
        CannotRunError: outside a git checkout.
        DeliveryError: when the commit lacks a file that belongs into it.
    """
    return Archive(_zip(functions_files(root)))


def functions_files(root: Path) -> dict[str, bytes]:
    """What is deployed as functions, by path within the archive."""
    files = committed_files(root, *_PACKAGES, LOCK)
    missing = [path for path in (ENTRY_POINTS, LOCK) if path not in files]
    if missing:
        raise DeliveryError(f"the commit has no {' and no '.join(missing)}: the functions can't be built")
    deployed = {
        path: content
        for path, content in files.items()
        if path != LOCK and not path.startswith(_OPERATORS_ONLY) and not path.endswith(".md")
    }
    deployed["main.py"] = deployed.pop(ENTRY_POINTS)
    deployed["requirements.txt"] = files[LOCK]
    return deployed


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _OLDEST_ZIP_TIME)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE
            archive.writestr(entry, files[path])
    return buffer.getvalue()
