"""The inbox in the app database: every event of Stripe once, under its id, with what became of it.

Rows carry no payload: what is true is fetched, so nothing personal is kept and nothing stale is applied.
Only a row that waits has ``due_at`` and ``waiting_for``, so that one-field queries find the waiting ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from tallygate.appdb import Condition, Database, Document, Transaction
from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.subscriptions.events import StripeEvent, Topic

State = Literal["waiting", "done", "parked", "ignored"]
Source = Literal["webhook", "list"]

KEPT: Final = timedelta(days=35)
"""Longer than Stripe delivers an event again (30 days), so that a repeat is known as one."""
MOST_ATTEMPTS: Final = 20
"""With the backoff below about seven hours, which outlives an outage; then the row is parked."""
_FIRST_BACKOFF: Final = timedelta(seconds=10)
_LONGEST_BACKOFF: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxRow:
    """One event and where it stands. Times are RFC 3339."""

    event_id: str
    type: str
    topic: Topic
    thin: bool
    source: Source
    object_id: str | None
    customer: str | None
    created_at: str
    """By Stripe."""
    stored_at: str
    state: State
    attempts: int = 0
    """Tries that failed."""
    looked_at: str | None = None
    """When the first fetch that was applied for it began; it waits for a second one then."""
    reason: str | None = None
    settled_at: str | None = None
    """When it became done or ignored."""
    parked_at: str | None = None
    due_at: str | None = None
    waiting_for: str | None = None
    """The customer whose fetch settles a waiting row, if that is known."""
    delete_at: str | None = None
    """When the store may delete it; never one that waits or is parked: those are open questions."""


def store(database: Database, event: StripeEvent, now: datetime, source: Source) -> InboxRow | None:
    """Keep an event; None when it is here already.

    Raises:
        DatabaseUnavailableError: then it is not known to be kept.
    """
    ignored = event.topic == "ignored"
    row = InboxRow(
        event_id=event.event_id,
        type=event.type,
        topic=event.topic,
        thin=event.thin,
        source=source,
        object_id=event.object_id,
        customer=event.customer,
        created_at=rfc3339(event.created),
        stored_at=rfc3339(now),
        state="ignored" if ignored else "waiting",
        settled_at=rfc3339(now) if ignored else None,
        delete_at=rfc3339(now + KEPT) if ignored else None,
        due_at=None if ignored else rfc3339(now),
        waiting_for=event.customer if event.topic == "customer" else None,
    )
    return row if database.create("inbox", row.event_id, _document(row)) else None


def get(database: Database, event_id: str) -> InboxRow | None:
    """The row of an event, or None."""
    document = database.get("inbox", event_id)
    return None if document is None else _row(document)


def due(database: Database, now: datetime, limit: int) -> list[InboxRow]:
    """Waiting rows that are due, the longest due first."""
    found = database.query("inbox", [Condition("due_at", "<=", rfc3339(now))], order_by="due_at", limit=limit)
    return [_row(document) for _, document in found]


def waiting_for(database: Database, customer: str) -> list[InboxRow]:
    """Waiting rows about a customer, due or not."""
    found = database.query("inbox", [Condition("waiting_for", "==", customer)])
    return [_row(document) for _, document in found]


def in_state(database: Database, state: State) -> list[InboxRow]:
    """All rows of a state, for the operator's commands."""
    return [_row(document) for _, document in database.query("inbox", [Condition("state", "==", state)])]


def count_waiting(database: Database, limit: int) -> int:
    """How many rows wait, counted up to ``limit``."""
    return len(database.query("inbox", [Condition("due_at", ">", "")], order_by="due_at", limit=limit))


def is_behind(database: Database, since: datetime) -> bool:
    """Whether some row has been due since then: the sync can't keep up."""
    return bool(
        database.query("inbox", [Condition("due_at", "<=", rfc3339(since))], order_by="due_at", limit=1)
    )


def settle(database: Database, event_ids: Iterable[str], now: datetime) -> None:
    """Mark rows done, whatever they waited for."""
    for event_id in event_ids:
        _change(database, event_id, lambda row: _done(row, now), parked_too=True)


def looked(
    database: Database, event_ids: Iterable[str], began: datetime, now: datetime, settle_after: timedelta
) -> None:
    """Note that a fetch which began at ``began`` was applied.

    A fetch may have read a state from before the change, as replicas lag. So a row is done only by a fetch
    that began ``settle_after`` or more after the row was stored; until then it waits for one.
    """

    def note(row: InboxRow) -> InboxRow:
        again = parse_rfc3339(row.stored_at) + settle_after
        if began >= again:
            return _done(row, now)
        return replace(row, looked_at=row.looked_at or rfc3339(began), attempts=0, due_at=rfc3339(again))

    for event_id in event_ids:
        _change(database, event_id, note)


def retry_later(
    database: Database, row: InboxRow, reason: str, now: datetime, *, most_attempts: int = MOST_ATTEMPTS
) -> bool:
    """Plan another attempt, later each time; False when there were enough: then the row is parked.

    For want of a tenant a row is parked only while its customer is bound to none, in one transaction with
    looking: whoever binds the customer finds either a waiting row or a parked one.
    """

    def fail(transaction: Transaction) -> bool:
        document = transaction.get("inbox", row.event_id)
        if document is None or document["state"] != "waiting":
            return True
        current = replace(_row(document), attempts=row.attempts + 1, reason=reason)
        bound = (
            reason == NO_TENANT
            and current.customer is not None
            and transaction.get("customers", current.customer) is not None
        )
        parked = current.attempts >= most_attempts and not bound
        if parked:
            current = _parked(current, reason, now)
        else:
            wait = min(_FIRST_BACKOFF * 2**row.attempts, _LONGEST_BACKOFF)
            current = replace(current, due_at=rfc3339(now if bound else now + wait))
        transaction.put("inbox", row.event_id, _document(current))
        return not parked

    return database.transact(fail)


def postpone(database: Database, row: InboxRow, until: datetime, reason: str) -> None:
    """Let a row wait for something that is expected to take time; no failure."""
    _change(database, row.event_id, lambda current: replace(current, due_at=rfc3339(until), reason=reason))


def park(database: Database, row: InboxRow, reason: str, now: datetime) -> None:
    """Give a row up, with the reason."""
    _change(database, row.event_id, lambda current: _parked(current, reason, now))


def name_customer(database: Database, row: InboxRow, customer: str) -> InboxRow:
    """Note whom a row turned out to be about."""
    _change(
        database,
        row.event_id,
        lambda current: replace(current, customer=customer, waiting_for=customer),
    )
    return replace(row, customer=customer, waiting_for=customer)


def retry_now(database: Database, event_id: str, now: datetime) -> bool:
    """Let a parked row wait again, due at once: the operator's command. False when there is no such row."""
    row = get(database, event_id)
    if row is None or row.state != "parked":
        return False

    def again(current: InboxRow) -> InboxRow:
        return replace(
            current, state="waiting", attempts=0, parked_at=None, due_at=rfc3339(now),
            waiting_for=current.customer if current.topic == "customer" else None,
        )  # fmt: skip

    _change(database, event_id, again, parked_too=True)
    return True


def parked_for_want_of_tenant(database: Database, customer: str) -> list[str]:
    """Ids of rows that were parked because no tenant claimed their customer."""
    rows = [
        _row(document) for _, document in database.query("inbox", [Condition("customer", "==", customer)])
    ]
    return [row.event_id for row in rows if row.state == "parked" and row.reason == NO_TENANT]


NO_TENANT: Final = "no_tenant"


def _done(row: InboxRow, now: datetime) -> InboxRow:
    return replace(
        row, state="done", reason=None, settled_at=rfc3339(now), delete_at=rfc3339(now + KEPT),
        parked_at=None, due_at=None, waiting_for=None,
    )  # fmt: skip


def _parked(row: InboxRow, reason: str, now: datetime) -> InboxRow:
    return replace(row, state="parked", reason=reason, parked_at=rfc3339(now), due_at=None, waiting_for=None)


def _change(
    database: Database, event_id: str, change: Callable[[InboxRow], InboxRow], *, parked_too: bool = False
) -> None:
    """Replace a row, unless it is settled already."""
    states = ("waiting", "parked") if parked_too else ("waiting",)

    def edit(transaction: Transaction) -> None:
        document = transaction.get("inbox", event_id)
        if document is not None and document["state"] in states:
            transaction.put("inbox", event_id, _document(change(_row(document))))

    database.transact(edit)


def _document(row: InboxRow) -> Document:
    return {name: value for name, value in asdict(row).items() if value is not None}


def _row(document: Document) -> InboxRow:
    fields: dict[str, Any] = {name: document.get(name) for name in InboxRow.__dataclass_fields__}
    fields["attempts"] = fields["attempts"] or 0
    return InboxRow(**fields)
