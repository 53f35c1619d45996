"""Usage that arrives after a tenant's last invoice: on a one-off invoice, or waived where it is too little.

Such usage is sealed as ``parked`` first, because a period may open that takes it. When nothing more has come
for a while and none has opened, it is decided for the tenant as a whole, by the price of all of it, and
sealed anew: as ``one_off`` or as ``waived``. What is decided stays so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from tallygate.logs import emit
from tallygate.metering.one_off import OneOffBiller, OneOffError, OneOffInvoices, OneOffRow
from tallygate.metering.seal import Survey, seal, survey
from tallygate.metering.warehouse import Value, Warehouse
from tallygate.metering.window import AfterClose, Window

ROWS_SINCE: Final = timedelta(days=400)
"""Usage lines are kept for so long: nothing older can arrive."""
_FAILURES_TO_STOP: Final = 3
"""So many customers in a row for whom Stripe gives no usable answer end the run."""
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterClosePolicy:
    """When and for how much a one-off invoice is made."""

    minimum_cents: int = 100
    """What costs less in all is waived."""
    decided_after: timedelta = timedelta(hours=24)
    """So long nothing more must have come for a tenant."""


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A sealed row that waits for a period to open."""

    tenant_id: str
    usage_hour: datetime
    value: int
    """Negative where something was taken back."""
    changed_at: datetime
    """When it was sealed or its delivery last noted."""
    price: str | None
    """Stripe's price of the item that bills the meter."""


@dataclass(slots=True)
class LateResult:
    """What came of a run. Counts are rows."""

    sealed: int = 0
    one_off: int = 0
    """Put on one-off invoices."""
    rejected: int = 0
    parked: int = 0
    backlog: int = 0
    """Decided for an invoice, and not known to be on one."""
    denied: bool = False
    """Stripe refuses the key."""


@dataclass(slots=True)
class LateUsage:
    """One run's work on usage that came after the last invoice, of one tenant or (empty) of all."""

    warehouse: Warehouse
    stripe: OneOffInvoices
    run_id: str
    now: Callable[[], datetime]
    closes_after: timedelta
    policy: AfterClosePolicy
    still_leased: Callable[[], bool]
    tenant_id: str = ""

    def run(self) -> LateResult:
        """Decide what is to be decided and put on invoices what is decided.

        Raises:
            JobRunningError, FenceError, LedgerWriteError, GoogleAPICallError: when the ledger can't be read
                or written; what was begun is taken up by the next run.
        """
        result = LateResult()
        found = self._read()
        decided = [row for row in found if row["disposition"] == "one_off"]
        try:
            for tenant_id, verdict, rows in self._decisions(found):
                result.sealed += self._seal(tenant_id, verdict, rows)
            if result.sealed:
                decided = [row for row in self._read() if row["disposition"] == "one_off"]
            self._bill(decided, result)
        except OneOffError as error:
            result.denied = error.denied
        waiting = sum(row["delivery"] != "sent" for row in decided)
        result.backlog = waiting - result.one_off - result.rejected - result.parked
        return result

    def _read(self) -> list[dict[str, Any]]:
        now = self.now()
        parameters: dict[str, Value] = {
            "rows_since": now - ROWS_SINCE,
            "now": now,
            "tenant_id": self.tenant_id,
        }
        return self.warehouse.read("after_close", parameters)

    def _decisions(
        self, found: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[str, AfterClose, list[ParkedRow]]]:
        """Tenants for whom it is time, with what becomes of their late usage.

        Raises:
            OneOffError: when a price can't be read.
        """
        by_tenant: dict[str, list[ParkedRow]] = defaultdict(list)
        for row in found:
            if row["disposition"] != "one_off":
                by_tenant[row["tenant_id"]].append(_parked_row(row))
        for tenant_id, rows in sorted(by_tenant.items()):
            if max(row.changed_at for row in rows) > self.now() - self.policy.decided_after:
                continue
            cents = self._cents(rows)
            if cents is None:
                continue
            verdict: AfterClose = "one_off:" if cents >= self.policy.minimum_cents else "waived:below_minimum"
            emit("late_usage_decided", tenant_id=tenant_id, outcome=verdict.rstrip(":"), cents=str(cents))
            yield tenant_id, verdict, rows

    def _cents(self, rows: Iterable[ParkedRow]) -> Decimal | None:
        """What the rows cost; None where nothing is left of them, or some have no price: they stay parked."""
        sums: dict[str | None, int] = defaultdict(int)
        for row in rows:
            sums[row.price] += row.value
        costs = []
        for price, value in sums.items():
            if value != 0:
                unit = None if price is None else self.stripe.unit_cents(price)
                if unit is None:
                    return None
                costs.append(unit * value)
        return sum(costs, Decimal(0)) if costs else None

    def _seal(self, tenant_id: str, verdict: AfterClose, rows: Sequence[ParkedRow]) -> int:
        """Seal the tenant's hours anew, through the fence like every other row; how many rows."""
        hours = [row.usage_hour for row in rows]
        start, end = min(hours), max(hours) + _HOUR
        window = Window(
            depth="late", start=start, end=end, lines_end=end, unsent_since=start, tenant_id=tenant_id,
            after_close=verdict,
        )  # fmt: skip
        now = self.now()

        def look(*, whole: bool = True) -> Survey:
            return survey(self.warehouse, window, now, self.closes_after, whole=whole)

        done = seal(
            self.warehouse, window, look(whole=False), now, closes_after=self.closes_after, look_again=look
        )
        return done.rows

    def _bill(self, decided: Iterable[Mapping[str, Any]], result: LateResult) -> None:
        by_customer: dict[str, list[OneOffRow]] = defaultdict(list)
        for row in decided:
            by_customer[row["stripe_customer"]].append(_one_off_row(row))
        biller = OneOffBiller(self.warehouse, self.stripe, self.run_id, self.now)
        failures = 0
        for customer, rows in by_customer.items():
            if failures >= _FAILURES_TO_STOP or not self.still_leased():
                break
            try:
                billed = biller.bill(customer, rows)
            except OneOffError as error:
                if error.denied:
                    raise
                failures += 1
                continue
            failures = 0
            result.one_off += billed.invoiced
            result.rejected += billed.rejected
            result.parked += billed.parked


def _parked_row(row: Mapping[str, Any]) -> ParkedRow:
    return ParkedRow(row["tenant_id"], row["usage_hour"], row["value"], row["changed_at"], row["price"])


def _one_off_row(row: Mapping[str, Any]) -> OneOffRow:
    return OneOffRow(
        identifier=row["identifier"],
        customer=row["stripe_customer"],
        meter=row["meter"],
        usage_hour=row["usage_hour"],
        value=row["value"],
        price=row["price"],
        sent=row["delivery"] == "sent",
        attempt=row["attempt"],
        maybe_sent=row["maybe_sent"],
        unknown_since=row["unknown_since"],
        changed_at=row["changed_at"],
    )
