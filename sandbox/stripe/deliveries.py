"""Which event goes to which endpoint, when, and how often it was tried. Kept until the events are gone.

Moments are whole microseconds since the epoch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sandbox.faults import FaultRegistry
from sandbox.stripe.announcements import SNAPSHOT, THIN
from sandbox.stripe.store import Document, Store
from sandbox.stripe.usage import SECOND, micros
from sandbox.stripe.wire import new_id

ENDPOINT: Final = "webhook_endpoint"
DESTINATION: Final = "event_destination"
RETRIED_AFTER: Final = (timedelta(minutes=10), timedelta(hours=1), timedelta(hours=3))
"""A test account retries three times over a few hours."""
WAITING: Final = "waiting"
DONE: Final = "done"
GIVEN_UP: Final = "given_up"
_KINDS: Final = {ENDPOINT: SNAPSHOT, DESTINATION: THIN}
_DELAY_SECONDS: Final = 3600
_SHUFFLE_SECONDS: Final = 60
_MARK: Final = "events_handed_out"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one endpoint."""

    number: int
    event: str
    endpoint: str
    tried: int


def hand_out(store: Store, now: datetime, faults: FaultRegistry) -> None:
    """Plan the deliveries of the events made since the last time; in a transaction of its own."""
    with store.transaction():
        rows = store.rows(
            "SELECT seq, kind, document FROM objects WHERE seq > ? AND kind IN (?, ?) ORDER BY seq",
            store.mark(_MARK), SNAPSHOT, THIN,
        )  # fmt: skip
        if not rows:
            return
        listeners = [
            (_KINDS[one["kind"]], one["seq"], json.loads(one["document"]))
            for one in store.rows("SELECT * FROM objects WHERE kind IN (?, ?) ORDER BY seq", *_KINDS)
        ]
        for row in rows:
            event = json.loads(row["document"])
            for kind, made, endpoint in listeners:
                # An endpoint gets nothing that happened before it was made.
                if kind == row["kind"] and made < row["seq"] and _wants(endpoint, event["type"]):
                    _plan(store, now, faults, kind, event, endpoint["id"])
        store.set_mark(_MARK, rows[-1]["seq"])


def _wants(endpoint: Document, kind: str) -> bool:
    listed = endpoint["enabled_events"]
    return endpoint["status"] == "enabled" and (kind in listed or "*" in listed)


def _plan(
    store: Store, now: datetime, faults: FaultRegistry, kind: str, event: Document, endpoint: str
) -> None:
    about = {"type": event["type"], "endpoint": endpoint, "object": object_of(event)}
    due = micros(now)
    if (delay := faults.take("webhook_delay", **about)) is not None:
        due += int(float(delay.parameters.get("seconds", _DELAY_SECONDS)) * SECOND)
    if (shuffle := faults.take("webhook_shuffle", **about)) is not None:
        dice = random.Random(f"{shuffle.seed}:{shuffle.injected}")
        due += int(dice.uniform(0, float(shuffle.parameters.get("seconds", _SHUFFLE_SECONDS))) * SECOND)
    lost = faults.take("webhook_loss", **about) is not None
    _add(store, event, endpoint, due, GIVEN_UP if lost else WAITING)
    if (again := faults.take("webhook_duplicate", **about)) is not None:
        if again.parameters.get("distinct"):  # Stripe sometimes makes two events of one change
            event = store.add(kind, {**event, "id": new_id(event["id"].rpartition("_")[0])})
        _add(store, event, endpoint, due, WAITING)


def _add(store: Store, event: Document, endpoint: str, due: int, state: str) -> None:
    store.execute(
        "INSERT INTO deliveries (event, type, object, endpoint, due_at, state) VALUES (?, ?, ?, ?, ?, ?)",
        event["id"], event["type"], object_of(event), endpoint, due, state,
    )  # fmt: skip


def object_of(event: Mapping[str, Any]) -> str | None:
    """The id of what an event is about."""
    if event["object"] == "event":
        snapshot: str | None = event["data"]["object"].get("id")
        return snapshot
    related: str | None = event.get("related_object", {}).get("id")
    return related


def next_due(store: Store) -> int | None:
    """When the next delivery is to be tried."""
    row = store.execute("SELECT MIN(due_at) AS due FROM deliveries WHERE state = ?", WAITING).fetchone()
    due: int | None = row["due"]
    return due


def all_due(store: Store, now: datetime) -> Sequence[Delivery]:
    """The deliveries to be tried by now, in the order of their time."""
    rows = store.rows(
        "SELECT seq, event, endpoint, tried FROM deliveries WHERE state = ? AND due_at <= ? "
        "ORDER BY due_at, seq",
        WAITING, micros(now),
    )  # fmt: skip
    return [Delivery(row["seq"], row["event"], row["endpoint"], row["tried"]) for row in rows]


def settle(store: Store, delivery: Delivery, now: datetime, *, taken: bool) -> None:
    """Note how a try ended: taken, to be tried again later, or given up."""
    state, due = (DONE if taken else GIVEN_UP), micros(now)
    if not taken and delivery.tried < len(RETRIED_AFTER):
        state, due = WAITING, micros(now + RETRIED_AFTER[delivery.tried])
    with store.transaction():
        store.execute(
            "UPDATE deliveries SET state = ?, due_at = ?, tried = tried + 1 WHERE seq = ?",
            state, due, delivery.number,
        )  # fmt: skip


def is_undelivered(store: Store, kind: str, object_id: str) -> bool:
    """Whether an event of a type about an object was planned for an endpoint that has not taken it."""
    sql = "SELECT 1 FROM deliveries WHERE object = ? AND type = ? AND state <> ? LIMIT 1"
    return store.execute(sql, object_id, kind, DONE).fetchone() is not None


def undelivered_events(store: Store) -> frozenset[str]:
    """The ids of events that some endpoint has not taken."""
    rows = store.rows("SELECT DISTINCT event FROM deliveries WHERE state <> ?", DONE)
    return frozenset(row["event"] for row in rows)
