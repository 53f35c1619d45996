"""A budget holds over all instances, up to the stated bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.budget import CHUNK_NANO_USD, Budget
from tallygate import spend
from tallygate.appdb import Database, DatabaseUnavailableError
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.records import COST_METER
from tallygate.spend import REQUESTS, spent_by_hour

DOLLAR = 1_000_000_000
HOUR = "2026-03-01T12"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    yield database
    database.close()


def _instances(count: int) -> list[Budget]:
    return [Budget("acme", f"instance-{number}", "2026-03") for number in range(count)]


def _reserve(budget: Budget, database: Database, cost: int, limit: int, now: float = 0.0) -> bool:
    verdict = budget.try_locally(cost, limit, now)
    return budget.ask(database, cost, limit, now)[0] if verdict is None else verdict


def _settle(budget: Budget, reserved: int, cost: int) -> None:
    budget.settle(reserved, Counter({REQUESTS: 1, COST_METER: cost}), HOUR)


def _total(database: Database, tenant_id: str = "acme") -> int:
    return spend.cost(spent_by_hour(database, tenant_id, "2026-03").values())


def test_of_four_large_requests_on_the_last_dollar_one_is_admitted(database: Database) -> None:
    instances = _instances(4)

    admitted = [_reserve(budget, database, 900_000_000, DOLLAR) for budget in instances]

    assert sum(admitted) == 1


def test_small_requests_ask_the_database_once_a_chunk(database: Database) -> None:
    (budget,) = _instances(1)
    cost = CHUNK_NANO_USD // 10

    assert budget.ask(database, cost, DOLLAR, 0.0) == (True, ())

    assert [budget.try_locally(cost, DOLLAR, 0.0) for _ in range(11)] == [True] * 10 + [None]


def test_what_was_not_used_can_be_spent_elsewhere(database: Database) -> None:
    one, other = _instances(2)
    assert _reserve(one, database, 900_000_000, DOLLAR)
    assert not _reserve(other, database, 900_000_000, DOLLAR)

    _settle(one, 900_000_000, 10_000_000)
    one.flush(database, DOLLAR, 0.0)

    assert _reserve(other, database, 900_000_000, DOLLAR, now=2.0)


def test_a_refusal_is_remembered_for_what_costs_as_much_or_more(database: Database) -> None:
    """Who hammers an exhausted budget must not cost a transaction a request."""
    (budget,) = _instances(1)
    assert budget.ask(database, 2 * DOLLAR, DOLLAR, 10.0) == (False, ())

    assert budget.try_locally(2 * DOLLAR, DOLLAR, 10.9) is False
    assert budget.try_locally(DOLLAR, DOLLAR, 10.9) is None
    assert budget.try_locally(2 * DOLLAR, DOLLAR, 11.1) is None


def test_of_a_small_budget_no_instance_holds_more_than_a_twentieth_unused(database: Database) -> None:
    limit = 20_000_000
    instances = _instances(4)

    assert all(_reserve(budget, database, 100_000, limit) for budget in instances)

    assert all(budget.left <= limit // 20 for budget in instances)
    assert _reserve(instances[0], database, 14_000_000, limit)


def test_a_flush_whose_outcome_is_unknown_can_be_repeated(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write reached the store, its answer did not reach the instance: nothing counts twice."""
    one, other = _instances(2)
    assert _reserve(one, database, 500_000_000, DOLLAR)
    _settle(one, 500_000_000, 400_000_000)
    transact = database.transact

    def committed_then_lost(body: Any) -> Any:
        transact(body)
        raise DatabaseUnavailableError("no answer")

    monkeypatch.setattr(database, "transact", committed_then_lost)
    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            one.flush(database, DOLLAR, 0.0)
    with pytest.raises(DatabaseUnavailableError):
        one.ask(database, 100_000_000, DOLLAR, 0.0)
    monkeypatch.undo()
    one.flush(database, DOLLAR, 0.0)

    assert _total(database) == 400_000_000
    assert not _reserve(other, database, 560_000_000, DOLLAR)
    assert _reserve(other, database, 550_000_000, DOLLAR)


def test_an_instance_that_ended_leaves_what_it_spent_and_holds_nothing(database: Database) -> None:
    one, other = _instances(2)
    assert _reserve(one, database, 10_000_000, DOLLAR)
    _settle(one, 10_000_000, 1_000_000)

    one.flush(database, DOLLAR, 0.0, final=True)

    assert database.get("spend", "acme:2026-03") == {
        "tenant_id": "acme",
        "month": "2026-03",
        "instances": {},
        "ended_spent": 1_000_000,
        "warned_percent": 0,
    }
    assert _reserve(other, database, DOLLAR - 1_000_000, DOLLAR)


def test_a_flush_tops_up_what_is_in_hand(database: Database) -> None:
    """At a steady rate the flush that is due anyway leases the next chunk: no second transaction."""
    (budget,) = _instances(1)
    cost = CHUNK_NANO_USD // 10
    asked = 0
    for second in range(20):
        for _ in range(10):
            if not budget.try_locally(cost, 100 * DOLLAR, float(second)):
                asked += 1
                assert budget.ask(database, cost, 100 * DOLLAR, float(second))[0]
            _settle(budget, cost, cost)
            if budget.must_flush(float(second)):
                budget.flush(database, 100 * DOLLAR, float(second))

    assert asked == 1


def test_a_killed_instance_does_not_widen_the_budget(database: Database) -> None:
    killed, other = _instances(2)
    assert _reserve(killed, database, 900_000_000, DOLLAR)
    del killed

    assert not _reserve(other, database, 200_000_000, DOLLAR)


def test_a_request_that_cost_more_than_reserved_is_counted(database: Database) -> None:
    (budget,) = _instances(1)
    assert _reserve(budget, database, 100_000_000, DOLLAR)

    _settle(budget, 100_000_000, 950_000_000)
    budget.flush(database, DOLLAR, 0.0)

    assert not _reserve(budget, database, 100_000_000, DOLLAR)


def test_flushing_twice_counts_once_and_sums_over_instances(database: Database) -> None:
    """The witness's document holds totals, so a flush can be repeated."""
    instances = _instances(3)
    for budget in instances:
        _reserve(budget, database, 1000, DOLLAR)
        _settle(budget, 1000, 700)
        budget.flush(database, DOLLAR, 0.0)
        budget.flush(database, DOLLAR, 0.0)

    assert spent_by_hour(database, "acme", "2026-03") == {HOUR: {REQUESTS: 3, COST_METER: 2100}}
    assert spent_by_hour(database, "other", "2026-03") == {}


def test_spend_without_a_budget_is_witnessed_too(database: Database) -> None:
    (budget,) = _instances(1)
    assert budget.try_locally(10**12, None, 0.0)

    _settle(budget, 10**12, 10**12)
    budget.flush(database, None, 0.0)

    assert _total(database) == 10**12


def test_flush_is_due_after_a_second_or_a_chunk() -> None:
    (budget,) = _instances(1)
    assert not budget.must_flush(now=100.0)

    _settle(budget, 0, 5)
    budget.flushed_at = 99.5

    assert not budget.must_flush(now=100.0)
    assert budget.must_flush(now=100.5)
    _settle(budget, 0, CHUNK_NANO_USD)
    assert budget.must_flush(now=100.0)


def test_each_warning_is_given_once_over_all_instances(database: Database) -> None:
    one, other = _instances(2)
    warnings: list[int] = []
    for budget in (one, other, one, other):
        _reserve(budget, database, 240_000_000, DOLLAR)
        _settle(budget, 240_000_000, 240_000_000)
        warnings += budget.flush(database, DOLLAR, 0.0)

    assert warnings == [80]
    _settle(one, 0, 100_000_000)
    assert one.flush(database, DOLLAR, 0.0) == (100,)


def test_what_is_only_reserved_warns_nobody(database: Database) -> None:
    (budget,) = _instances(1)
    assert _reserve(budget, database, 990_000_000, DOLLAR)

    _settle(budget, 990_000_000, 1)

    assert budget.flush(database, DOLLAR, 0.0) == ()


def test_the_first_refusal_of_a_used_up_budget_warns(database: Database) -> None:
    """The last cents may stay reserved elsewhere for long: who is refused is told that it is the end."""
    one, other = _instances(2)
    assert _reserve(one, database, DOLLAR, DOLLAR)

    assert other.ask(database, 1, DOLLAR, 0.0) == (False, (80, 100))
    assert other.ask(database, 1, DOLLAR, 9.0) == (False, ())


def test_a_large_request_that_does_not_fit_is_no_used_up_budget(database: Database) -> None:
    (budget,) = _instances(1)

    assert budget.ask(database, DOLLAR + 1, DOLLAR, 0.0) == (False, ())


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
            _settle(budget, cost, actual)
            budget.flush(database, limit, 0.0)
            total += actual

    assert total <= limit
    assert _total(database) == total
    database.close()
