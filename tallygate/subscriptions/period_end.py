"""Holds the draft of a period's invoice until the usage of the period is on it.

Stripe finalizes a draft an hour after it was made. A draft of a tenant with metered items is held for longer.
What remains of its usage is sealed and sent at once; the reporter goes on by its own schedule for what comes
later. The draft is let go when nothing of the period is unsealed or unsent and Stripe's summaries equal the
ledger. What is not equal when the hold ends is told, and the invoice goes out as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from tallygate.appdb import Database
from tallygate.clock import Clock, parse_rfc3339
from tallygate.logs import emit
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import NotThereError
from tallygate.subscriptions.binding import tenant_of
from tallygate.subscriptions.facts import Invoice
from tallygate.subscriptions.inbox import InboxRow
from tallygate.subscriptions.segments import newest, segments_of

SEAL_MARGIN: Final = timedelta(minutes=10)
"""So long before Stripe's own hour is over, the reporter stops sealing for the period."""
LOOK_AGAIN: Final = timedelta(minutes=5)
HELD: Final = "held"
"""Reason of a row whose draft is held, and whose remaining usage is to be sent."""
SENT: Final = "sent"
"""Reason of a row whose remaining usage has been sent: it waits for the look."""
_SOON: Final = timedelta(minutes=1)
_MINUTE: Final = timedelta(minutes=1)


class Invoices(Protocol):
    """Stripe's invoices and meter summaries."""

    def invoice(self, invoice_id: str) -> Invoice:
        """An invoice; NotThereError when there is none."""
        ...

    def finalize_at(self, invoice_id: str, moment: datetime) -> None:
        """Move the moment at which a draft finalizes itself."""
        ...

    def metered(self, meter: str, customer: str, start: datetime, end: datetime) -> int:
        """What Stripe counted of a meter; whole minutes, the end exclusive."""
        ...


@dataclass(frozen=True, slots=True)
class MeterStanding:
    """What the ledger holds of one meter for a span."""

    sent: int
    """Units."""
    unsent: int
    """Rows."""
    unsealed: int
    """Buckets of all meters."""


class PeriodLedger(Protocol):
    """The usage ledger, read only."""

    def standing(
        self,
        tenant_id: str,
        customer: str,
        meters: Sequence[str],
        span: tuple[datetime, datetime],
        period_end: datetime,
    ) -> Mapping[str, MeterStanding]:
        """What is booked within the span, by meter."""
        ...


class Remaining(Protocol):
    """Seals and sends what remains."""

    def sent_since(self, moment: datetime) -> bool:
        """Whether what was used by ``moment`` has been sealed and sent by now; False: not yet."""
        ...


@dataclass(frozen=True, slots=True)
class InvoiceDesk:
    """Carries out the rows of ``invoice.created``."""

    database: Database
    clock: Clock
    stripe: Invoices
    ledger: PeriodLedger | None
    """None: this function may not read the ledger; it only holds."""
    grace: timedelta
    """How long Stripe keeps a draft open by itself."""
    hold: timedelta
    """How long it is held at most."""
    usage_is_here: bool = True
    """False: usage is billed elsewhere, and no draft waits for it."""
    remaining: Remaining | None = None
    """None: what remains is left to the reporter's schedule."""

    def __call__(self, row: InboxRow) -> None:
        """Hold, look, or let go; then settle or postpone the row."""
        if not self.usage_is_here:
            self._done(row)
            return
        try:
            invoice = self.stripe.invoice(row.object_id or "")
        except NotThereError:
            self._done(row)
            return
        tenant_id = tenant_of(self.database, invoice.customer)
        meters = [] if tenant_id is None else self._meters(tenant_id, invoice)
        if tenant_id is None or not meters or invoice.subscription is None:
            self._done(row)
            return
        if not invoice.is_draft:
            if self.ledger is not None and row.reason in (HELD, SENT):  # it went out before it was let go
                self._tell(invoice, tenant_id, self._differences(invoice, tenant_id, meters))
            self._done(row)
            return
        now, last = self.clock.now(), invoice.created + self.hold
        if invoice.finalizes_at != last and now < last and not self._released(row):
            self.stripe.finalize_at(invoice.invoice_id, last)
        if self.ledger is None:
            inbox.postpone(self.database, row, now, HELD)  # due for the sync at once
            return
        look_at = invoice.created + self.grace - SEAL_MARGIN
        sent = self._remaining_sent(row)
        if now < look_at:
            until = look_at if sent else min(look_at, now + _SOON)
            inbox.postpone(self.database, row, until, SENT if sent else HELD)
            return
        self._look(row, invoice, tenant_id, meters, last)

    def _remaining_sent(self, row: InboxRow) -> bool:
        if row.reason == SENT or self.remaining is None:
            return True
        return self.remaining.sent_since(parse_rfc3339(row.stored_at))

    def _look(
        self, row: InboxRow, invoice: Invoice, tenant_id: str, meters: Sequence[str], last: datetime
    ) -> None:
        now = self.clock.now()
        differences = self._differences(invoice, tenant_id, meters)
        if not differences:
            self.stripe.finalize_at(invoice.invoice_id, max(invoice.created + self.grace, now + _SOON))
            emit("invoice_released", tenant_id=tenant_id, invoice=invoice.invoice_id)
            self._done(row)
        elif now >= last - LOOK_AGAIN:
            self._tell(invoice, tenant_id, differences)
            self._done(row)
        else:
            inbox.postpone(self.database, row, now + LOOK_AGAIN, SENT)

    def _tell(self, invoice: Invoice, tenant_id: str, differences: Mapping[str, str]) -> None:
        if differences:
            emit(
                "invoice_unbalanced", "ERROR", tenant_id=tenant_id, invoice=invoice.invoice_id,
                differences=differences,
            )  # fmt: skip

    def _differences(self, invoice: Invoice, tenant_id: str, meters: Sequence[str]) -> dict[str, str]:
        """What keeps the draft, by meter."""
        assert self.ledger is not None
        # summaries take whole minutes: both sides are asked for the same ones
        start = _minute(invoice.period_start)
        end = _minute(invoice.period_end + _MINUTE - timedelta(microseconds=1))
        booked = self.ledger.standing(tenant_id, invoice.customer, meters, (start, end), invoice.period_end)
        found = {}
        for meter in meters:
            standing = booked[meter]
            if standing.unsent or standing.unsealed:
                found[meter] = f"{standing.unsent} rows unsent, {standing.unsealed} buckets unsealed"
                continue
            counted = self.stripe.metered(meter, invoice.customer, start, end)
            if counted != standing.sent:
                found[meter] = f"ledger {standing.sent}, Stripe {counted}"
        return found

    def _meters(self, tenant_id: str, invoice: Invoice) -> list[str]:
        """The meters that the period bills to the tenant; all of the tenant's while none is known."""
        held = newest(segments_of(self.database, tenant_id))
        within = [
            segment
            for segment in held
            if segment.valid_from < invoice.period_end
            and (segment.valid_to is None or segment.valid_to > invoice.period_start)
        ]
        return sorted({item.meter for segment in within or held for item in segment.items})

    def _released(self, row: InboxRow) -> bool:
        current = inbox.get(self.database, row.event_id)
        return current is None or current.state != "waiting"

    def _done(self, row: InboxRow) -> None:
        inbox.settle(self.database, [row.event_id], self.clock.now())


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
