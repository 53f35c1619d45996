"""Leases in the app database: at most one run of a job at a time, as long as clocks agree.

A lease keeps runs from getting in each other's way; nothing that must hold rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tallygate.appdb import Database, Transaction
from tallygate.clock import Clock, parse_rfc3339, rfc3339


@dataclass(frozen=True, slots=True)
class Lease:
    """A named lease, held by one run until it is released or runs out."""

    database: Database
    clock: Clock
    name: str
    holder: str
    duration: timedelta

    def acquire(self) -> bool:
        """Take or extend the lease; False while another holder has it.

        Raises:
            DatabaseUnavailableError: when the store can't be reached.
        """
        now = self.clock.now()

        def take(transaction: Transaction) -> bool:
            current = transaction.get("leases", self.name)
            taken = current is not None and current["holder"] != self.holder
            if current is not None and taken and now < parse_rfc3339(current["expires_at"]):
                return False
            transaction.put(
                "leases",
                self.name,
                {"holder": self.holder, "expires_at": rfc3339(now + self.duration)},
            )
            return True

        return self.database.transact(take)

    def release(self) -> None:
        """Give the lease back, if it is still ours."""

        def give(transaction: Transaction) -> None:
            current = transaction.get("leases", self.name)
            if current is not None and current["holder"] == self.holder:
                transaction.delete("leases", self.name)

        self.database.transact(give)
