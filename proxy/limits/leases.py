"""Requests and tokens per minute, and requests in flight: leased in chunks from one document per tenant.

The windows of ``rpm`` and ``tpm`` are whole minutes, UTC. A lease of requests or tokens ends with its
minute; a lease of parallel slots ends :data:`SLOT_SECONDS` after it was last renewed, so that an instance
that was killed gives them back by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from tallygate.appdb import Database, Transaction
from tallygate.clock import parse_rfc3339, rfc3339

CHUNKS: Final = 40
"""A chunk is 1/40 of the limit: three idle instances keep at most 7.5 % of it from a hot one."""
SLOT_CHUNKS: Final = 40
SLOT_SECONDS: Final = 20.0
RENEW_SECONDS: Final = 8.0
"""Slots in use are renewed this long after the last time: twice within their life."""
STATIC_SHARE: Final = 4
"""With the database down, an instance takes a quarter of each limit: right for four, safe for fewer."""

MOST_SKEW: Final = timedelta(minutes=15)
"""An instance whose clock is ahead takes the shared window with it, so that the others' counts are not lost;
further ahead than this its window is ignored, so that it can't shut them out."""

Limit = Literal["requests", "tokens", "parallel"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant may do over all instances."""

    rpm: int
    tpm: int
    max_parallel: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not admitted now."""

    limit: Limit
    retry_after_seconds: int
    text: str


@dataclass(slots=True)
class Leases:
    """What one instance holds of one tenant's limits. Not thread-safe: the caller serializes.

    Times are passed in, so that a decision has one moment.
    """

    tenant_id: str
    instance: str
    minute: datetime | None = None
    requests: int = 0
    """Left of the leased requests of this minute."""
    tokens: int = 0
    """Left of the leased tokens of this minute; below 0 when a request took more than it reserved."""
    slots: int = 0
    slots_until: datetime | None = None
    in_flight: int = 0
    shared_requests: int = 0
    """Leased by all instances this minute, as last seen."""
    shared_tokens: int = 0
    _static_minute: datetime | None = None
    _refused: dict[Limit, tuple[datetime, int]] = field(default_factory=dict)
    """Until when asking again is pointless, and for how much."""

    def try_locally(self, limits: Limits, tokens: int, now: datetime) -> bool | Refused | None:
        """Admit from what is held (True), refuse from what is known, or None: the database must be asked."""
        self._roll(now)
        if tokens > limits.tpm:
            return Refused(
                "tokens", 60, f"the request may take {tokens} tokens, the limit is {limits.tpm} a minute"
            )
        for name, (until, least) in self._refused.items():
            if now < until and (name != "tokens" or tokens >= least):
                return _refusal(name, until, now)
        enough = self.requests >= 1 and self.tokens >= tokens and self.in_flight < self._live_slots(now)
        if not enough:
            return None
        self._admit(tokens)
        return True

    def ask(self, database: Database, limits: Limits, tokens: int, now: datetime) -> bool | Refused:
        """Lease what is missing from the shared document, then admit or refuse.

        Raises:
            DatabaseUnavailableError: when it can't be asked.
        """
        outcome = database.transact(lambda transaction: self._lease(transaction, limits, tokens, now))
        self._apply(outcome)
        lack = outcome.lack
        if lack is None:
            self._admit(tokens)
            return True
        until = now + timedelta(seconds=0.2) if lack == "parallel" else _next_minute(now)
        self._refused[lack] = (until, tokens)
        return _refusal(lack, until, now)

    def ask_nobody(self, limits: Limits, tokens: int, now: datetime) -> bool | Refused:
        """The database can't be asked: take this instance's static share, once a minute."""
        if self._static_minute != self.minute:
            self._static_minute = self.minute
            self.requests += max(1, limits.rpm // STATIC_SHARE)
            self.tokens += max(tokens, limits.tpm // STATIC_SHARE)
        if self._live_slots(now) <= self.in_flight:
            self.slots = max(1, limits.max_parallel // STATIC_SHARE)
            self.slots_until = now + timedelta(seconds=SLOT_SECONDS)
        verdict = self.try_locally(limits, tokens, now)
        if verdict is not None:
            return verdict
        lack: Limit = "requests" if self.requests < 1 else "tokens" if self.tokens < tokens else "parallel"
        return _refusal(lack, now + timedelta(seconds=1), now)

    def done(self, reserved_tokens: int, used_tokens: int, admitted_at: datetime, now: datetime) -> None:
        """A request ended: give back its slot, and of its tokens what it did not use in its own minute."""
        self.in_flight -= 1
        self._roll(now)
        self._refused.pop("tokens", None)
        self._refused.pop("parallel", None)
        if _minute(admitted_at) == self.minute:
            self.tokens += reserved_tokens - used_tokens

    def must_renew(self, now: datetime) -> bool:
        """Whether slots in use are about to be given away."""
        if self.in_flight == 0 or self.slots_until is None:
            return False
        return now >= self.slots_until - timedelta(seconds=SLOT_SECONDS - RENEW_SECONDS)

    def renew(self, database: Database, limits: Limits, now: datetime) -> None:
        """Keep the slots in use, give back those that are not."""
        self._apply(database.transact(lambda t: self._lease(t, limits, 0, now, admit=False)))

    def _lease(
        self, transaction: Transaction, limits: Limits, tokens: int, now: datetime, *, admit: bool = True
    ) -> _Leased:
        """Take what is missing; the first limit that does not give enough makes it take nothing.

        Changes nothing here: a transaction's body may run several times.
        """
        shared = _Shared.read(transaction.get("leases", _document_id(self.tenant_id)), now)
        requests = self._missing(1 if admit else 0, self.requests, limits.rpm, shared.requests)
        more_tokens = self._missing(tokens, self.tokens, limits.tpm, shared.tokens)
        free = limits.max_parallel - shared.slots_of_others(self.instance)
        slots = max(min(self.in_flight + max(1, limits.max_parallel // SLOT_CHUNKS), free), self.in_flight)
        lack: Limit | None = None
        if admit and requests is None:
            lack = "requests"
        elif admit and more_tokens is None:
            lack = "tokens"
        elif admit and slots <= self.in_flight:
            lack = "parallel"
        if lack is not None:
            return _Leased(lack, 0, 0, self.slots, self.slots_until, shared.requests, shared.tokens)
        until = now + timedelta(seconds=SLOT_SECONDS)
        shared.requests += requests or 0
        shared.tokens += more_tokens or 0
        shared.slots[self.instance] = (slots, until)
        transaction.put("leases", _document_id(self.tenant_id), shared.document(self.tenant_id))
        return _Leased(None, requests or 0, more_tokens or 0, slots, until, shared.requests, shared.tokens)

    def _apply(self, leased: _Leased) -> None:
        self.requests += leased.requests
        self.tokens += leased.tokens
        self.slots, self.slots_until = leased.slots, leased.slots_until
        self.shared_requests, self.shared_tokens = leased.shared_requests, leased.shared_tokens

    def _missing(self, needed: int, held: int, limit: int, taken: int) -> int | None:
        """What to lease so that ``needed`` can be met; None when not enough is left."""
        if held >= needed:
            return 0
        lack = needed - held
        granted = min(max(lack, limit // CHUNKS), limit - taken)
        return granted if granted >= lack else None

    def _admit(self, tokens: int) -> None:
        self.requests -= 1
        self.tokens -= tokens
        self.in_flight += 1

    def _roll(self, now: datetime) -> None:
        minute = _minute(now)
        if minute == self.minute:
            return
        self.minute = minute
        self.requests = self.tokens = self.shared_requests = self.shared_tokens = 0
        self._refused.clear()

    def _live_slots(self, now: datetime) -> int:
        return self.slots if self.slots_until is not None and now < self.slots_until else 0

    def remaining(self, limits: Limits) -> tuple[int, int]:
        """Requests and tokens left this minute, over all instances, as last seen."""
        requests = limits.rpm - self.shared_requests + self.requests
        tokens = limits.tpm - self.shared_tokens + self.tokens
        return max(0, requests), max(0, tokens)


@dataclass(frozen=True, slots=True)
class _Leased:
    """What one visit to the shared document gave."""

    lack: Limit | None
    requests: int
    tokens: int
    slots: int
    slots_until: datetime | None
    shared_requests: int
    shared_tokens: int


@dataclass(slots=True)
class _Shared:
    """The document of one tenant, with what has ended left out."""

    minute: datetime
    """Of the counts; never moved back."""
    requests: int
    tokens: int
    slots: dict[str, tuple[int, datetime]]

    @classmethod
    def read(cls, document: Mapping[str, Any] | None, now: datetime) -> _Shared:
        own = _minute(now)
        if document is None:
            return cls(own, 0, 0, {})
        written = parse_rfc3339(document["minute"])
        current = own <= written <= own + MOST_SKEW
        slots = {
            instance: (int(held["count"]), parse_rfc3339(held["until"]))
            for instance, held in document["slots"].items()
        }
        return cls(
            minute=written if current else own,
            requests=int(document["requests"]) if current else 0,
            tokens=int(document["tokens"]) if current else 0,
            slots={instance: held for instance, held in slots.items() if now < held[1]},
        )

    def slots_of_others(self, instance: str) -> int:
        return sum(count for holder, (count, _) in self.slots.items() if holder != instance)

    def document(self, tenant_id: str) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "minute": rfc3339(self.minute),
            "requests": self.requests,
            "tokens": self.tokens,
            "slots": {
                instance: {"count": count, "until": rfc3339(until)}
                for instance, (count, until) in self.slots.items()
            },
        }


def seconds_to_reset(now: datetime) -> int:
    """Whole seconds, at least 1, until the minute of ``rpm`` and ``tpm`` ends."""
    return max(1, round((_next_minute(now) - now).total_seconds()))


def _refusal(limit: Limit, until: datetime, now: datetime) -> Refused:
    texts = {
        "requests": "too many requests this minute",
        "tokens": "too many tokens this minute",
        "parallel": "too many requests in flight",
    }
    return Refused(limit, max(1, round((until - now).total_seconds())), texts[limit])


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _next_minute(moment: datetime) -> datetime:
    return _minute(moment) + timedelta(minutes=1)


def _document_id(tenant_id: str) -> str:
    return f"limits:{tenant_id}"
