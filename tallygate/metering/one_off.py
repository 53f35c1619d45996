"""One-off invoices: sealed rows of disposition ``one_off``, each of which becomes one invoice item.

An item carries its row's identifier, so Stripe's own list of items says which rows are there, whatever became
of an answer. The list is asked before anything is made, and again where an answer leaves it open. A row whose
outcome is unknown for longer than Stripe keeps an idempotency key is made again only when two looks, hours
apart, have not found it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, Protocol

from tallygate.metering.send import UNKNOWN_OUTCOME, LedgerWriteError
from tallygate.metering.sinks import Answer, Verdict
from tallygate.metering.warehouse import DeliveryRow, Value, Warehouse

HELD_AFTER: Final = timedelta(hours=20)
"""A row whose outcome is unknown for longer is not made again blindly: Stripe keeps a key for 24 hours."""
LOOK_APART: Final = timedelta(hours=6)
"""Between the two looks that must miss an item before it is made again."""
ITEMS_PER_INVOICE: Final = 200
"""Stripe takes 250 on one invoice."""
NOT_FOUND: Final = "not_found"
"""Reason of a row in state ``sending`` that two looks have missed: Stripe has not taken it."""
_TRIES: Final = 3
_BACKOFF_SECONDS: Final = 0.5
"""Before the second try; doubled for each further one."""
_RETRIED: Final = frozenset({Verdict.UNKNOWN, Verdict.BUSY})
_TICK: Final = timedelta(microseconds=1)

Step = Literal["found", "make", "look", "wait", "make_again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOffRow:
    """A row that is on no invoice yet, or on one that is not confirmed."""

    identifier: str
    customer: str
    meter: str
    usage_hour: datetime
    value: int
    price: str
    """Stripe's price of the item that billed the meter."""
    sent: bool
    attempt: int
    """Of the newest delivery; 0 before the first."""
    maybe_sent: bool
    unknown_since: datetime | None
    changed_at: datetime
    """When it was sealed or its delivery last noted."""


@dataclass(frozen=True, slots=True)
class OneOffItem:
    """What is put on an invoice for a row."""

    customer: str
    identifier: str
    meter: str
    usage_hour: datetime
    quantity: int
    unit_cents: Decimal


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an item of ours is."""

    invoice: str | None
    """None: it waits for the customer's next invoice."""
    is_final: bool
    advances: bool
    """Whether the invoice finalizes itself."""


class OneOffError(Exception):
    """Stripe gave no usable answer; ``denied``: nor will it to any other call."""

    def __init__(self, reason: str, *, denied: bool = False) -> None:
        super().__init__(reason)
        self.denied = denied


class NoCustomerError(OneOffError):
    """The customer does not exist, or not any more."""


class OneOffInvoices(Protocol):
    """A billing service that makes invoices for single items. Every method but ``add`` raises OneOffError."""

    def unit_cents(self, price: str) -> Decimal | None:
        """Cents for one unit; None: the price has none."""
        ...

    def items(self, customer: str) -> Mapping[str, Placed]:
        """Items of ours by the identifier that they carry."""
        ...

    def draft(self, customer: str, key: str) -> str:
        """An empty draft of ours, which does not finalize itself yet; the same key makes one once."""
        ...

    def add(self, invoice: str, item: OneOffItem, idempotency_key: str) -> Answer:
        """Put an item on a draft: one call. Never raises for what the service or the network does."""
        ...

    def release(self, invoice: str) -> None:
        """Let a draft finalize itself."""
        ...


@dataclass(slots=True)
class Billed:
    """What came of some rows; counts."""

    invoiced: int = 0
    rejected: int = 0
    parked: int = 0


@dataclass(slots=True)
class OneOffBiller:
    """One run's one-off invoices."""

    warehouse: Warehouse
    stripe: OneOffInvoices
    run_id: str
    now: Callable[[], datetime]
    _appends: int = field(default=0, init=False)

    def bill(self, customer: str, rows: Sequence[OneOffRow]) -> Billed:
        """Put a customer's rows on invoices, each once.

        Raises:
            OneOffError: when Stripe does not say what is there; what was begun is taken up by the next run.
            JobRunningError, LedgerWriteError, GoogleAPICallError: when the ledger can't be written.
        """
        placed = self.stripe.items(customer)
        self._release(placed)
        now = self.now()
        steps = {row.identifier: _step(row, placed, now) for row in rows}
        notes = [note for row in rows if (note := _looked(row, steps[row.identifier], placed)) is not None]
        self._append(notes, now)
        ready = [row for row in rows if steps[row.identifier] in ("make", "make_again")]
        for number, start in enumerate(range(0, len(ready), ITEMS_PER_INVOICE)):
            notes += self._make(customer, ready[start : start + ITEMS_PER_INVOICE], steps, number)
        sent_before = {row.identifier for row in rows if row.sent}
        states = [note.state for note in notes if note.identifier not in sent_before]
        return Billed(
            invoiced=states.count("sent") + states.count("confirmed"),
            rejected=states.count("rejected"),
            parked=states.count("parked"),
        )

    def _release(self, placed: Mapping[str, Placed]) -> None:
        """Let drafts go that hold items of ours: their run died before it did."""
        for invoice in sorted(
            {at.invoice for at in placed.values() if at.invoice and not at.is_final and not at.advances}
        ):
            self.stripe.release(invoice)

    def _make(
        self, customer: str, rows: Sequence[OneOffRow], steps: Mapping[str, Step], number: int
    ) -> list[DeliveryRow]:
        """Make the items of one invoice; what is noted of each row at last."""
        units = {price: self.stripe.unit_cents(price) for price in {row.price for row in rows}}
        attempts = {row.identifier: _attempt(row, steps[row.identifier]) for row in rows}
        started = self.now() + _TICK  # later than what was noted of the looks
        try:
            invoice = self.stripe.draft(customer, f"{rows[0].identifier}:{self.run_id}:{number}")
        except NoCustomerError:
            notes = [
                DeliveryRow(name, attempt, "parked", "customer_not_found")
                for name, attempt in attempts.items()
            ]
            self._append(notes, started)
            return notes
        self._append([DeliveryRow(name, made, "sending", None) for name, made in attempts.items()], started)
        answers = {}
        for row in rows:
            unit = units[row.price]
            assert unit is not None, "a row is decided by its price"
            item = OneOffItem(customer, row.identifier, row.meter, row.usage_hour, row.value, unit)
            answers[row.identifier] = self._add(
                invoice, item, f"{row.identifier}:a{attempts[row.identifier]}"
            )
        unclear = any(answer.verdict is not Verdict.ACCEPTED for answer in answers.values())
        placed = self.stripe.items(customer) if unclear else {}
        notes = [_outcome(row, attempts[row.identifier], answers[row.identifier], placed) for row in rows]
        if any(note.state == "sent" for note in notes):
            self.stripe.release(invoice)
        self._append(notes, max(self.now(), started + _TICK))
        return notes

    def _add(self, invoice: str, item: OneOffItem, key: str) -> Answer:
        for number in range(_TRIES):
            answer = self.stripe.add(invoice, item, key)
            if answer.verdict not in _RETRIED:
                break
            if number + 1 < _TRIES:
                time.sleep(_BACKOFF_SECONDS * 2**number)
        return answer

    def _append(self, notes: Sequence[DeliveryRow], at: datetime) -> None:
        if not notes:
            return
        self._appends += 1
        parameters: dict[str, Value] = {"rows": notes, "now": at, "run_id": self.run_id}
        outcome = self.warehouse.write(f"one-off-{self.run_id}-{self._appends}", "deliver", parameters)
        if outcome.error is not None:
            raise LedgerWriteError(f"{outcome.job_id}: {outcome.error}")


def _step(row: OneOffRow, placed: Mapping[str, Placed], now: datetime) -> Step:
    """What is to be done about a row, given what Stripe lists."""
    if row.identifier in placed or row.sent:
        return "found"
    if row.unknown_since is None or now - row.unknown_since <= HELD_AFTER:
        return "make"  # under the same key while the outcome is unknown
    looked_before = row.changed_at - row.unknown_since > HELD_AFTER
    if not looked_before:
        return "look"
    return "make_again" if now - row.changed_at >= LOOK_APART else "wait"


def _looked(row: OneOffRow, step: Step, placed: Mapping[str, Placed]) -> DeliveryRow | None:
    """What is noted of a look at Stripe's list."""
    if step == "found" and row.identifier in placed:
        final = placed[row.identifier].is_final
        if final or not row.sent:
            return DeliveryRow(row.identifier, max(row.attempt, 1), "confirmed" if final else "sent", None)
    if step == "look":
        return DeliveryRow(row.identifier, row.attempt, "sending", UNKNOWN_OUTCOME)
    if step == "make_again":
        return DeliveryRow(row.identifier, row.attempt, "sending", NOT_FOUND)
    return None


def _attempt(row: OneOffRow, step: Step) -> int:
    """Grows only after a definite failure."""
    if row.maybe_sent and step == "make":
        return max(row.attempt, 1)
    return row.attempt + 1


def _outcome(row: OneOffRow, attempt: int, answer: Answer, placed: Mapping[str, Placed]) -> DeliveryRow:
    """What is noted after the calls; ``placed``: what Stripe lists where an answer left it open."""

    def noted(state: str, reason: str | None) -> DeliveryRow:
        return DeliveryRow(row.identifier, attempt, state, reason)

    if answer.verdict is Verdict.ACCEPTED or row.identifier in placed:
        return noted("sent", None)
    if answer.verdict is Verdict.NO_CUSTOMER:
        return noted("parked", "customer_not_found")
    reason = answer.reason or answer.verdict.value
    if answer.verdict is Verdict.REFUSED:
        return noted("rejected", reason)
    unknown = answer.verdict is Verdict.UNKNOWN or attempt == row.attempt
    return noted("sending", UNKNOWN_OUTCOME if unknown else reason)
