"""The sync works on several customers at the same time, and on each of them once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import AccountError
from tallygate.subscriptions.events import read_event
from tallygate.subscriptions.inbox import InboxRow
from tallygate.subscriptions.sync import Run, Sync, synchronise
from tests.support.stripe_events import snapshot

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass
class Desk:
    """Carries rows out, and says who was worked on at the same time."""

    database: SQLiteDatabase
    meets: threading.Barrier
    fails: bool = False
    order: list[str] = field(default_factory=list)
    working: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, row: InboxRow) -> None:
        """One row; passes the barrier only beside another customer's."""
        name = row.customer or ""
        with self.lock:
            self.order.append(row.event_id)
            self.working[name] += 1
            self.most[name] = max(self.most[name], self.working[name])
        self.meets.wait()
        with self.lock:
            self.working[name] -= 1
        if self.fails:
            raise AccountError("no answer")
        inbox.settle(self.database, [row.event_id], NOW)

    def try_again(self, row: InboxRow, error: Exception) -> None:
        """Later."""
        inbox.retry_later(self.database, row, type(error).__name__, NOW)


def run_of(desk: Desk, at_once: int) -> Run:
    anything: Any = None
    with ThreadPoolExecutor(at_once) as pool:
        handler: Any = desk
        sync = Sync(
            desk.database, FixedClock(NOW), lambda: (anything, handler), lambda: 0, pool=pool, at_once=at_once
        )
        return synchronise(sync, "recent")


@pytest.fixture
def database(tmp_path: Path) -> SQLiteDatabase:
    return SQLiteDatabase(tmp_path / "app.sqlite")


def store(database: SQLiteDatabase, event_id: str, customer: str, kind: str = "updated") -> None:
    body = snapshot(event_id, kind=f"customer.subscription.{kind}", about={"customer": customer})
    inbox.store(database, read_event(body), NOW, "webhook")


def test_customers_are_followed_at_the_same_time_and_each_by_one_thread(database: SQLiteDatabase) -> None:
    for number in range(4):
        for customer in ("cus_a", "cus_b"):
            store(database, f"evt_{customer}_{number}", customer)
    desk = Desk(database, threading.Barrier(2, timeout=30))

    run = run_of(desk, 4)

    assert (run.applied, run.failed, run.backlog) == (8, 0, 0)
    assert desk.most == {"cus_a": 1, "cus_b": 1}


def test_a_run_gives_up_when_stripe_answers_nobody(database: SQLiteDatabase) -> None:
    for number in range(40):
        store(database, f"evt_{number}", f"cus_{number}")
    desk = Desk(database, threading.Barrier(1), fails=True)

    run = run_of(desk, 4)

    assert run.applied == 0
    assert 3 <= run.failed <= 3 + 4
    assert run.backlog == 40
