"""The archives' buckets. An object is made once and never replaced: its name says what is in it."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote

import requests

from delivery.errors import CannotRunError, DeliveryError
from delivery.google import session, storage_url

_TIMEOUT_SECONDS: Final = 60
_ABSENT: Final = {"ifGenerationMatch": "0"}
"""Only where there is no such object yet."""


def upload(bucket: str, name: str, content: bytes) -> None:
    """Put an object there, unless the same is there already.

    Raises:
        CannotRunError: when the bucket can't be reached or the identity lacks a right.
        DeliveryError: when another content is there under that name.
    """
    url = f"{storage_url()}/upload/storage/v1/b/{bucket}/o"
    with session() as http:
        answer = _call(
            http, "POST", url, f"roles/storage.objectUser on {bucket}",
            params={"uploadType": "media", "name": name, **_ABSENT}, data=content,
            headers={"Content-Type": "application/zip"},
        )  # fmt: skip
    if answer.status_code == requests.codes.precondition_failed:
        require(bucket, name, hashlib.sha256(content).hexdigest())


def copy(source: str, target: str, name: str, sha256: str) -> bytes:
    """Copy an archive to another bucket and read it back; its content.

    Raises:
        CannotRunError: when a bucket can't be reached, lacks the object, or the identity lacks a right.
        DeliveryError: when the archive's content is not what its hash says, on either side.
    """
    upload(target, name, require(source, name, sha256))
    return require(target, name, sha256)


def require(bucket: str, name: str, sha256: str) -> bytes:
    """The content of an object, which must have that hash.

    Raises:
        CannotRunError: when it can't be read.
        DeliveryError: when its hash differs.
    """
    url = f"{storage_url()}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    with session() as http:
        answer = _call(http, "GET", url, f"roles/storage.objectViewer on {bucket}", params={"alt": "media"})
    if answer.status_code == requests.codes.not_found:
        raise CannotRunError(
            f"gs://{bucket}/{name} is not there: run make release for this environment, or make "
            "copy-artifacts for one that a release is promoted to"
        )
    found = hashlib.sha256(answer.content).hexdigest()
    if found != sha256:
        raise DeliveryError(
            f"gs://{bucket}/{name} has the SHA-256 {found}, but the release says {sha256}: it is not the "
            "archive that was reviewed; find out who wrote it, then release anew"
        )
    return answer.content


def _call(http: requests.Session, method: str, url: str, role: str, **options: object) -> requests.Response:
    try:
        answer = http.request(method, url, timeout=_TIMEOUT_SECONDS, **options)  # type: ignore[arg-type]
    except requests.RequestException as error:
        raise CannotRunError(f"{url}: no answer: {error}") from error
    if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
        raise CannotRunError(
            f"{url}: HTTP {answer.status_code}: the pipeline's identity needs {role}, "
            "which terraform/bootstrap grants"
        )
    if answer.status_code not in (200, 404, 412):
        raise CannotRunError(f"{url}: HTTP {answer.status_code}: {answer.text[:200]}")
    return answer
