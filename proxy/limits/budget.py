"""A tenant's monthly budget over all instances, in nano-USD.

One document per tenant and month holds what was *granted* to instances; an instance spends its grant
locally. One document per tenant, month and instance holds what was really *spent*, by hour: nobody else
writes it, so flushing needs no agreement, and the sum is the second witness of the usage events.

Together the instances can exceed a budget only by what requests in flight cost beyond their reservation. An
instance that is killed leaves its grant, at most a chunk and its reservations, unusable for the month: a
budget errs on the side of refusing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tallygate.appdb import Condition, Database, Transaction

CHUNK_NANO_USD: Final = 50_000_000
"""$0.05: what an instance leases at a time; a larger request is granted by itself."""
FLUSH_SECONDS: Final = 1.0
WARNING_PERCENTS: Final = (80, 100)


@dataclass(slots=True)
class Budget:
    """What one instance holds of one tenant's budget in one month. Not thread-safe: the caller serializes."""

    tenant_id: str
    instance: str
    month: str
    """``2026-11``, UTC."""
    left: int = 0
    """Granted, neither spent nor reserved; below 0 when a request cost more than it reserved."""
    granted_to_all: int = 0
    """As last seen."""
    spent_by_hour: Counter[str] = field(default_factory=Counter)
    """All that this instance spent this month, by hour (``2026-11-24T09``)."""
    unflushed: int = 0
    flushed_at: float = 0.0
    """Monotonic seconds."""

    def try_locally(self, cost: int, limit: int | None) -> bool:
        """Reserve from what is held; without a limit always."""
        if limit is not None and self.left < cost:
            return False
        self.left -= cost
        return True

    def ask(self, database: Database, cost: int, limit: int) -> bool:
        """Lease what is missing, reserve; False when the budget does not allow it.

        Raises:
            DatabaseUnavailableError: when it can't be asked.
        """
        grant, self.granted_to_all = database.transact(
            lambda transaction: self._grant(
                transaction, cost - self.left, limit, single=cost > CHUNK_NANO_USD
            )
        )
        if grant is None:
            return False
        self.left += grant - cost
        return True

    def settle(self, reserved: int, cost: int, hour: str) -> None:
        """A request ended and cost this much."""
        self.left += reserved - cost
        self.spent_by_hour[hour] += cost
        self.unflushed += cost

    def must_flush(self, now: float) -> bool:
        """Whether what accrued is due; ``now`` in monotonic seconds."""
        if self.unflushed == 0:
            return False
        return self.unflushed >= CHUNK_NANO_USD or now - self.flushed_at >= FLUSH_SECONDS

    def flush(
        self, database: Database, limit: int | None, now: float, *, final: bool = False
    ) -> tuple[int, ...]:
        """Write what was spent, give back what is not needed; the warnings that this made due, in percent.

        ``final``: the instance ends, nothing is kept.
        """
        keep = 0 if final else CHUNK_NANO_USD

        def write(transaction: Transaction) -> tuple[tuple[int, ...], int]:
            if limit is None:
                self._put_spent(transaction)
                return (), 0
            shared = _read(transaction.get("spend", self._shared_id))
            back = self.left - keep if self.left > keep else min(self.left, 0)
            shared["granted_nano_usd"] -= back
            warnings = _new_warnings(shared, limit)
            self._put_shared(transaction, shared)
            self._put_spent(transaction)
            return warnings, back

        warnings, back = database.transact(write)
        self.left -= back
        self.unflushed, self.flushed_at = 0, now
        return warnings

    def _grant(
        self, transaction: Transaction, lack: int, limit: int, *, single: bool
    ) -> tuple[int | None, int]:
        """What was granted, None when less than ``lack`` is left, and what all instances then hold."""
        shared = _read(transaction.get("spend", self._shared_id))
        granted = int(shared["granted_nano_usd"])
        grant = min(lack if single else max(lack, CHUNK_NANO_USD), limit - granted)
        if grant < lack:
            return None, granted
        self._put_shared(transaction, {**shared, "granted_nano_usd": granted + grant})
        return grant, granted + grant

    def _put_shared(self, transaction: Transaction, shared: Mapping[str, Any]) -> None:
        transaction.put(
            "spend", self._shared_id, {**shared, "tenant_id": self.tenant_id, "month": self.month}
        )

    def _put_spent(self, transaction: Transaction) -> None:
        document = {
            "spent_by": self.tenant_id,
            "month": self.month,
            "instance": self.instance,
            "hours": {hour: str(nano) for hour, nano in self.spent_by_hour.items()},
        }
        transaction.put("spend", f"{self._shared_id}:{self.instance}", document)

    @property
    def _shared_id(self) -> str:
        return shared_id(self.tenant_id, self.month)


def shared_id(tenant_id: str, month: str) -> str:
    """The document that all instances share."""
    return f"{tenant_id}:{month}"


def month_of(moment: datetime) -> str:
    """The budget's month of a moment in UTC."""
    return moment.strftime("%Y-%m")


def hour_of(moment: datetime) -> str:
    """The witness's hour of a moment in UTC."""
    return moment.strftime("%Y-%m-%dT%H")


def spent(database: Database, tenant_id: str, month: str) -> Counter[str]:
    """What all instances spent in a month, by hour, as far as flushed; in nano-USD."""
    conditions = [Condition("spent_by", "==", tenant_id), Condition("month", "==", month)]
    hours: Counter[str] = Counter()
    for _, document in database.query("spend", conditions):
        hours.update({hour: int(nano) for hour, nano in document["hours"].items()})
    return hours


def _read(document: Mapping[str, Any] | None) -> dict[str, Any]:
    if document is None:
        return {"granted_nano_usd": 0, "warned_percent": 0}
    return dict(document)


def _new_warnings(shared: dict[str, Any], limit: int) -> tuple[int, ...]:
    """Marks them in the document, so that one instance reports each once."""
    reached = [p for p in WARNING_PERCENTS if shared["granted_nano_usd"] * 100 >= limit * p]
    new = tuple(percent for percent in reached if percent > shared["warned_percent"])
    shared["warned_percent"] = max([shared["warned_percent"], *reached])
    return new
