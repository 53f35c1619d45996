"""Permits to ask Stripe, shared by all instances: never more than 20 a second.

Stripe allows 25 reads a second on an endpoint by default; what is left is for people and other jobs.
Each permit is a moment of its own, taken from one document in blocks, so that the document is written some
times a second at most. It is good for a tenth of a second: used later it would come on top of others.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tallygate.appdb import Database, Transaction
from tallygate.clock import Clock, parse_rfc3339, rfc3339

PER_SECOND: Final = 20
GOOD_FOR: Final = timedelta(milliseconds=100)
"""After its moment a permit is void: a thread was not woken in time."""
_ON_THE_WAY: Final = timedelta(milliseconds=50)
"""From its use to Stripe, more for one than for another by so much."""
SPACING: Final = (timedelta(seconds=1) + GOOD_FOR + _ON_THE_WAY) / PER_SECOND
"""So that no second has more of them at Stripe, however late within its time each is used."""
_DOCUMENT: Final = "stripe-permits"
LONGEST_WAIT: Final = timedelta(milliseconds=150)
"""How long one request waits for its permit: Stripe waits for its answer, and for those of a burst."""
_TURN_SECONDS: Final = 0.05
"""How long it waits for its turn to ask."""
_AFTER_REFUSAL: Final = timedelta(milliseconds=500)


@dataclass(slots=True)
class Permits:
    """Hands out moments at which Stripe may be asked. Safe to share between threads."""

    database: Database
    clock: Clock
    _refused_until: datetime | None = field(default=None, init=False)
    _asking: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def soon(self) -> datetime | None:
        """A moment within :data:`LONGEST_WAIT` at which Stripe may be asked once; None when all are taken.

        One thread of an instance asks at a time, and none for a while after a refusal: in a burst the
        document must not be fought over.

        Raises:
            DatabaseUnavailableError: when the permits can't be read.
        """
        if not self._asking.acquire(timeout=_TURN_SECONDS):
            return None
        try:
            now = self.clock.now()
            if self.are_gone():
                return None
            granted = self._reserve(1, wait=LONGEST_WAIT)
            self._refused_until = now + _AFTER_REFUSAL if granted is None else None
            return granted
        finally:
            self._asking.release()

    def are_gone(self) -> bool:
        """Whether this instance was refused one a moment ago; costs nothing."""
        now, until = self.clock.now(), self._refused_until
        return until is not None and now < until <= now + _AFTER_REFUSAL

    def block(self, count: int) -> list[datetime]:
        """So many moments, not before which Stripe may be asked once each.

        Raises:
            DatabaseUnavailableError: when the permits can't be read.
        """
        start = self._reserve(count, wait=None)
        assert start is not None, "a reservation that may wait is never refused"
        return [start + number * SPACING for number in range(count)]

    def _reserve(self, count: int, wait: timedelta | None) -> datetime | None:
        now = self.clock.now()

        def take(transaction: Transaction) -> datetime | None:
            document = transaction.get("leases", _DOCUMENT)
            free = now if document is None else parse_rfc3339(document["free_at"])
            # a moment far ahead was left by a clock that was wrong: it must not block everybody
            start = now if free > now + timedelta(minutes=5) else max(now, free)
            if wait is not None and start > now + wait:
                return None
            transaction.put("leases", _DOCUMENT, {"free_at": rfc3339(start + count * SPACING)})
            return start

        return self.database.transact(take)
