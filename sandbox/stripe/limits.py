"""How much is taken at once: calls per second, and one call at a time per customer and meter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from sandbox.stripe.errors import CONCURRENT, INVALID, StripeRefusalError

BASIC_PER_SECOND: Final = 100
METER_EVENTS_PER_SECOND: Final = 1000
BURST_SECONDS: Final = 10
"""How many seconds' worth of calls may come at once; Stripe publishes the rates, not the depth."""
_REASON: Final = "stripe-rate-limited-reason"
_RETRY: Final = "stripe-should-retry"


@dataclass(slots=True)
class RateLimit:
    """A token bucket on the machine's own clock: what it protects is this process, not a date."""

    per_second: float
    monotonic: Callable[[], float] = time.monotonic
    _tokens: float = field(init=False)
    _filled_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = self.per_second * BURST_SECONDS
        self._filled_at = self.monotonic()

    def take(self) -> bool:
        """Whether one more call is within the rate."""
        now = self.monotonic()
        most = self.per_second * BURST_SECONDS
        self._tokens = min(most, self._tokens + (now - self._filled_at) * self.per_second)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Gate:
    """Things that only one call may work on at a time. For one event loop."""

    def __init__(self) -> None:
        self._held: set[object] = set()

    @contextmanager
    def hold(self, thing: object | None, refusal: Callable[[], StripeRefusalError]) -> Iterator[None]:
        """Keep others away from ``thing`` (None: nothing to keep).

        Raises:
            StripeRefusalError: the refusal, when another call holds it.
        """
        if thing is None:
            yield
            return
        if thing in self._held:
            raise refusal()
        self._held.add(thing)
        try:
            yield
        finally:
            self._held.discard(thing)


def rate_limited() -> StripeRefusalError:
    """429: too many calls a second. The SDK does not retry it by itself."""
    message = (
        "Request rate limit exceeded. You can learn more about rate limits at stripe.com/docs/rate-limits."
    )
    return StripeRefusalError(429, message, "rate_limit", INVALID, headers={_REASON: "global-rate"})


def concurrent(version: str) -> StripeRefusalError:
    """Another call works on the same customer and meter: 409 in version 2, a lock timeout in version 1."""
    if version == "v2":
        message = "Too many concurrent requests for this customer and meter."
        return StripeRefusalError(409, message, CONCURRENT)
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently "
        "accessing it."
    )
    headers = {_REASON: "resource-specific", _RETRY: "true"}
    return StripeRefusalError(429, message, "lock_timeout", INVALID, headers=headers)


def key_in_use(key: str) -> StripeRefusalError:
    """409: a call with the same idempotency key is still being carried out."""
    message = f"There is currently another in-progress request using this Idempotent Key: {key}"
    return StripeRefusalError(409, message, "idempotency_key_in_use", "idempotency_error")


def conflict(version: str) -> StripeRefusalError:
    """409 of either version, without another call at work (fault ``conflict_409``)."""
    return concurrent("v2") if version == "v2" else key_in_use("sandbox-fault")
