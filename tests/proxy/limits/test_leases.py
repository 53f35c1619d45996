"""Limits hold over all instances, and an instance alone is not held back by the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.leases import SLOT_SECONDS, Leases, Limits, Refused
from tallygate.appdb import Database
from tallygate.appdb.sqlite import SQLiteDatabase

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
WIDE = Limits(rpm=10**6, tpm=10**9, max_parallel=10**6)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    yield database
    database.close()


def _instances(count: int) -> list[Leases]:
    return [Leases("acme", f"instance-{number}") for number in range(count)]


def _admit(leases: Leases, database: Database, limits: Limits, now: datetime, tokens: int = 10) -> bool:
    verdict = leases.try_locally(limits, tokens, now)
    if verdict is None:
        verdict = leases.ask(database, limits, tokens, now)
    return verdict is True


def _burst(
    leases: Leases, database: Database, limits: Limits, now: datetime, count: int, tokens: int = 10
) -> int:
    """How many of ``count`` requests, each ended before the next, are admitted."""
    admitted = 0
    for _ in range(count):
        if _admit(leases, database, limits, now, tokens):
            admitted += 1
            leases.done(tokens, tokens, now, now)
    return admitted


def test_four_instances_under_uneven_load_never_exceed_the_limit(database: Database) -> None:
    limits = Limits(rpm=400, tpm=10**9, max_parallel=10**6)
    instances = _instances(4)

    admitted = sum(
        _burst(leases, database, limits, NOON, count)
        for leases, count in zip(instances, (500, 100, 30, 3), strict=True)
    )

    assert 0.9 * limits.rpm <= admitted <= limits.rpm


def test_one_hot_instance_gets_what_idle_ones_leave(database: Database) -> None:
    limits = Limits(rpm=400, tpm=10**9, max_parallel=10**6)
    hot, *idle = _instances(4)
    for leases in idle:
        _burst(leases, database, limits, NOON, 1)

    admitted = _burst(hot, database, limits, NOON, 500)

    assert admitted >= 0.9 * limits.rpm


def test_a_limit_is_whole_again_in_the_next_minute(database: Database) -> None:
    limits = Limits(rpm=5, tpm=10**9, max_parallel=10)
    (leases,) = _instances(1)
    assert _burst(leases, database, limits, NOON, 9) == 5

    assert _burst(leases, database, limits, NOON + timedelta(minutes=1), 9) == 5


def test_tokens_that_a_request_did_not_use_are_there_for_the_next(database: Database) -> None:
    limits = Limits(rpm=10**6, tpm=1000, max_parallel=10)
    (leases,) = _instances(1)
    assert _admit(leases, database, limits, NOON, tokens=900)

    assert not _admit(leases, database, limits, NOON, tokens=900)
    leases.done(900, 50, NOON, NOON)

    assert _admit(leases, database, limits, NOON, tokens=900)


def test_a_request_larger_than_the_limit_says_so(database: Database) -> None:
    (leases,) = _instances(1)

    verdict = leases.try_locally(Limits(rpm=10, tpm=100, max_parallel=10), 101, NOON)

    assert isinstance(verdict, Refused)
    assert verdict.limit == "tokens"
    assert "101" in verdict.text


def test_parallel_requests_are_counted_over_instances(database: Database) -> None:
    limits = Limits(rpm=10**6, tpm=10**9, max_parallel=8)
    one, other = _instances(2)

    admitted = sum(_admit(leases, database, limits, NOON) for leases in (one, other) for _ in range(8))

    assert admitted == 8


def test_slots_of_a_killed_instance_come_back(database: Database) -> None:
    limits = Limits(rpm=10**6, tpm=10**9, max_parallel=4)
    killed, other = _instances(2)
    assert all(_admit(killed, database, limits, NOON) for _ in range(4))
    assert not _admit(other, database, limits, NOON)

    later = NOON + timedelta(seconds=SLOT_SECONDS + 1)

    assert _admit(other, database, limits, later)


def test_slots_in_use_are_renewed(database: Database) -> None:
    limits = Limits(rpm=10**6, tpm=10**9, max_parallel=2)
    long, other = _instances(2)
    assert all(_admit(long, database, limits, NOON) for _ in range(2))
    later = NOON + timedelta(seconds=SLOT_SECONDS - 2)
    assert long.must_renew(later)

    long.renew(database, limits, later)

    assert not _admit(other, database, limits, NOON + timedelta(seconds=SLOT_SECONDS + 5))


def test_a_limit_of_zero_refuses(database: Database) -> None:
    (leases,) = _instances(1)

    assert not _admit(leases, database, Limits(rpm=0, tpm=100, max_parallel=1), NOON)


def test_the_database_is_asked_once_a_chunk(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 10 requests a second, the price of limits is below a tenth of an operation per request."""
    asked = 0
    transact = database.transact

    def counting(body):  # type: ignore[no-untyped-def]
        nonlocal asked
        asked += 1
        return transact(body)

    monkeypatch.setattr(database, "transact", counting)
    limits = Limits(rpm=600, tpm=1_000_000, max_parallel=40)
    (leases,) = _instances(1)

    assert _burst(leases, database, limits, NOON, 600, tokens=300) == 600

    assert asked <= 60


@settings(max_examples=40, deadline=None)
@given(
    rpm=st.integers(0, 50),
    parallel=st.integers(0, 10),
    moves=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 2)), max_size=120),
)
def test_no_interleaving_exceeds_a_limit(
    rpm: int, parallel: int, moves: list[tuple[int, bool, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A move is (instance, whether a request starts or ends, seconds that pass)."""
    limits = Limits(rpm=rpm, tpm=10**9, max_parallel=parallel)
    database = SQLiteDatabase(tmp_path_factory.mktemp("limits") / "app.sqlite")
    instances, now, in_minute = _instances(4), NOON, 0
    for number, starts, seconds in moves:
        before, now = now, now + timedelta(seconds=seconds)
        in_minute = in_minute if before.minute == now.minute else 0
        leases = instances[number]
        for each in instances:
            if each.must_renew(now):
                each.renew(database, limits, now)
        if starts and _admit(leases, database, limits, now):
            in_minute += 1
        elif not starts and leases.in_flight:
            leases.done(10, 10, now, now)

        assert in_minute <= rpm
        assert sum(each.in_flight for each in instances) <= parallel
    database.close()
