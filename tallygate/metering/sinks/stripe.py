"""Stripe Billing meters, version 2 of the API: validated at once, typed errors, retries do the work again.

Version 2 takes positive values only; the negative row of a correction goes through version 1, whose answer to
an idempotency key stays what it was, a 500 too: such a row stays unknown until the summaries tell.
A 2xx means accepted, not billed: events of unknown customers are refused later, asynchronously.
"""

from __future__ import annotations

import re
from typing import Final

import stripe

from tallygate.clock import rfc3339
from tallygate.metering.sinks import Answer, MeterEvent, Verdict

_TIMEOUT_SECONDS: Final = (3.0, 10.0)
"""To connect, and to wait for bytes."""
_DUPLICATE_TEXT: Final = re.compile(r"already exists with identifier|duplicate identifier", re.IGNORECASE)
_VERDICTS: Final = {
    "duplicate_meter_event": Verdict.DUPLICATE,
    "too_many_concurrent_requests": Verdict.BUSY,
    "lock_timeout": Verdict.BUSY,
    "no_meter": Verdict.NO_METER,
    "archived_meter": Verdict.NO_METER,
    "resource_missing": Verdict.NO_CUSTOMER,
    "meter_event_customer_not_found": Verdict.NO_CUSTOMER,
    "timestamp_in_future": Verdict.EARLY,
}


class StripeSink:
    """Sends meter events to one Stripe account."""

    def __init__(self, api_key: str, *, api_base: str | None = None) -> None:
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base, "meter_events": api_base} if api_base else None,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
        )

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        """One call; every error becomes an answer."""
        try:
            self._create(event, idempotency_key)
        except stripe.StripeError as error:
            return classify(error)
        return Answer(Verdict.ACCEPTED)

    def _create(self, event: MeterEvent, idempotency_key: str) -> None:
        payload = {"stripe_customer_id": event.customer, "value": str(event.value)}
        if event.value < 0:
            self._client.v1.billing.meter_events.create(
                {
                    "event_name": event.meter,
                    "identifier": event.identifier,
                    "timestamp": int(event.timestamp.timestamp()),
                    "payload": payload,
                },
                {"idempotency_key": idempotency_key},
            )
            return
        self._client.v2.billing.meter_events.create(
            {
                "event_name": event.meter,
                "identifier": event.identifier,
                "timestamp": rfc3339(event.timestamp),
                "payload": payload,
            },
            {"idempotency_key": idempotency_key},
        )


def classify(error: stripe.StripeError) -> Answer:
    """What an error of the SDK means. Status and code decide: the classes have no useful common base."""
    status = error.http_status
    code = error.code or ""
    if status is None or status >= 500 or 200 <= status < 300:  # a 2xx here: the answer could not be read
        return Answer(Verdict.UNKNOWN, f"http_{status}" if status else "no_answer")
    if status in (401, 403):
        return Answer(Verdict.NO_ACCESS, code or f"http_{status}")
    if code in _VERDICTS:
        return Answer(_VERDICTS[code], code)
    if _DUPLICATE_TEXT.search(str(error.user_message or error)):
        return Answer(Verdict.DUPLICATE, "duplicate_meter_event")
    if status == 429:
        headers = error.headers or {}
        return Answer(Verdict.BUSY, headers.get("stripe-rate-limited-reason") or "rate_limited")
    if status == 409:
        return Answer(Verdict.BUSY, code or "conflict")
    return Answer(Verdict.REFUSED, code or f"http_{status}")
