"""The functions as the operators' commands call them: what seals and repairs is theirs alone."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from google.auth.transport.requests import Request as GoogleRequest
from google.oauth2 import id_token

from tallygate.cli.errors import OperatorError

_TIMEOUT_SECONDS: Final = (5.0, 540.0)
"""To connect, and as long as the function may take."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function and the variable that holds its URL."""

    name: str
    variable: str

    def url(self) -> str:
        """Where it is.

        Raises:
            OperatorError: unless the variable holds an https URL, or one of this machine.
        """
        url = os.environ.get(self.variable, "")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OperatorError(f"{self.variable}: set it to the URL of the function {self.name}")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise OperatorError(f"{self.variable}: must be https")
        return url

    def call(self, body: dict[str, Any]) -> dict[str, Any]:
        """What it answers.

        Raises:
            OperatorError: when it does not answer, or refuses; the message says what to do.
        """
        return post(self.name, self.url(), body)


REPORTER: Final = Function("usage_reporter", "TALLYGATE_REPORTER_URL")
RECONCILER: Final = Function("usage_reconciler", "TALLYGATE_RECONCILER_URL")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def post(name: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """One call of a function, as whoever runs this.

    Raises:
        OperatorError: when it does not answer, or refuses.
    """
    headers = {}
    if urlsplit(url).scheme == "https":
        token = id_token.fetch_id_token(GoogleRequest(), url)  # type: ignore[no-untyped-call]
        headers["Authorization"] = f"Bearer {token}"
    try:
        answer = requests.post(url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
        counts: dict[str, Any] = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise OperatorError(f"{name} gave no answer: {error}; run this again") from error
    if 400 <= answer.status_code < 500:
        raise OperatorError(f"{name}: {counts.get('error', answer.status_code)}")
    if answer.status_code != 200:
        raise OperatorError(f"{name}: {counts.get('error', answer.status_code)}; run this again")
    if counts.get("skipped"):
        raise OperatorError("another run holds the lease: run this again in a few minutes")
    return counts
