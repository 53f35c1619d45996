"""INSERT, UPDATE and DELETE: what they change and what they say they changed."""

# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import pytest
from google.api_core import exceptions

from tests.sandbox.bigquery.facade import Facade, column, scalar


@pytest.fixture
def filled(facade: Facade) -> Facade:
    facade.table("t", "n INT64", "s STRING")
    facade.add("t", *({"n": n, "s": "old"} for n in range(5)))
    return facade


def numbers(facade: Facade) -> list[int]:
    return column(facade.query("SELECT n FROM `{d}.t` AS t ORDER BY n"), "n")


@pytest.mark.parametrize(
    ("sql", "kind", "affected", "counted"),
    [
        ("INSERT INTO `{d}.t` (n, s) VALUES (7, 'new'), (8, 'new')", "INSERT", 2, "inserted_row_count"),
        ("INSERT INTO `{d}.t` (n, s) SELECT n + 10, s FROM `{d}.t` AS u", "INSERT", 5, "inserted_row_count"),
        ("UPDATE `{d}.t` AS t SET s = 'new' WHERE t.n >= 3", "UPDATE", 2, "updated_row_count"),
        ("UPDATE `{d}.t` AS t SET s = 'new' WHERE FALSE", "UPDATE", 0, "updated_row_count"),
        ("DELETE FROM `{d}.t` AS t WHERE t.n < 3", "DELETE", 3, "deleted_row_count"),
        ("DELETE FROM `{d}.t` AS t WHERE TRUE", "DELETE", 5, "deleted_row_count"),
    ],
)
def test_dml_says_what_it_changed(filled: Facade, sql: str, kind: str, affected: int, counted: str) -> None:
    job = filled.start(sql)
    rows = list(job.result())

    assert rows == []
    assert (job.statement_type, job.num_dml_affected_rows) == (kind, affected)
    assert job.dml_stats is not None
    assert getattr(job.dml_stats, counted) == affected
    again = filled.client.get_job(job.job_id)
    assert (again.statement_type, again.num_dml_affected_rows) == (kind, affected)


def test_a_query_has_a_statement_type_and_no_affected_rows(filled: Facade) -> None:
    job = filled.start("SELECT n FROM `{d}.t` AS t")
    job.result()
    assert (job.statement_type, job.num_dml_affected_rows) == ("SELECT", None)


def test_query_and_wait_runs_dml_and_says_what_it_changed(filled: Facade) -> None:
    rows = filled.client.query_and_wait(f"DELETE FROM `{filled.dataset}.t` AS t WHERE t.n = 1")
    assert rows.num_dml_affected_rows == 1
    assert numbers(filled) == [0, 2, 3, 4]


def test_an_insert_that_looks_first_inserts_once(filled: Facade) -> None:
    """The shape of the seal: only where the head is what the caller saw."""
    sql = (
        "INSERT INTO `{d}.t` (n, s) SELECT @n, 'sealed' FROM (SELECT MAX(n) AS head FROM `{d}.t` AS u) AS h "
        "WHERE h.head = @n - 1"
    )
    assert filled.change(sql, scalar("n", "INT64", 5)) == 1
    assert filled.change(sql, scalar("n", "INT64", 5)) == 0
    assert numbers(filled) == [0, 1, 2, 3, 4, 5]


def test_a_statement_that_fails_halfway_changes_nothing(filled: Facade) -> None:
    with pytest.raises(exceptions.BadRequest):
        filled.change("INSERT INTO `{d}.t` (n, s) SELECT DIV(10, 4 - n), s FROM `{d}.t` AS u")
    assert numbers(filled) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("sql", ["DELETE FROM `{d}.t` AS t", "UPDATE `{d}.t` AS t SET s = 'new'"])
def test_update_and_delete_need_a_where_clause(filled: Facade, sql: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="WHERE"):
        filled.change(sql)
    assert numbers(filled) == [0, 1, 2, 3, 4]


def test_a_required_column_cannot_be_left_out(facade: Facade) -> None:
    facade.table("t", "n INT64 REQUIRED", "s STRING")
    with pytest.raises(exceptions.BadRequest) as error:
        facade.change("INSERT INTO `{d}.t` (s) VALUES ('a')")
    assert error.value.errors[0]["reason"] == "invalidQuery"


def test_a_streamed_row_is_seen_by_the_next_statement(filled: Facade) -> None:
    filled.add("t", {"n": 9, "s": "streamed"})
    assert filled.change("UPDATE `{d}.t` AS t SET s = 'new' WHERE t.n = 9") == 1
