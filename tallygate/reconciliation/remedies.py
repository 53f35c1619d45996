"""What can be done about a difference, and doing it: once, approved by a person, while it still holds.

In an open period a meter event brings Stripe's sum of an hour to the ledger's; it may be negative, as long as
the period's total stays at least 0. Once the invoice is final, its line is compared with the ledger instead,
and what it bills too much is credited, what it lacks is charged on the next invoice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from tallygate.appdb import Database
from tallygate.logs import emit
from tallygate.metering.sinks import MeterEvent, UsageSink, Verdict
from tallygate.metering.warehouse import Value, Warehouse
from tallygate.reconciliation import repairs
from tallygate.reconciliation.books import MeteredLine, StripeBooks, StripeRefusedError
from tallygate.reconciliation.hours import HourKey
from tallygate.reconciliation.repairs import Plan, Repair, RepairError, Subject
from tallygate.reconciliation.results import Comparison, append
from tallygate.reconciliation.summaries import StripeSummaries

JOB: Final = "usage_reconciler"
OLDEST_EVENT: Final = timedelta(days=34)
"""Stripe takes timestamps of the last 35 days; the difference is for a person's time to decide."""
_REPLAYED_ROWS: Final = timedelta(days=400)
"""Rows are booked at most so long after their hour of usage, replays of older hours among them."""
_TAKEN: Final = frozenset({Verdict.ACCEPTED, Verdict.DUPLICATE})
_OPEN: Final = frozenset({Verdict.UNKNOWN, Verdict.BUSY})
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class LineKey:
    """A metered line, as a statement takes it."""

    invoice: str
    line: int
    stripe_customer: str
    meter: str
    period_start: datetime
    period_end: datetime
    identifier: str
    """Of the row that a one-off invoice's line charges; empty for a subscription's line."""

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name."""
        texts = {"invoice": "STRING", "line": "INT64", "stripe_customer": "STRING", "meter": "STRING"}
        return {**texts, "period_start": "TIMESTAMP", "period_end": "TIMESTAMP", "identifier": "STRING"}

    @classmethod
    def of(cls, line: MeteredLine) -> LineKey:
        """The key of a line."""
        return cls(
            line.invoice_id,
            line.number,
            line.customer,
            line.meter,
            line.start,
            line.end,
            line.identifier or "",
        )


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger holds for an invoice's line."""

    tenant_id: str | None
    value: int
    """Of the rows that were sent."""
    under_way: int
    """Rows whose sending is not decided."""


class OutcomeUnknownError(Exception):
    """Stripe may have done it: approving again asks under the same identifiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Plans repairs, and carries out those that were approved."""

    warehouse: Warehouse
    stripe: StripeSummaries
    books: StripeBooks
    sink: UsageSink
    database: Database
    now: Callable[[], datetime]
    run_id: str

    def proposed(self, subject: Subject, booked_at: datetime) -> Repair | None:
        """The proposal about an hour that differs for certain: one that waits or settled it, or a new one.

        Once the period's invoice is final its line decides, not the hour; None: the line is right, or waits
        for rows that are under way.

        Raises:
            StripeReadError, GoogleAPIError, JobRunningError, DatabaseUnavailableError: look again later.
        """
        line = self.books.line_at(subject.stripe_customer, subject.meter, booked_at)
        if line is not None and line.invoice_status != "draft":
            booked = self.booked([line])[line.invoice_id, line.number]
            return None if booked.under_way else self.proposed_for(line, subject.tenant_id, booked.value)
        return self._kept(subject, lambda gap: self._event(subject, booked_at))

    def proposed_for(self, line: MeteredLine, tenant_id: str, ledger_value: int) -> Repair | None:
        """The proposal about a line of a final invoice; None when the line is right.

        Raises:
            DatabaseUnavailableError: look again later.
        """
        if line.quantity == ledger_value:
            return None
        subject = subject_of(line, tenant_id, ledger_value)
        return self._kept(subject, lambda gap: after_the_invoice(line, gap))

    def proposed_by_hand(self, subject: Subject, booked_at: datetime, why: str) -> Repair:
        """The proposal about what only a person can put right.

        Raises:
            DatabaseUnavailableError: look again later.
        """
        plan = Plan(
            remedy="none",
            booked_at=booked_at,
            period_start=subject.window_start,
            period_end=subject.window_end,
            why=why,
        )
        return self._kept(subject, lambda _: plan)

    def tell(self, repair: Repair) -> None:
        """Write down an invoice's difference, and that a person is asked."""
        facts = {
            "job": JOB,
            "run_id": self.run_id,
            "kind": repair.kind,
            "tenant_id": repair.tenant_id,
            "stripe_customer": repair.stripe_customer,
            "meter": repair.meter,
            "invoice": repair.invoice,
            "line": repair.line,
            "ledger_value": repair.ledger_value,
            "witness_value": repair.witness_value,
            "repair_id": repair.repair_id,
            "remedy": repair.remedy,
        }
        emit("reconciliation_difference", "ERROR", **facts)
        emit("repair_proposed", "ERROR", **facts)

    def booked(self, lines: Sequence[MeteredLine]) -> Mapping[tuple[str, int], Booked]:
        """What the ledger holds for metered lines, by invoice and number of the line.

        Raises:
            GoogleAPIError, JobRunningError: when it can't be read.
        """
        if not lines:
            return {}
        parameters: dict[str, Value] = {
            "lines": [LineKey.of(line) for line in lines],
            "window_start": min(line.start for line in lines),
            "window_end": max(line.end for line in lines),
        }
        return {
            (row["invoice"], row["line"]): Booked(row["tenant_id"], row["ledger_value"], row["under_way"])
            for row in self.warehouse.read("invoice_lines", parameters)
        }

    def _kept(self, subject: Subject, plan: Callable[[int], Plan]) -> Repair:
        """The proposal that speaks for a difference; a new one if there is none."""
        gap = subject.witness_value - subject.ledger_value
        known = repairs.of_key(self.database, subject.key)
        held = repairs.standing(known, gap, self.now())
        if held is not None:
            return held
        rest = gap - repairs.settled(known)
        return repairs.propose(self.database, subject, plan(rest), now=self.now(), run_id=self.run_id)

    def decide(
        self, repair_id: str, *, approve: bool, by: str, caller: str | None, comment: str | None
    ) -> Repair:
        """Write down a decision, and carry out an approval; what is done already is not done again.

        Raises:
            RepairError: when nothing is to be decided, or what it rests on no longer holds.
            OutcomeUnknownError: when Stripe did not say what it has done.
            StripeReadError, GoogleAPIError, JobRunningError, DatabaseUnavailableError: approve again later.
        """
        repair = repairs.decide(
            self.database, repair_id, approve=approve, by=by, caller=caller, comment=comment, now=self.now()
        )
        if repair.state == "rejected":
            self._record(repair, "rejected")
        if repair.state == "approved":
            repair = self._carry_out(repair)
        emit(
            "repair_decided", job=JOB, run_id=self.run_id, repair_id=repair_id, state=repair.state,
            tenant_id=repair.tenant_id, meter=repair.meter, remedy=repair.remedy, result=repair.result,
            decided_by=repair.decided_by, caller=repair.caller,
        )  # fmt: skip
        return repair

    def _carry_out(self, repair: Repair) -> Repair:
        gap = self._gap(repair)
        if repair.first_sent_at is not None and gap == 0:
            return self._finished(repair, repair.identifier)
        if gap != repair.difference:
            self._withdrawn(repair, f"the difference is {gap} now, not {repair.difference}")
        if repair.first_sent_at is None:
            self._check(repair)
        repair = repairs.note_attempt(self.database, repair.repair_id, self.now())
        try:
            result = self._made(repair)
        except StripeRefusedError as error:
            repairs.reopen(self.database, repair.repair_id)
            raise RepairError(f"Stripe refuses: {error}; {repair.repair_id} waits again") from error
        return self._finished(repair, result)

    def _check(self, repair: Repair) -> None:
        """That what was approved is still what is to be done.

        Raises:
            RepairError: when it is not; nothing was done.
        """
        if repair.kind == "invoice":
            plan = after_the_invoice(self._line(repair), repair.difference)
            if (repair.remedy, repair.amount_cents) != (plan.remedy, plan.amount_cents):
                self._withdrawn(repair, f"it would take another remedy now ({plan.remedy}: {plan.why})")
            return
        line = self.books.line_at(repair.stripe_customer, repair.meter, repair.booked_at)
        if line is not None and line.invoice_status != "draft":
            self._withdrawn(repair, f"invoice {line.invoice_id} is final now")
        if repair.booked_at < self.now() - OLDEST_EVENT:
            self._withdrawn(repair, "Stripe takes no meter event that old any more")
        if repair.difference <= 0:
            return
        assert repair.period_start is not None
        assert repair.period_end is not None
        meter_id = self.stripe.meter_ids()[repair.meter]
        total = self.stripe.total(meter_id, repair.stripe_customer, repair.period_start, repair.period_end)
        if total < repair.difference:
            repairs.reopen(self.database, repair.repair_id)
            raise RepairError(
                f"the period's total is {total}: {repair.difference} less would be below zero; "
                f"{repair.repair_id} waits again"
            )

    def _withdrawn(self, repair: Repair, why: str) -> NoReturn:
        repairs.withdraw(self.database, repair.repair_id)
        raise RepairError(
            f"{why}: {repair.repair_id} is withdrawn, and the next comparison proposes what fits"
        )

    def _made(self, repair: Repair) -> str:
        """Stripe's id of what was made."""
        if repair.remedy == "meter_event":
            return self._sent(repair)
        amount = repair.amount_cents or 0
        if repair.remedy == "credit_note":
            line = self._line(repair)
            return self.books.credit(line, amount, repair.repair_id, repair.attempts)
        text = f"{repair.meter}: {-repair.difference} of {repair.window_start:%Y-%m-%d}, invoiced too low"
        return self.books.charge(repair.stripe_customer, amount, text, repair.repair_id, repair.attempts)

    def _sent(self, repair: Repair) -> str:
        event = MeterEvent(
            identifier=repair.identifier,
            meter=repair.meter,
            customer=repair.stripe_customer,
            value=-repair.difference,
            timestamp=repair.booked_at,
        )
        answer = self.sink.send(event, f"{repair.identifier}:a{repair.attempts}")
        if answer.verdict in _OPEN:
            raise OutcomeUnknownError(
                f"{answer.reason or answer.verdict.value}: approve {repair.repair_id} again"
            )
        if answer.verdict not in _TAKEN:
            raise StripeRefusedError(answer.reason or answer.verdict.value)
        return repair.identifier

    def _finished(self, repair: Repair, result: str) -> Repair:
        self._record(repair, "repaired", result)
        return repairs.finish(self.database, repair.repair_id, result, self.now())

    def _record(self, repair: Repair, action: str, result: str | None = None) -> None:
        """One row of the ledger's comparisons for a decision; asking again appends nothing."""
        said = [repair.repair_id, repair.remedy, result or "", f"by {repair.decided_by}"]
        said += [f"as {repair.caller}"] if repair.caller else []
        row = Comparison(
            kind="repair",
            tenant_id=repair.tenant_id,
            stripe_customer=repair.stripe_customer,
            meter=repair.meter,
            window_start=repair.window_start,
            window_end=repair.window_end,
            ledger_value=repair.ledger_value,
            witness_value=repair.witness_value,
            action=action,
            detail="; ".join(part for part in said if part),
        )
        name = f"{action}-{repair.repair_id}".replace(":", "-")
        append(self.warehouse, name, self.now(), "repair", [row])

    # --- what differs ---------------------------------------------------------------------------

    def _gap(self, repair: Repair) -> int:
        """The difference as it is now, without what earlier repairs have made good.

        Raises:
            RepairError: while rows of the hour are on their way.
        """
        done = repairs.settled(repairs.of_key(self.database, repair.key))
        if repair.kind == "invoice":
            line = self._line(repair)
            booked = self.booked([line])[line.invoice_id, line.number]
            if booked.under_way:
                raise RepairError(
                    "rows of this period are on their way to Stripe: approve again when they are sent"
                )
            return line.quantity - booked.value - done
        rows = self._rows(repair)
        if any(row["delivery"] in ("unsent", "sending") for row in rows):
            raise RepairError(
                "rows of this hour are on their way to Stripe: approve again when they are sent"
            )
        sent: int = sum(row["value"] for row in rows if row["delivery"] in ("sent", "confirmed"))
        start = repair.window_start
        meter_id = self.stripe.meter_ids()[repair.meter]
        counted = self.stripe.by_hour(meter_id, repair.stripe_customer, start, start + _HOUR)
        return counted.get(start, 0) - sent - done

    def _rows(self, repair: Repair) -> Sequence[Mapping[str, Any]]:
        hour = HourKey(repair.stripe_customer, repair.meter, repair.window_start)
        parameters: dict[str, Value] = {
            "hours": [hour],
            "window_start": repair.window_start,
            "window_end": repair.window_end,
            "rows_since": repair.window_start - _REPLAYED_ROWS,
        }
        return self.warehouse.read("booked_rows", parameters)

    def _line(self, repair: Repair) -> MeteredLine:
        assert repair.invoice is not None
        for line in self.books.metered_lines(repair.invoice):
            if line.number == repair.line:
                return line
        raise RepairError(f"invoice {repair.invoice} has no metered line {repair.line} any more")

    def _event(self, subject: Subject, booked_at: datetime) -> Plan:
        """What is done in an open period."""
        parameters: dict[str, Value] = {"stripe_customer": subject.stripe_customer, "moment": booked_at}
        periods = self.warehouse.read("period_at", parameters)
        if not periods:
            return Plan(
                remedy="none", booked_at=booked_at, why="no billing segment of the customer holds then"
            )
        if booked_at < self.now() - OLDEST_EVENT:
            return Plan(remedy="none", booked_at=booked_at, why="Stripe takes no meter event that old")
        return Plan(
            remedy="meter_event",
            booked_at=booked_at,
            period_start=periods[0]["period_start"],
            period_end=periods[0]["period_end"],
            why="the period is open",
        )


def subject_of(line: MeteredLine, tenant_id: str, ledger_value: int) -> Subject:
    """An invoice's line and what the ledger holds for it."""
    return Subject(
        kind="invoice",
        tenant_id=tenant_id,
        stripe_customer=line.customer,
        meter=line.meter,
        window_start=line.start,
        window_end=line.end,
        ledger_value=ledger_value,
        witness_value=line.quantity,
    )


def after_the_invoice(line: MeteredLine, gap: int) -> Plan:
    """What is done about a line of a final invoice that bills ``gap`` too much, or (negative) too little."""
    amount = line.share(min(gap, line.quantity) if gap > 0 else -gap)
    why = f"invoice {line.invoice_id} is {line.invoice_status}"
    if amount == 0:
        why += "; it is less than a cent, or the line says no price"
    creditable = line.invoice_status in ("open", "paid")
    remedy: repairs.Remedy = "credit_note" if gap > 0 else "invoice_item"
    return Plan(
        remedy=remedy if amount and (creditable or gap < 0) else "none",
        booked_at=line.start,
        period_start=line.start,
        period_end=line.end,
        invoice=line.invoice_id,
        line=line.number,
        amount_cents=amount,
        why=why,
    )
