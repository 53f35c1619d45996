"""Events: snapshot events of version 1, thin events of version 2."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

import stripe

from sandbox.stripe.store import Document, Store
from sandbox.stripe.wire import new_id, unix, v2_time

KEPT: Final = timedelta(days=30)
"""How long events can be read."""


def announce(
    store: Store, now: datetime, kind: str, document: Document, before: Document | None = None
) -> None:
    """Keep a snapshot event; ``before``: the values that a change replaced."""
    data: dict[str, Any] = {"object": json.loads(json.dumps(document))}
    if before is not None:
        data["previous_attributes"] = before
    event = {
        "id": new_id("evt"),
        "object": "event",
        "api_version": stripe.api_version,
        "created": unix(now),
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    store.add("event", event)


def announce_thin(
    store: Store, now: datetime, kind: str, related: tuple[str, str, str] | None, data: dict[str, Any]
) -> None:
    """Keep a thin event; ``related``: id, type and URL of the object that it is about."""
    event: Document = {
        "id": new_id("evt_test"),
        "object": "v2.core.event",
        "type": kind,
        "created": v2_time(now),
        "livemode": False,
        "context": None,
        "reason": None,
        "related_object": dict(zip(("id", "type", "url"), related, strict=True)) if related else None,
        "data": data,
    }
    store.add("thin_event", event)
