"""Reads secrets at run time, so that a rotation needs no deploy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

STRIPE_API_KEY: Final = "stripe-api-key"
"""Name of the secret that holds Stripe's API key."""


STRIPE_WEBHOOK_SECRET: Final = "stripe-webhook-secret"  # noqa: S105 - the name of a secret
"""Name of the secret that holds the signing secret of Stripe's event destination."""


CLOUDEVENTS_TOKEN: Final = "cloudevents-token"  # noqa: S105 - the name of a secret
"""Name of the secret that holds the token of the endpoint that usage is sent to instead of to Stripe."""


class SecretMissingError(Exception):
    """A secret has no value that can be used: names the secret, never a value."""


class Secrets(Protocol):
    """A store of named secrets."""

    def newest(self, name: str, count: int = 1) -> list[str]:
        """Up to ``count`` values of a secret, newest first, at least one.

        Raises:
            SecretMissingError: when there is no enabled value.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileSecrets:
    """One file a secret, one value a line, newest first."""

    folder: Path

    def newest(self, name: str, count: int = 1) -> list[str]:
        """Up to ``count`` values of a secret, newest first, at least one."""
        try:
            lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SecretMissingError(f"secret {name!r} can't be read: {error.strerror}") from None
        values = [line.strip() for line in lines if line.strip()]
        if not values:
            raise SecretMissingError(f"secret {name!r} is empty")
        return values[:count]


@dataclass(frozen=True, slots=True)
class GoogleSecrets:
    """Secret Manager: the newest enabled versions of a secret in one project."""

    project_id: str

    def newest(self, name: str, count: int = 1) -> list[str]:
        """Up to ``count`` values of a secret, newest first, at least one."""
        from google.cloud import secretmanager

        client = secretmanager.SecretManagerServiceClient()
        parent = client.secret_path(self.project_id, name)
        versions = client.list_secret_versions(request={"parent": parent, "filter": "state:ENABLED"})
        newest = sorted(versions, key=lambda version: version.create_time, reverse=True)[:count]
        if not newest:
            raise SecretMissingError(f"secret {name!r} has no enabled version: add one")
        answers = [client.access_secret_version(request={"name": version.name}) for version in newest]
        return [answer.payload.data.decode("utf-8").strip() for answer in answers]


def secrets_from(setting: str, *, project_id: str) -> Secrets:
    """The store that ``TALLYGATE_SECRETS`` names: ``google`` or ``file:<dir>``.

    Raises:
        ValueError: for anything else.
    """
    if setting == "google":
        return GoogleSecrets(project_id)
    kind, _, folder = setting.partition(":")
    if kind == "file" and folder:
        return FileSecrets(Path(folder))
    raise ValueError(f"TALLYGATE_SECRETS must be 'google' or 'file:<dir>', not {setting!r}")
