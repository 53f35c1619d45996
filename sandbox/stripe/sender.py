"""Sends events to their endpoints, signed; tries again by schedule what was not taken with 2xx."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import httpx

from sandbox.faults import FaultRegistry
from sandbox.stripe.announcements import SNAPSHOT, THIN
from sandbox.stripe.deliveries import DESTINATION, ENDPOINT, Delivery, all_due, hand_out, settle
from sandbox.stripe.endpoints import signing_secrets
from sandbox.stripe.store import Document, Store
from sandbox.stripe.wire import unix
from tallygate.clock import Clock

ANSWERED_WITHIN_SECONDS: Final = 20.0
"""How long an endpoint may take, in real time; Stripe publishes no number."""
AT_ONCE: Final = 8
"""Posts in flight at most, unless told otherwise; Stripe publishes no number."""
_MOST_ROUNDS: Final = 10_000
_NOT_SENT: Final = ("data", "snapshot_event")
"""What a thin event's notification leaves out: it has to be fetched."""


def signature(body: bytes, secrets: Sequence[str], now: datetime) -> str:
    """``Stripe-Signature`` of a body: one ``v1`` for each secret that is valid."""
    at = unix(now)
    signed = f"{at}.".encode() + body
    digests = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])


def notification(event: Document) -> bytes:
    """An event as it is posted; a thin one without its data."""
    shown = event
    if event["object"] == "v2.core.event":
        shown = {name: value for name, value in event.items() if name not in _NOT_SENT}
    return json.dumps(shown, indent=2).encode()


class Sender:
    """The deliveries of one account. For one event loop."""

    def __init__(self, store: Store, clock: Clock, faults: FaultRegistry, *, at_once: int = AT_ONCE) -> None:
        self._store = store
        self._clock = clock
        self._faults = faults
        self._sending = asyncio.Lock()
        self._places = asyncio.Semaphore(at_once)
        self._limits = httpx.Limits(max_connections=at_once)

    async def send_due(self) -> None:
        """Hand out new events and try everything due, also what that makes due; returns when all is tried."""
        async with self._sending:
            for _ in range(_MOST_ROUNDS):
                hand_out(self._store, self._clock.now(), self._faults)
                due = all_due(self._store, self._clock.now())
                if not due:
                    return
                async with httpx.AsyncClient(
                    timeout=ANSWERED_WITHIN_SECONDS, trust_env=False, limits=self._limits
                ) as client:
                    await asyncio.gather(*(self._try(client, delivery) for delivery in due))
            raise RuntimeError("webhooks cause webhooks without end")

    async def _try(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        endpoint = self._store.find(ENDPOINT, delivery.endpoint) or self._store.find(
            DESTINATION, delivery.endpoint
        )
        event = self._store.find(SNAPSHOT, delivery.event) or self._store.find(THIN, delivery.event)
        taken = False
        if endpoint is not None and event is not None and endpoint["status"] == "enabled":
            async with self._places:
                taken = await self._post(client, endpoint, notification(event))
        settle(self._store, delivery, self._clock.now(), taken=taken)

    async def _post(self, client: httpx.AsyncClient, endpoint: Document, body: bytes) -> bool:
        now = self._clock.now()
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "stripe-signature": signature(body, signing_secrets(endpoint, now), now),
        }
        try:
            answer = await client.post(endpoint["address"], content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
        return answer.is_success
