"""A tenant's monthly budget over all instances, in nano-USD.

One document per tenant and month says what is *granted* to each instance and what it has *spent* of that; an
instance spends its grant locally. An instance's own totals are written, never differences, so that a write
whose outcome is unknown can be repeated.

Together the instances can exceed a budget only by what requests in flight cost beyond their reservation. An
instance that is killed leaves its grant, at most a chunk and its reservations, unusable for the month: a
budget errs on the side of refusing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tallygate import spend
from tallygate.appdb import Database, Transaction
from tallygate.records import COST_METER

CHUNK_NANO_USD: Final = 50_000_000
"""$0.05: what an instance leases at a time; a larger request is granted by itself."""
_CHUNKS: Final = 20
"""Of a small budget a chunk is no more than a twentieth: else the first instance would hold all of it."""
FLUSH_SECONDS: Final = 1.0
WARNING_PERCENTS: Final = (80, 100)
_REFUSED_SECONDS: Final = 1.0
"""A refusal is remembered: who is over the budget must not cost a transaction a request."""


@dataclass(slots=True)
class Budget:
    """What one instance holds of one tenant's budget in one month. Not thread-safe: the caller serializes."""

    tenant_id: str
    instance: str
    month: str
    """``2026-11``, UTC."""
    granted: int = 0
    reserved: int = 0
    hours: spend.Hours = field(default_factory=dict)
    """All that this instance spent this month."""
    spent: int = 0
    warned_percent: int = 0
    """As last seen in the shared document."""
    flushed: int = 0
    """Of ``spent``."""
    flushed_requests: int = 0
    flushed_at: float = 0.0
    """Monotonic seconds."""
    _refused: tuple[float, int] | None = None
    """Until when (monotonic seconds) and from which cost on asking again is pointless."""

    @property
    def left(self) -> int:
        """Granted, neither spent nor reserved; below 0 when a request cost more than it reserved."""
        return self.granted - self.spent - self.reserved

    @property
    def requests(self) -> int:
        """Requests that ended this month."""
        return sum(spent[spend.REQUESTS] for spent in self.hours.values())

    def try_locally(self, cost: int, limit: int | None, now: float) -> bool | None:
        """Reserve from what is held (True), refuse from what is known, or None: the database must be asked.

        Without a limit every request is admitted.
        """
        if limit is None or self.left >= cost:
            self.reserved += cost
            return True
        if self._refused is not None and now < self._refused[0] and cost >= self._refused[1]:
            return False
        return None

    def ask(self, database: Database, cost: int, limit: int, now: float) -> tuple[bool, tuple[int, ...]]:
        """Lease and reserve; whether the budget allows it, and warnings that fell due.

        What is granted, is flushed too: one transaction for both.

        Raises:
            DatabaseUnavailableError: when it can't be asked.
        """
        granted, warnings = database.transact(lambda transaction: self._write(transaction, limit, cost))
        self._note(warnings)
        if granted is None:
            self._refused = (now + _REFUSED_SECONDS, cost)
            return False, warnings
        self._wrote(granted, now)
        self.reserved += cost
        return True, warnings

    def overdraw(self, cost: int, bound: int) -> bool:
        """Reserve without asking anybody, as long as no more than ``bound`` is then owed."""
        if self.left - cost < -bound:
            return False
        self.reserved += cost
        return True

    def release(self, cost: int) -> None:
        """A reserved request is not made after all."""
        self.reserved -= cost

    def settle(self, reserved: int, amounts: Counter[str], hour: str) -> None:
        """A request ended and used this much."""
        self.reserved -= reserved
        self.spent += amounts[COST_METER]
        self.hours.setdefault(hour, Counter()).update(amounts)
        self._refused = None

    def unflushed(self) -> bool:
        """Whether anything was spent since the last flush."""
        return self.requests != self.flushed_requests

    def must_flush(self, now: float) -> bool:
        """Whether what accrued is due; ``now`` in monotonic seconds."""
        if not self.unflushed():
            return False
        return self.spent - self.flushed >= CHUNK_NANO_USD or now - self.flushed_at >= FLUSH_SECONDS

    def flush(
        self, database: Database, limit: int | None, now: float, *, final: bool = False
    ) -> tuple[int, ...]:
        """Write what was spent, give back what is not needed; the warnings that this made due, in percent.

        Less than a chunk in hand is topped up, if the budget has it. ``final``: the instance is done with
        this month, nothing is kept; call it once.

        Raises:
            DatabaseUnavailableError: when it could not be written: it may be called again.
        """
        if limit is None:
            database.put("spend", self._own_id, self._own_document())
            self._wrote(self.granted, now)
            return ()
        granted, warnings = database.transact(lambda t: self._write(t, limit, final=final))
        assert granted is not None  # what is spent is never refused
        self._wrote(granted, now)
        self._note(warnings)
        return warnings

    def _write(
        self, transaction: Transaction, limit: int, cost: int | None = None, *, final: bool = False
    ) -> tuple[int | None, tuple[int, ...]]:
        """Write both documents, with a grant for ``cost`` more if that is given.

        Returns what this instance then holds, None when the budget has too little for ``cost``; and warnings.
        Changes nothing here: a transaction's body may run several times.
        """
        shared = _Shared.read(transaction.get("spend", self._shared_id))
        bound, chunk = self.spent + self.reserved, chunk_of(limit)
        free = limit - shared.granted_to_others(self.instance) - bound
        if cost is not None and cost > free:
            used_up = free * _CHUNKS < limit  # else it is one large request that does not fit
            warnings = shared.new_warnings(limit, reached=100 if used_up else 0)
            if warnings:
                transaction.put("spend", self._shared_id, shared.document(self.tenant_id, self.month))
            return None, warnings
        wanted = cost or 0
        spare = 0 if final or wanted > chunk else max(0, min(chunk, free - wanted))
        granted = bound + wanted + spare
        shared.instances[self.instance] = (granted, self.spent)
        warnings = shared.new_warnings(limit)
        if final:
            shared.end(self.instance)
        transaction.put("spend", self._shared_id, shared.document(self.tenant_id, self.month))
        transaction.put("spend", self._own_id, self._own_document())
        return granted, warnings

    def _wrote(self, granted: int, now: float) -> None:
        self.granted = granted
        self.flushed, self.flushed_requests, self.flushed_at = self.spent, self.requests, now

    def _note(self, warnings: tuple[int, ...]) -> None:
        self.warned_percent = max(self.warned_percent, *warnings, 0)

    def _own_document(self) -> dict[str, Any]:
        return spend.document(self.tenant_id, self.month, self.instance, self.hours)

    @property
    def _own_id(self) -> str:
        return spend.document_id(self.tenant_id, self.month, self.instance)

    @property
    def _shared_id(self) -> str:
        return f"{self.tenant_id}:{self.month}"


@dataclass(slots=True)
class _Shared:
    """The document of one tenant and month that all instances write."""

    instances: dict[str, tuple[int, int]]
    """By instance: granted and spent."""
    ended_spent: int
    """By instances that have ended; they hold nothing any more."""
    warned_percent: int

    @classmethod
    def read(cls, document: Mapping[str, Any] | None) -> _Shared:
        if document is None:
            return cls({}, 0, 0)
        return cls(
            {name: (held["granted"], held["spent"]) for name, held in document["instances"].items()},
            document["ended_spent"],
            document["warned_percent"],
        )

    def granted_to_others(self, instance: str) -> int:
        held = sum(granted for name, (granted, _) in self.instances.items() if name != instance)
        return held + self.ended_spent

    def end(self, instance: str) -> None:
        """Keep of an instance only what it spent."""
        granted, _ = self.instances.pop(instance)
        self.ended_spent += granted

    def new_warnings(self, limit: int, *, reached: int = 0) -> tuple[int, ...]:
        """Marks them in the document, so that all instances together report each once."""
        spent = self.ended_spent + sum(spent for _, spent in self.instances.values())
        due = [p for p in WARNING_PERCENTS if spent * 100 >= limit * p or p <= reached]
        new = tuple(percent for percent in due if percent > self.warned_percent)
        self.warned_percent = max([self.warned_percent, *due])
        return new

    def document(self, tenant_id: str, month: str) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "month": month,
            "instances": {
                name: {"granted": granted, "spent": spent}
                for name, (granted, spent) in self.instances.items()
            },
            "ended_spent": self.ended_spent,
            "warned_percent": self.warned_percent,
        }


def chunk_of(limit: int) -> int:
    """What an instance leases at a time, in nano-USD."""
    return min(CHUNK_NANO_USD, limit // _CHUNKS)
