"""Events: snapshot events of version 1, thin events of version 2."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Final

import stripe
from stripe.events._event_classes import get_v2_event_class

from sandbox.stripe.store import Document, Store
from sandbox.stripe.wire import new_id, unix, v2_time

SNAPSHOT: Final = "event"
THIN: Final = "thin_event"
KEPT: Final = timedelta(days=30)
"""How long events can be read."""


_URLS: Final = {
    "billing.meter": "/v1/billing/meters",
    "checkout.session": "/v1/checkout/sessions",
    "credit_note": "/v1/credit_notes",
    "customer": "/v1/customers",
    "invoice": "/v1/invoices",
    "subscription": "/v1/subscriptions",
    "subscription_schedule": "/v1/subscription_schedules",
}
"""Where the object of a thin event can be fetched, by its type."""


def announce(store: Store, now: datetime, kind: str, document: Document) -> None:
    """Keep a snapshot event and its thin twin. Of an update it says what was before."""
    data: dict[str, Any] = {"object": json.loads(json.dumps(document))}
    if kind.endswith(".updated"):
        data["previous_attributes"] = _replaced(store, document)
    event: Document = {
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
    store.add(SNAPSHOT, event)
    twin = f"v1.{kind}"
    if document["object"] in _URLS and is_thin_type(twin):
        url = f"{_URLS[document['object']]}/{document['id']}"
        related = (document["id"], document["object"], url)
        announce_thin(store, now, twin, related, None, snapshot=event["id"])


def is_thin_type(kind: str) -> bool:
    """Whether the SDK knows thin events of a type."""
    return get_v2_event_class(kind) is not stripe.StripeObject


def _replaced(store: Store, document: Document) -> Document:
    """The values of the fields that the last change replaced; the change may be saved already or not."""
    kept, earlier = store.versions(document["id"])
    before = kept if _differing(kept, document) else earlier
    return {name: before[name] for name in _differing(before, document)}


def _differing(before: Document, after: Document) -> list[str]:
    lists = ("items", "lines")  # shown as lists with an address, kept as plain ones
    return [name for name in before if name not in lists and before[name] != after.get(name)]


def announce_thin(
    store: Store,
    now: datetime,
    kind: str,
    related: tuple[str, str, str] | None,
    data: dict[str, Any] | None,
    *,
    snapshot: str | None = None,
) -> Document:
    """Keep a thin event; ``related``: id, type and URL of what it is about; ``snapshot``: its twin's id."""
    event: Document = {
        "id": new_id("evt_test"),
        "object": "v2.core.event",
        "type": kind,
        "created": v2_time(now),
        "livemode": False,
        "context": None,
        "reason": None,
        "snapshot_event": snapshot,
    }
    if related is not None:
        event["related_object"] = dict(zip(("id", "type", "url"), related, strict=True))
    if data is not None:
        event["data"] = data
    return store.add(THIN, event)
