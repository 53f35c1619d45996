"""The pipeline's own identity at Google: application default credentials, which hold no key."""

from __future__ import annotations

import os
from typing import Final

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request

from delivery.errors import CannotRunError

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
STORAGE: Final = "https://storage.googleapis.com"


def session() -> requests.Session:
    """An HTTP session of the pipeline's identity; without one where an emulator of Cloud Storage is named.

    Raises:
        CannotRunError: when this machine has no identity.
    """
    if "STORAGE_EMULATOR_HOST" in os.environ:
        return requests.Session()
    found: requests.Session = AuthorizedSession(_credentials())
    return found


def storage_url() -> str:
    """Where Cloud Storage is: Google's, or the emulator that ``STORAGE_EMULATOR_HOST`` names."""
    return os.environ.get("STORAGE_EMULATOR_HOST", STORAGE).rstrip("/")


def access_token() -> str:
    """A short-lived token of the pipeline's identity.

    Raises:
        CannotRunError: when this machine has no identity.
    """
    credentials = _credentials()
    try:
        credentials.refresh(Request())
    except GoogleAuthError as error:
        raise CannotRunError(f"no access token: {error}") from error
    return str(credentials.token)


def _credentials() -> google.auth.credentials.Credentials:
    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except GoogleAuthError as error:
        raise CannotRunError(
            "this machine has no identity at Google: run in the pipeline, or first "
            "gcloud auth application-default login"
        ) from error
    return credentials
