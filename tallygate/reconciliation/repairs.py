"""Proposed repairs: what a person is asked, what was decided by whom, and that each is carried out once.

One document of the app database a proposal. Its state:
    pending      waits for a decision
    approved     decided, and perhaps carried out: nobody has heard the answer yet
    done         carried out
    rejected     decided against
    superseded   the difference it was about is another one now, or is gone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from tallygate.appdb import Condition, Database, Transaction
from tallygate.clock import parse_rfc3339, rfc3339

State = Literal["pending", "approved", "done", "rejected", "superseded"]
Remedy = Literal["meter_event", "credit_note", "invoice_item", "none"]

COLLECTION: Final = "repairs"
SETTLES_WITHIN: Final = timedelta(hours=24)
"""So long after a meter event was sent, a difference that still shows is taken for Stripe's lag."""
_OPEN: Final = frozenset({"pending", "approved"})


class RepairError(Exception):
    """What was asked of a repair can't be done; says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What differs: the ledger and a witness, of one customer's meter."""

    kind: Literal["summary", "invoice"]
    """``summary``: an hour of booking at Stripe. ``invoice``: a line of a final invoice."""
    tenant_id: str
    stripe_customer: str
    meter: str
    window_start: datetime
    window_end: datetime
    """Exclusive."""
    ledger_value: int
    witness_value: int

    @property
    def key(self) -> str:
        """One difference at a time has this key."""
        start = int(self.window_start.timestamp())
        return f"{self.kind}:{self.stripe_customer}:{self.meter}:{start}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done about it."""

    remedy: Remedy
    booked_at: datetime
    """A moment of the period concerned; the timestamp of a meter event."""
    period_start: datetime | None = None
    period_end: datetime | None = None
    invoice: str | None = None
    line: int | None = None
    amount_cents: int | None = None
    """Of a credit note or an invoice item."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A proposal and its history. Times are UTC."""

    repair_id: str
    key: str
    state: State
    kind: Literal["summary", "invoice"]
    tenant_id: str
    stripe_customer: str
    meter: str
    window_start: datetime
    window_end: datetime
    ledger_value: int
    witness_value: int
    difference: int
    """What is to be taken back (negative: to be charged), in the meter's unit, without earlier repairs."""
    remedy: Remedy
    booked_at: datetime
    period_start: datetime | None
    period_end: datetime | None
    invoice: str | None
    line: int | None
    amount_cents: int | None
    why: str
    proposed_at: datetime
    run_id: str
    decided_at: datetime | None = None
    decided_by: str | None = None
    """As the person says."""
    caller: str | None = None
    """The identity that called, as the platform checked it."""
    comment: str | None = None
    attempts: int = 0
    first_sent_at: datetime | None = None
    done_at: datetime | None = None
    result: str | None = None
    """Stripe's id of what was made, or the meter event's identifier."""

    @property
    def undone(self) -> bool:
        """Nobody has decided, or what was decided has not been carried out."""
        return self.state in _OPEN

    @property
    def identifier(self) -> str:
        """Of its meter event, at most 100 characters."""
        return f"repair:{self.repair_id}"


_TIMES: Final = (
    "window_start", "window_end", "booked_at", "period_start", "period_end", "proposed_at", "decided_at",
    "first_sent_at", "done_at",
)  # fmt: skip


def get(database: Database, repair_id: str) -> Repair | None:
    """A proposal, or None."""
    document = database.get(COLLECTION, repair_id)
    return None if document is None else _from(document)


def every(database: Database, state: str = "") -> list[Repair]:
    """All proposals of a state, or all; oldest first."""
    conditions = [Condition("state", "==", state)] if state else []
    found = [_from(document) for _, document in database.query(COLLECTION, conditions)]
    return sorted(found, key=lambda repair: (repair.proposed_at, repair.repair_id))


def of_key(database: Database, key: str) -> list[Repair]:
    """All proposals about one difference; oldest first."""
    found = [_from(document) for _, document in database.query(COLLECTION, [Condition("key", "==", key)])]
    return sorted(found, key=lambda repair: (repair.proposed_at, repair.repair_id))


def settled(repairs: list[Repair]) -> int:
    """How much of a difference credit notes and invoice items have made good: it goes on showing."""
    done = (one for one in repairs if one.state == "done" and one.remedy != "meter_event")
    return sum(one.difference for one in done)


def standing(repairs: list[Repair], gap: int, now: datetime) -> Repair | None:
    """The proposal that speaks for a gap: one that waits, or one whose decision covers it; None: propose."""
    rest = gap - settled(repairs)
    for one in reversed(repairs):
        if one.state in _OPEN and (one.difference == rest or one.state == "approved"):
            return one
        if one.state == "rejected" and one.difference == rest:
            return one
        if one.state != "done":
            continue
        if one.remedy != "meter_event" and rest == 0:
            return one
        if one.remedy == "meter_event" and one.done_at is not None and now - one.done_at < SETTLES_WITHIN:
            return one
    return None


def propose(database: Database, subject: Subject, plan: Plan, *, now: datetime, run_id: str) -> Repair:
    """Keep a proposal; what waited about the same difference with another amount is superseded."""
    repairs = of_key(database, subject.key)
    for one in repairs:
        if one.state == "pending":
            _change(database, one.repair_id, lambda old: replace(old, state="superseded"))
    difference = subject.witness_value - subject.ledger_value - settled(repairs)
    made = Repair(
        repair_id=f"{subject.key}:{len(repairs) + 1}",
        key=subject.key,
        state="pending",
        kind=subject.kind,
        tenant_id=subject.tenant_id,
        stripe_customer=subject.stripe_customer,
        meter=subject.meter,
        window_start=subject.window_start,
        window_end=subject.window_end,
        ledger_value=subject.ledger_value,
        witness_value=subject.witness_value,
        difference=difference,
        remedy=plan.remedy,
        booked_at=plan.booked_at,
        period_start=plan.period_start,
        period_end=plan.period_end,
        invoice=plan.invoice,
        line=plan.line,
        amount_cents=plan.amount_cents,
        why=plan.why,
        proposed_at=now,
        run_id=run_id,
    )
    database.create(COLLECTION, made.repair_id, _document(made))
    return made


def decide(
    database: Database,
    repair_id: str,
    *,
    approve: bool,
    by: str,
    caller: str | None,
    comment: str | None,
    now: datetime,
) -> Repair:
    """Write down a decision; an approval that was not carried out may be given again.

    Raises:
        RepairError: when there is no such proposal, or it is not to be decided any more.
    """

    def change(old: Repair) -> Repair:
        if approve and old.state in ("approved", "done"):
            return old
        if old.state != "pending":
            raise RepairError(f"{repair_id} is {old.state} (by {old.decided_by}): nothing is to be decided")
        if approve and old.remedy == "none":
            raise RepairError(f"{repair_id} can't be carried out: {old.why}; settle it by hand and reject it")
        state: State = "approved" if approve else "rejected"
        return replace(old, state=state, decided_at=now, decided_by=by, caller=caller, comment=comment)

    return _change(database, repair_id, change)


def withdraw(database: Database, repair_id: str) -> Repair:
    """The difference is another one: nothing is carried out, and the next comparison proposes anew."""
    return _change(database, repair_id, lambda old: replace(old, state="superseded"))


def note_attempt(database: Database, repair_id: str, now: datetime) -> Repair:
    """Written before Stripe is asked."""

    def change(old: Repair) -> Repair:
        return replace(old, attempts=old.attempts + 1, first_sent_at=old.first_sent_at or now)

    return _change(database, repair_id, change)


def finish(database: Database, repair_id: str, result: str | None, now: datetime) -> Repair:
    """Carried out."""
    return _change(database, repair_id, lambda old: replace(old, state="done", done_at=now, result=result))


def reopen(database: Database, repair_id: str) -> Repair:
    """Stripe has certainly not done it: it waits again, with who decided still written in it."""
    return _change(database, repair_id, lambda old: replace(old, state="pending", first_sent_at=None))


def _change(database: Database, repair_id: str, change: Any) -> Repair:
    def write(transaction: Transaction) -> Repair:
        document = transaction.get(COLLECTION, repair_id)
        if document is None:
            raise RepairError(f"there is no repair {repair_id!r}: see tallygate repairs list")
        changed: Repair = change(_from(document))
        transaction.put(COLLECTION, repair_id, _document(changed))
        return changed

    return database.transact(write)


def _document(repair: Repair) -> dict[str, Any]:
    return {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in asdict(repair).items()
    }


def _from(document: Mapping[str, Any]) -> Repair:
    times = {name: parse_rfc3339(document[name]) for name in _TIMES if document.get(name)}
    return Repair(**{**document, **times})
