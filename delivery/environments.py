"""The environments: a folder each under ``terraform/``, in the order in which releases move."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hcl2
from hcl2 import SerializationOptions

from delivery.errors import CannotRunError

REPOSITORY: Final = Path(__file__).resolve().parent.parent
ORDER: Final = ("dev", "staging", "prod")
RELEASE_FILE: Final = "release.auto.tfvars.json"
PROMOTED: Final = (RELEASE_FILE, "catalogue.json", "plans.json")
"""What a promotion copies: configuration travels with the code that reads it."""
_VALUES: Final = "terraform.tfvars"


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment's folder."""

    name: str
    folder: Path

    @property
    def release_file(self) -> Path:
        """The release that runs there, or will."""
        return self.folder / RELEASE_FILE

    @property
    def functions_bucket(self) -> str:
        """Bucket of the functions' archives."""
        return str(self._artifacts()["functions_bucket"])

    @property
    def image_repository(self) -> str:
        """Registry path of the proxy's image, without its name and digest."""
        return str(self._artifacts()["image_repository"])

    def values(self) -> dict[str, Any]:
        """The environment's own values, as its ``terraform.tfvars`` gives them.

        Raises:
            CannotRunError: when the file is missing or is not HCL.
        """
        path = self.folder / _VALUES
        try:
            with path.open(encoding="utf-8") as file:
                options = SerializationOptions(with_comments=False, strip_string_quotes=True)
                values: dict[str, Any] = hcl2.load(file, serialization_options=options)
        except OSError as error:
            raise CannotRunError(f"{path}: can't be read: {error.strerror}") from error
        except Exception as error:  # the parser's errors have no common base
            raise CannotRunError(f"{path}: is not HCL: {error}") from error
        return values

    def _artifacts(self) -> dict[str, Any]:
        artifacts = self.values().get("artifacts")
        if not isinstance(artifacts, dict) or not {"functions_bucket", "image_repository"} <= set(artifacts):
            raise CannotRunError(
                f"{self.folder / _VALUES}: artifacts must name functions_bucket and image_repository, "
                "the outputs of terraform/bootstrap"
            )
        return artifacts


def environment(name: str, *, root: Path = REPOSITORY) -> Environment:
    """The environment of that name.

    Raises:
        CannotRunError: when there is none.
    """
    found = Environment(name, root / "terraform" / name)
    if name not in ORDER or not found.folder.is_dir():
        raise CannotRunError(f"ENV must be one of {', '.join(ORDER)}, not {name!r}")
    return found


def next_after(name: str) -> str:
    """Where a release goes from an environment.

    Raises:
        CannotRunError: from the last one.
    """
    position = ORDER.index(name) + 1
    if position == len(ORDER):
        raise CannotRunError(f"{name} is the last environment: nothing is promoted from it")
    return ORDER[position]
