"""Takes Stripe's events: verify, keep, one bounded attempt to apply, answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from tallygate.appdb import Database, DatabaseUnavailableError
from tallygate.clock import Clock
from tallygate.logs import emit
from tallygate.secrets import SecretMissingError
from tallygate.subscriptions import inbox
from tallygate.subscriptions.events import StripeEvent, UnreadableEventError, read_event
from tallygate.subscriptions.inbox import InboxRow
from tallygate.subscriptions.signature import SignatureError, SigningSecrets, verify

LARGEST_BODY: Final = 256 * 1024
"""Stripe's events are some kilobytes."""

Outcome = Literal[
    "stored", "duplicate", "ignored", "bad_signature", "bad_event", "wrong_mode", "wrong_account",
    "too_large", "not_configured", "store_failed",
]  # fmt: skip
STATUS: Final[dict[Outcome, int]] = {
    "stored": 200,
    "duplicate": 200,
    "ignored": 200,
    "bad_signature": 400,
    "bad_event": 400,
    "wrong_mode": 400,
    "wrong_account": 400,
    "too_large": 413,
    "not_configured": 500,
    "store_failed": 500,
}
"""200 only once the event is kept. Stripe sends again what is answered otherwise."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer."""

    status: int
    outcome: Outcome
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Receiver:
    """What takes a webhook."""

    secrets: SigningSecrets
    database: Database
    clock: Clock
    livemode: bool
    attempt: Callable[[InboxRow], bool]
    """Applies what a row gives occasion to, if that can be done at once; bounded; never raises for what
    Stripe or the database does."""

    def receive(self, body: bytes, signature: str | None) -> Answer:
        """Take one delivery and write its log line."""
        started = time.monotonic()
        event: StripeEvent | None = None
        applied, reason = False, None
        try:
            event = self._trusted(body, signature)
            outcome = self._refusal(event)
            if outcome is None:
                row = inbox.store(self.database, event, self.clock.now(), "webhook")
                outcome = "duplicate" if row is None else "ignored" if row.state == "ignored" else "stored"
                applied = row is not None and row.state == "waiting" and self.attempt(row)
        except _TooLargeError:
            outcome = "too_large"
        except SignatureError as error:
            outcome, reason = "bad_signature", error.reason
        except UnreadableEventError as error:
            outcome, reason = "bad_event", str(error)
        except SecretMissingError as error:
            outcome, reason = "not_configured", str(error)
        except DatabaseUnavailableError as error:
            outcome, reason = "store_failed", str(error)
        self._log(outcome, event, reason, applied=applied, started=started)
        return Answer(STATUS[outcome], outcome, applied)

    def _trusted(self, body: bytes, signature: str | None) -> StripeEvent:
        """The event, once it is certain that Stripe sent it."""
        if len(body) > LARGEST_BODY:
            raise _TooLargeError
        verify(body, signature, self.secrets, self.clock.now())
        return read_event(body)

    def _refusal(self, event: StripeEvent) -> Outcome | None:
        if event.livemode != self.livemode:
            return "wrong_mode"
        return None if event.account is None else "wrong_account"

    def _log(
        self,
        outcome: Outcome,
        event: StripeEvent | None,
        reason: str | None,
        *,
        applied: bool,
        started: float,
    ) -> None:
        status = STATUS[outcome]
        emit(
            "webhook",
            "ERROR" if status >= 500 else "WARNING" if status >= 400 else "INFO",
            outcome=outcome,
            status=status,
            reason=reason,
            applied=applied,
            event_id=None if event is None else event.event_id,
            event_type=None if event is None else event.type,
            duration_ms=int((time.monotonic() - started) * 1000),
        )


class _TooLargeError(Exception):
    """The body exceeds the limit."""
