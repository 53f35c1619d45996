"""Stripe's events as they are posted: bodies and signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

SECRET = "whsec_of_the_tests"


def snapshot(event_id: str = "evt_1", kind: str = "customer.subscription.updated", **changes: Any) -> bytes:
    """The body of a snapshot event about a subscription of ``cus_1``."""
    about = {"id": "sub_1", "object": "subscription", "customer": "cus_1"} | changes.pop("about", {})
    event = {
        "id": event_id,
        "object": "event",
        "type": kind,
        "created": 1_770_000_000,
        "livemode": False,
        "data": {"object": about},
    } | changes
    return json.dumps(event).encode()


def thin(
    event_id: str = "evt_test_1", kind: str = "v1.customer.subscription.updated", **changes: Any
) -> bytes:
    """The body of a thin event about a subscription."""
    event = {
        "id": event_id,
        "object": "v2.core.event",
        "type": kind,
        "created": "2026-02-02T00:00:00.000Z",
        "livemode": False,
        "context": None,
        "related_object": {"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
    } | changes
    return json.dumps(event).encode()


def sign(body: bytes, at: datetime | None = None, *secrets: str) -> str:
    """The header for a body, signed at a moment (now) by the secrets (the tests' one)."""
    seconds = int((at or datetime.now(UTC)).timestamp())
    signed = f"{seconds}.".encode() + body
    digests = [hmac.new(one.encode(), signed, hashlib.sha256).hexdigest() for one in secrets or (SECRET,)]
    return ",".join([f"t={seconds}", *(f"v1={digest}" for digest in digests)])
