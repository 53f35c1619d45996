"""Faults of the SQLite app database: armed in a file, felt by every process that has it open."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallygate.appdb import Database, DatabaseUnavailableError, faults, open_database

OPERATIONS = {
    "get": lambda database: database.get("tenants", "t1"),
    "create": lambda database: database.create("tenants", "t1", {}),
    "put": lambda database: database.put("tenants", "t1", {}),
    "delete": lambda database: database.delete("tenants", "t1"),
    "increment": lambda database: database.increment("tenants", "t1", {"spent": 1}),
    "query": lambda database: database.query("tenants"),
    "transact": lambda database: database.transact(lambda transaction: transaction.get("tenants", "t1")),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return faults.faults_path(tmp_path / "app.sqlite")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:{tmp_path / 'app.sqlite'}", project_id="sandbox")
    yield database
    database.close()


def fault(kind: str = "outage", **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "count": None, "rate": None, "seed": 0, "match": {}, **changes}


def hits(path: Path, draws: int, collection: str = "tenants") -> list[bool]:
    return [bool(faults.take(path, collection)) for _ in range(draws)]


def test_the_faults_lie_beside_the_database() -> None:
    assert faults.faults_path(Path("/a/app.sqlite")) == Path("/a/app.sqlite.faults")


def test_without_a_file_nothing_is_armed_and_none_is_made(path: Path) -> None:
    assert faults.armed(path) == []
    assert faults.take(path, "tenants") == []
    assert not path.exists()


def test_a_file_just_made_is_no_fault(path: Path) -> None:
    path.touch()
    assert faults.armed(path) == []
    assert faults.take(path, "tenants") == []


def test_a_count_hits_that_often_and_is_counted(path: Path) -> None:
    faults.arm(path, fault(count=2))
    assert hits(path, 4) == [True, True, False, False]
    assert [entry["injected"] for entry in faults.armed(path)] == [2]


def test_arming_starts_the_counts_anew(path: Path) -> None:
    faults.arm(path, fault(count=1, injected=1, draws=7))
    assert faults.armed(path) == [fault(count=1, injected=0, draws=0)]


def test_a_match_spares_other_collections_without_using_up_the_count(path: Path) -> None:
    faults.arm(path, fault(count=1, match={"collection": "spend"}))
    assert hits(path, 3) == [False, False, False]
    assert hits(path, 2, "spend") == [True, False]


def test_a_match_on_what_operations_do_not_have_hits_nothing(path: Path) -> None:
    faults.arm(path, fault(count=1, match={"tenant": "t1"}))
    assert hits(path, 3) == [False, False, False]


def test_a_rate_of_one_hits_always(path: Path) -> None:
    faults.arm(path, fault(rate=1))
    assert hits(path, 5) == [True] * 5


def test_a_rate_draws_the_same_for_the_same_seed_and_otherwise_for_another(tmp_path: Path) -> None:
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        faults.arm(tmp_path / name, fault(rate=0.3, seed=seed))
        drawn.append(hits(tmp_path / name, 100))
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(15 <= sum(hit) <= 45 for hit in drawn)


def test_a_rate_writes_down_every_draw_but_counts_only_hits(path: Path) -> None:
    faults.arm(path, fault(rate=0.5, seed=3))
    drawn = hits(path, 20)
    (entry,) = faults.armed(path)
    assert (entry["draws"], entry["injected"]) == (20, sum(drawn))


def test_draws_of_other_collections_leave_a_matching_rate_s_sequence_alone(tmp_path: Path) -> None:
    for name in ("plain", "mixed"):
        faults.arm(tmp_path / name, fault(rate=0.5, seed=5, match={"collection": "spend"}))
    plain = hits(tmp_path / "plain", 30, "spend")
    mixed = []
    for _ in range(30):
        assert hits(tmp_path / "mixed", 1, "tenants") == [False]
        mixed += hits(tmp_path / "mixed", 1, "spend")
    assert plain == mixed


def test_several_faults_hit_one_operation_in_the_order_of_arming(path: Path) -> None:
    faults.arm(path, fault("latency", count=1, seconds=0.2))
    faults.arm(path, fault("outage", count=1))
    assert [entry["kind"] for entry in faults.take(path, "tenants")] == ["latency", "outage"]
    assert faults.take(path, "tenants") == []


def test_a_shorter_list_leaves_no_rest_of_the_longer_one(path: Path) -> None:
    path.write_text(json.dumps([fault(count=1, draws=0, injected=0)]) + " " * 500)
    assert hits(path, 2) == [True, False]
    assert len(path.read_text()) < 200


def _take_often(path: Path, times: int, found: Any) -> None:
    found.put(sum(hits(path, times)))


def test_processes_together_inject_a_count_exactly(path: Path) -> None:
    faults.arm(path, fault(count=50))
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    takers = [context.Process(target=_take_often, args=(path, 40, found)) for _ in range(3)]
    for taker in takers:
        taker.start()
    taken = [found.get(timeout=60) for _ in takers]
    for taker in takers:
        taker.join(20)
        assert taker.exitcode == 0
        taker.close()
    found.close()
    found.join_thread()
    assert sum(taken) == 50
    assert [entry["injected"] for entry in faults.armed(path)] == [50]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_outage_reaches_every_operation_and_passes(path: Path, database: Database, operation: str) -> None:
    faults.arm(path, fault(count=1))
    with pytest.raises(DatabaseUnavailableError, match="injected"):
        OPERATIONS[operation](database)
    OPERATIONS[operation](database)
    assert [entry["injected"] for entry in faults.armed(path)] == [1]


def test_an_operation_that_an_outage_hit_wrote_nothing(path: Path, database: Database) -> None:
    faults.arm(path, fault(count=1))
    with pytest.raises(DatabaseUnavailableError):
        database.put("tenants", "t1", {"plan": "free"})
    assert database.get("tenants", "t1") is None


@pytest.mark.parametrize(
    ("parameters", "least"), [({}, faults.DEFAULT_LATENCY_SECONDS), ({"seconds": 0.3}, 0.3)]
)
def test_a_latency_delays_and_then_answers(
    path: Path, database: Database, parameters: dict[str, float], least: float
) -> None:
    database.put("tenants", "t1", {"plan": "free"})
    faults.arm(path, fault("latency", count=1, **parameters))
    begun = time.monotonic()
    assert database.get("tenants", "t1") == {"plan": "free"}
    assert time.monotonic() - begun >= least
