"""Remembered answers, by idempotency key.

Version 1 keeps the first answer of everything that began to be carried out, errors and 500s included, for
24 hours. Version 2 keeps what succeeded for 30 days and does failed work again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sandbox.stripe.errors import StripeRefusalError
from sandbox.stripe.store import Document, Store
from sandbox.stripe.usage import micros

KEPT: Final = {"v1": timedelta(hours=24), "v2": timedelta(days=30)}
KEY_LENGTH: Final = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered."""

    status: int
    body: Document
    headers: Mapping[str, str] = field(default_factory=dict)


def fingerprint(method: str, path: str, params: Mapping[str, Any]) -> str:
    """What must be equal in two requests that use one key."""
    content = json.dumps([method, path, params], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def check_key(key: str) -> None:
    """Raises: StripeRefusalError: 400 for a key that is too long."""
    if len(key) > KEY_LENGTH:
        message = f"Idempotency keys can be at most {KEY_LENGTH} characters long."
        raise StripeRefusalError(400, message, None, "idempotency_error")


def recall(store: Store, version: str, key: str, request: str, now: datetime) -> Answer | None:
    """The answer that was given to this key, if it is still kept.

    Raises:
        StripeRefusalError: 400 when the key was used for another request.
    """
    row = store.execute(
        "SELECT request, status, body, request_id FROM answers "
        "WHERE version = ? AND key = ? AND answered_at > ?",
        version, key, micros(now - KEPT[version]),
    ).fetchone()  # fmt: skip
    if row is None:
        return None
    if row["request"] != request:
        message = (
            "Keys for idempotent requests can only be used with the same parameters they were first used "
            f"with. Try using a key other than '{key}' if you meant to execute a different request."
        )
        raise StripeRefusalError(400, message, None, "idempotency_error")
    headers = {"idempotent-replayed": "true", "original-request": row["request_id"]}
    if row["status"] >= 500:
        headers["stripe-should-retry"] = "false"
    return Answer(row["status"], json.loads(row["body"]), headers)


def remember(
    store: Store, version: str, key: str, request: str, now: datetime, answer: Answer, request_id: str
) -> None:
    """Keep an answer, if the version of the API keeps answers of its kind."""
    if version == "v2" and answer.status >= 400:
        return
    store.execute(
        "INSERT OR REPLACE INTO answers (version, key, request, status, body, request_id, answered_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        version, key, request, answer.status, json.dumps(answer.body), request_id, micros(now),
    )  # fmt: skip
