"""Where secrets are written: what :mod:`tallygate.secrets` reads, from the side of the operator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from google.api_core.exceptions import GoogleAPIError, NotFound, PermissionDenied
from google.auth.exceptions import GoogleAuthError

from tallygate.cli.errors import OperatorError
from tallygate.secrets import FileSecrets, GoogleSecrets, Secrets

_OWNER_ONLY: Final = 0o600


@dataclass(frozen=True, slots=True)
class SecretState:
    """What is known of a secret without reading a value."""

    name: str
    exists: bool
    """Whether there is something to put values into; files are made when they are needed."""
    versions: tuple[str, ...]
    """Names of the values that are enabled, the newest first."""
    newest_at: datetime | None
    """When the newest of them was added."""


class SecretStore(Protocol):
    """A place that keeps secrets."""

    def add(self, name: str, value: str) -> str:
        """Make a value the newest one; what names it, for the next reviewed change.

        Raises:
            OperatorError: when it can't be.
        """
        ...

    def state(self, name: str) -> SecretState:
        """How a secret stands.

        Raises:
            OperatorError: when the store does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileStore:
    """One file a secret, one value a line, newest first."""

    folder: Path

    def add(self, name: str, value: str) -> str:
        """Write the file anew in one step, readable by its owner only."""
        path = self.folder / name
        older = path.read_text(encoding="utf-8") if path.exists() else ""
        scratch = self.folder / f".{name}.new"
        try:
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, _OWNER_ONLY)  # a scratch file left behind keeps the mode it had
                file.write(f"{value}\n{older}")
            scratch.replace(path)
        except OSError as error:
            raise OperatorError(f"secret {name!r} can't be written: {error.strerror}") from None
        return self.state(name).versions[0]

    def state(self, name: str) -> SecretState:
        """The lines of the file."""
        path = self.folder / name
        if not path.is_file():
            return SecretState(name, True, (), None)
        count = sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        versions = tuple(str(number) for number in range(count, 0, -1))
        return SecretState(name, True, versions, changed if count else None)


@dataclass(frozen=True, slots=True)
class GoogleStore:
    """Secret Manager in one project; Terraform makes the containers, this only adds versions."""

    project_id: str
    client: Any
    """A ``SecretManagerServiceClient``."""

    def add(self, name: str, value: str) -> str:
        """Add a version; its number."""
        parent = self.client.secret_path(self.project_id, name)
        request = {"parent": parent, "payload": {"data": value.encode()}}
        try:
            made = self.client.add_secret_version(request=request)
        except NotFound:
            raise OperatorError(
                f"project {self.project_id} has no secret {name}: add it to `secrets` of terraform/bootstrap "
                "and apply that"
            ) from None
        except (GoogleAPIError, GoogleAuthError) as error:
            raise _refused(name, "roles/secretmanager.secretVersionAdder", error) from error
        return str(made.name.rpartition("/")[2])

    def state(self, name: str) -> SecretState:
        """The enabled versions."""
        parent = self.client.secret_path(self.project_id, name)
        try:
            request = {"parent": parent, "filter": "state:ENABLED"}
            found = list(self.client.list_secret_versions(request=request))
        except NotFound:
            return SecretState(name, False, (), None)
        except (GoogleAPIError, GoogleAuthError) as error:
            raise _refused(name, "roles/secretmanager.viewer", error) from error
        found.sort(key=lambda version: version.create_time, reverse=True)
        versions = tuple(str(version.name.rpartition("/")[2]) for version in found)
        return SecretState(name, True, versions, found[0].create_time if found else None)


def _refused(name: str, role: str, error: Exception) -> OperatorError:
    if isinstance(error, PermissionDenied):
        return OperatorError(f"secret {name}: you need {role} on it")
    return OperatorError(f"Secret Manager does not answer for {name}: {error}; run this again")


def store_for(secrets: Secrets) -> SecretStore:
    """The store behind what the functions read.

    Raises:
        OperatorError: when there are no credentials for Google Cloud.
    """
    if isinstance(secrets, FileSecrets):
        return FileStore(secrets.folder)
    if not isinstance(secrets, GoogleSecrets):
        raise OperatorError("TALLYGATE_SECRETS: must be 'google' or 'file:<dir>'")
    from google.cloud import secretmanager

    try:
        client = secretmanager.SecretManagerServiceClient()
    except GoogleAuthError as error:
        raise OperatorError(f"sign in: gcloud auth application-default login ({error})") from error
    return GoogleStore(secrets.project_id, client)
