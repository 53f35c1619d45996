"""What every app database does: one suite, run on SQLite and on Google's emulator of Firestore."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallygate.appdb import (
    Condition,
    Database,
    DatabaseUnavailableError,
    ReadAfterWriteError,
    Transaction,
    firestore,
    open_database,
)

names = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=40)
values = st.recursive(
    scalars | st.lists(scalars, max_size=4),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(names, values, max_size=5)


@pytest.fixture(params=["sqlite", "firestore"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        setting = f"sqlite:{tmp_path / 'app.sqlite'}"
    else:
        request.getfixturevalue("emulated_firestore")
        setting = "firestore:(default)"
    database = open_database(setting, project_id=f"test-{uuid.uuid4().hex[:12]}")
    yield database
    database.close()


def ids(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [document_id for document_id, _ in rows]


def test_a_missing_document_is_none(database: Database) -> None:
    assert database.get("tenants", "nobody") is None


@settings(max_examples=40)
@given(document=documents)
def test_a_document_comes_back_as_it_was_written(database: Database, document: dict[str, Any]) -> None:
    database.put("tenants", "acme", document)

    assert database.get("tenants", "acme") == document


def test_a_put_replaces_the_whole_document(database: Database) -> None:
    database.put("tenants", "acme", {"plan": "team", "rpm": 5})
    database.put("tenants", "acme", {"plan": "scale"})

    assert database.get("tenants", "acme") == {"plan": "scale"}


def test_collections_are_apart(database: Database) -> None:
    database.put("tenants", "acme", {"plan": "team"})

    assert database.get("spend", "acme") is None
    assert database.query("spend") == []


def test_create_writes_once(database: Database) -> None:
    assert database.create("inbox", "evt_1", {"n": 1}) is True
    assert database.create("inbox", "evt_1", {"n": 2}) is False

    assert database.get("inbox", "evt_1") == {"n": 1}


def test_of_many_creators_one_wins(database: Database) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        if database.create("inbox", "evt_1", {"n": number}):
            won.append(number)

    _all_at_once(create, 6)

    assert len(won) == 1
    assert database.get("inbox", "evt_1") == {"n": won[0]}


def test_delete_removes_and_does_not_mind_a_missing_document(database: Database) -> None:
    database.put("leases", "job", {"holder": "a"})
    database.delete("leases", "job")
    database.delete("leases", "job")

    assert database.get("leases", "job") is None


def test_increment_adds_to_integers_and_starts_at_zero(database: Database) -> None:
    database.increment("spend", "acme", {"spent": 5})
    database.increment("spend", "acme", {"spent": -7, "requests": 1})

    assert database.get("spend", "acme") == {"spent": -2, "requests": 1}


def test_increment_leaves_other_fields(database: Database) -> None:
    database.put("spend", "acme", {"month": "2026-03", "spent": 2**53})
    database.increment("spend", "acme", {"spent": 1})

    assert database.get("spend", "acme") == {"month": "2026-03", "spent": 2**53 + 1}


def test_increments_at_once_all_count(database: Database) -> None:
    _all_at_once(lambda _: database.increment("spend", "acme", {"spent": 3}), 6)

    assert database.get("spend", "acme") == {"spent": 18}


def test_a_query_without_conditions_gives_all_by_id(database: Database) -> None:
    for name in ("b", "a", "é", "Z"):
        database.put("tenants", name, {"name": name})

    assert database.query("tenants") == [(name, {"name": name}) for name in ("Z", "a", "b", "é")]


def test_all_conditions_must_hold(database: Database) -> None:
    database.put("inbox", "1", {"status": "new", "customer": "c1"})
    database.put("inbox", "2", {"status": "done", "customer": "c1"})
    database.put("inbox", "3", {"status": "new", "customer": "c2"})

    rows = database.query("inbox", [Condition("status", "==", "new"), Condition("customer", "==", "c1")])

    assert ids(rows) == ["1"]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [("<", ["1"]), ("<=", ["1", "2"]), (">", ["3"]), (">=", ["2", "3"]), ("==", ["2"])],
)
def test_ranges(database: Database, operator: Any, expected: list[str]) -> None:
    for number in (3, 1, 2):
        database.put("watermarks", str(number), {"at": f"2026-03-0{number}T00:00:00.000000Z"})

    rows = database.query("watermarks", [Condition("at", operator, "2026-03-02T00:00:00.000000Z")])

    assert ids(rows) == expected


def test_a_range_orders_by_its_field_before_the_limit_cuts(database: Database) -> None:
    for name, at in (("a", 3), ("b", 1), ("c", 2)):
        database.put("inbox", name, {"at": at})

    rows = database.query("inbox", [Condition("at", ">", 0)], limit=2)

    assert ids(rows) == ["b", "c"]


def test_an_order_sorts_then_cuts_and_leaves_out_documents_without_the_field(database: Database) -> None:
    for name, content in (
        ("a", {"at": 3}),
        ("b", {"at": 1}),
        ("c", {}),
        ("d", {"at": 1}),
        ("e", {"at": None}),
    ):
        database.put("inbox", name, content)

    assert ids(database.query("inbox", order_by="at")) == ["e", "b", "d", "a"]
    assert ids(database.query("inbox", order_by="at", limit=3)) == ["e", "b", "d"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition("v", "==", True), ["bool"]),
        (Condition("v", "==", 1), ["int"]),
        (Condition("v", "==", "1"), ["text"]),
        (Condition("v", ">=", 0), ["int"]),
        (Condition("v", ">=", ""), ["text"]),
    ],
)
def test_a_value_of_another_kind_never_matches(
    database: Database, condition: Condition, expected: list[str]
) -> None:
    for name, value in (("bool", True), ("int", 1), ("text", "1"), ("null", None)):
        database.put("inbox", name, {"v": value})
    database.put("inbox", "missing", {})

    assert ids(database.query("inbox", [condition])) == expected


def test_a_transaction_reads_then_writes_several_documents(database: Database) -> None:
    database.put("leases", "from", {"n": 5})
    database.put("leases", "old", {})

    def move(transaction: Transaction) -> int:
        taken = transaction.get("leases", "from")
        assert taken is not None
        assert transaction.get("leases", "to") is None
        transaction.put("leases", "from", {"n": taken["n"] - 2})
        transaction.put("leases", "to", {"n": 2})
        transaction.delete("leases", "old")
        return int(taken["n"])

    assert database.transact(move) == 5
    assert database.query("leases") == [("from", {"n": 3}), ("to", {"n": 2})]


def test_what_a_transaction_raises_undoes_it(database: Database) -> None:
    def fail(transaction: Transaction) -> None:
        transaction.put("leases", "a", {"n": 1})
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        database.transact(fail)

    assert database.get("leases", "a") is None


def test_a_transaction_that_reads_after_writing_is_refused(database: Database) -> None:
    def wrong(transaction: Transaction) -> None:
        transaction.put("leases", "a", {"n": 1})
        transaction.get("leases", "b")

    with pytest.raises(ReadAfterWriteError):
        database.transact(wrong)

    assert database.get("leases", "a") is None


def test_transactions_at_once_lose_no_update(database: Database) -> None:
    """Who can't get through is told so; what got through counts once."""
    done: list[int] = []

    def add(transaction: Transaction) -> None:
        document = transaction.get("spend", "acme") or {"n": 0}
        transaction.put("spend", "acme", {"n": document["n"] + 1})

    def often(number: int) -> None:
        for _ in range(2):
            try:
                database.transact(add)
            except DatabaseUnavailableError:
                continue
            done.append(number)

    _all_at_once(often, 3)

    assert done
    assert database.get("spend", "acme") == {"n": len(done)}


def test_two_connections_see_each_other(
    database: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if "sqlite" not in request.node.name:
        pytest.skip("one emulator, one store: nothing to open twice")
    database.put("tenants", "acme", {"plan": "team"})
    other = open_database(f"sqlite:{tmp_path / 'app.sqlite'}", project_id="test")

    assert other.get("tenants", "acme") == {"plan": "team"}

    other.close()


@pytest.mark.parametrize("setting", ["", "sqlite", "sqlite:", "firestore:", "postgres:x"])
def test_another_setting_is_refused_with_what_to_write(setting: str) -> None:
    with pytest.raises(ValueError, match="must be 'firestore:<database>' or 'sqlite:<path>'"):
        open_database(setting, project_id="test")


OPERATIONS: Final[dict[str, Callable[[Database], Any]]] = {
    "get": lambda database: database.get("tenants", "acme"),
    "create": lambda database: database.create("tenants", "acme", {}),
    "query": lambda database: database.query("tenants"),
    "transact": lambda database: database.transact(lambda transaction: transaction.get("tenants", "acme")),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_firestore_that_does_not_answer_is_unavailable_in_time(
    monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Nobody listens there. The client would retry for minutes, and a transaction fails with a ValueError."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setattr(firestore, "_RETRY", firestore._RETRY.with_timeout(0.5))
    database = open_database("firestore:(default)", project_id="test")
    begun = time.monotonic()

    with pytest.raises(DatabaseUnavailableError):
        OPERATIONS[operation](database)

    assert time.monotonic() - begun < 20
    database.close()


def test_a_firestore_operation_takes_seconds_at_most() -> None:
    assert firestore._RETRY.timeout <= 5


def _all_at_once(work: Any, threads: int) -> None:
    """Run ``work(number)`` in that many threads, begun together; what one raises fails the test."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(run, number) for number in range(threads)]:
            future.result()
