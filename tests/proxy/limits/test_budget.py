"""A budget holds over all instances, up to the stated bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.budget import CHUNK_NANO_USD, Budget, spent
from tallygate.appdb import Database
from tallygate.appdb.sqlite import SQLiteDatabase

DOLLAR = 1_000_000_000
HOUR = "2026-03-01T12"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    yield database
    database.close()


def _instances(count: int) -> list[Budget]:
    return [Budget("acme", f"instance-{number}", "2026-03") for number in range(count)]


def _reserve(budget: Budget, database: Database, cost: int, limit: int) -> bool:
    return budget.try_locally(cost, limit) or budget.ask(database, cost, limit)


def test_of_four_large_requests_on_the_last_dollar_one_is_admitted(database: Database) -> None:
    instances = _instances(4)

    admitted = [_reserve(budget, database, 900_000_000, DOLLAR) for budget in instances]

    assert sum(admitted) == 1


def test_small_requests_ask_the_database_once_a_chunk(database: Database) -> None:
    (budget,) = _instances(1)
    cost = CHUNK_NANO_USD // 10

    assert budget.ask(database, cost, DOLLAR)

    assert [budget.try_locally(cost, DOLLAR) for _ in range(10)] == [True] * 9 + [False]


def test_what_was_not_used_can_be_spent_elsewhere(database: Database) -> None:
    one, other = _instances(2)
    assert _reserve(one, database, 900_000_000, DOLLAR)
    assert not _reserve(other, database, 900_000_000, DOLLAR)

    one.settle(900_000_000, 10_000_000, HOUR)
    one.flush(database, DOLLAR, 0.0)

    assert _reserve(other, database, 900_000_000, DOLLAR)


def test_a_killed_instance_does_not_widen_the_budget(database: Database) -> None:
    killed, other = _instances(2)
    assert _reserve(killed, database, 900_000_000, DOLLAR)
    del killed

    assert not _reserve(other, database, 200_000_000, DOLLAR)


def test_a_request_that_cost_more_than_reserved_is_counted(database: Database) -> None:
    (budget,) = _instances(1)
    assert _reserve(budget, database, 100_000_000, DOLLAR)

    budget.settle(100_000_000, 950_000_000, HOUR)
    budget.flush(database, DOLLAR, 0.0)

    assert not _reserve(budget, database, 100_000_000, DOLLAR)


def test_flushing_twice_counts_once_and_sums_over_instances(database: Database) -> None:
    """The witness's document holds totals, so a flush can be repeated."""
    instances = _instances(3)
    for budget in instances:
        _reserve(budget, database, 1000, DOLLAR)
        budget.settle(1000, 700, HOUR)
        budget.flush(database, DOLLAR, 0.0)
        budget.flush(database, DOLLAR, 0.0)

    assert spent(database, "acme", "2026-03") == {HOUR: 2100}
    assert spent(database, "other", "2026-03") == {}


def test_spend_without_a_budget_is_witnessed_too(database: Database) -> None:
    (budget,) = _instances(1)
    assert budget.try_locally(10**12, None)

    budget.settle(10**12, 10**12, HOUR)
    budget.flush(database, None, 0.0)

    assert spent(database, "acme", "2026-03") == {HOUR: 10**12}


def test_flush_is_due_after_a_second_or_a_chunk() -> None:
    (budget,) = _instances(1)
    assert not budget.must_flush(now=100.0)

    budget.settle(0, 5, HOUR)
    budget.flushed_at = 99.5

    assert not budget.must_flush(now=100.0)
    assert budget.must_flush(now=100.5)
    budget.settle(0, CHUNK_NANO_USD, HOUR)
    assert budget.must_flush(now=100.0)


def test_each_warning_is_given_once_over_all_instances(database: Database) -> None:
    one, other = _instances(2)
    warnings: list[int] = []
    for budget in (one, other, one, other):
        _reserve(budget, database, 240_000_000, DOLLAR)
        budget.settle(240_000_000, 240_000_000, HOUR)
        warnings += budget.flush(database, DOLLAR, 0.0)

    assert warnings == [80]
    one.settle(0, 100_000_000, HOUR)
    assert one.flush(database, DOLLAR, 0.0) == (100,)


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(0, 3 * DOLLAR),
    moves=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**9), st.integers(0, 100)), max_size=60),
)
def test_spend_never_exceeds_the_budget_when_requests_cost_at_most_what_they_reserved(
    limit: int, moves: list[tuple[int, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A move is (instance, reservation, percent of it really spent)."""
    database = SQLiteDatabase(tmp_path_factory.mktemp("budget") / "app.sqlite")
    instances, total = _instances(4), 0
    for number, cost, percent in moves:
        budget = instances[number]
        if _reserve(budget, database, cost, limit):
            actual = cost * percent // 100
            budget.settle(cost, actual, HOUR)
            budget.flush(database, limit, 0.0)
            total += actual

    assert total <= limit
    assert spent(database, "acme", "2026-03").total() == total
    database.close()
