"""Leases: one holder at a time, until it gives back or runs out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tallygate.appdb import Database
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock
from tallygate.leases import Lease


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    yield database
    database.close()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 3, 1, tzinfo=UTC))


def lease(database: Database, clock: FixedClock, holder: str, name: str = "job") -> Lease:
    return Lease(database, clock, name, holder, timedelta(minutes=5))


def test_one_holder_at_a_time(database: Database, clock: FixedClock) -> None:
    first, second = lease(database, clock, "a"), lease(database, clock, "b")

    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()


def test_a_holder_extends_its_own(database: Database, clock: FixedClock) -> None:
    first, second = lease(database, clock, "a"), lease(database, clock, "b")
    assert first.acquire()
    clock.advance(minutes=4)
    assert first.acquire()
    clock.advance(minutes=4)

    assert not second.acquire()


def test_a_lease_that_ran_out_is_taken_and_its_old_holder_can_t_give_it_back(
    database: Database, clock: FixedClock
) -> None:
    first, second = lease(database, clock, "a"), lease(database, clock, "b")
    assert first.acquire()
    clock.advance(minutes=5)
    assert second.acquire()

    first.release()

    assert not first.acquire()
    assert not lease(database, clock, "c").acquire()


def test_leases_of_other_names_are_free(database: Database, clock: FixedClock) -> None:
    assert lease(database, clock, "a").acquire()
    assert lease(database, clock, "b", "another").acquire()


def test_releasing_what_nobody_holds_changes_nothing(database: Database, clock: FixedClock) -> None:
    lease(database, clock, "a").release()

    assert database.query("leases") == []


def test_of_many_at_once_one_acquires(database: Database, clock: FixedClock) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: lease(database, clock, f"h{n}").acquire(), range(8)))

    assert sum(won) == 1
