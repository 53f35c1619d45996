"""A table may require that queries name a range of its partitions."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.sandbox.bigquery.facade import Facade, column


@pytest.fixture
def guarded(facade: Facade) -> Facade:
    facade.table(
        "t", "at TIMESTAMP", "flat INT64", "who STRING",
        time_partitioning=bigquery.TimePartitioning(field="at"), require_partition_filter=True,
    )  # fmt: skip
    facade.table("other", "who STRING", "at TIMESTAMP")
    facade.add("t", *({"at": f"2026-02-0{d}T00:00:00Z", "flat": d, "who": "a"} for d in range(1, 6)))
    facade.add("other", {"who": "a", "at": "2026-02-03T00:00:00Z"})
    facade.view("v", "SELECT at, flat, who FROM `{d}.t` AS t WHERE t.who = 'a'")
    facade.view(
        "latest",
        "SELECT at, flat FROM `{d}.t` AS t QUALIFY ROW_NUMBER() OVER (PARTITION BY who ORDER BY at) = 1",
    )
    return facade


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT flat FROM `{d}.t` AS t",
        "SELECT COUNT(*) AS flat FROM `{d}.t` AS t",
        "SELECT flat FROM `{d}.t` AS t WHERE flat = 3",
        "SELECT flat FROM `{d}.t` AS t WHERE who = 'at'",
        "SELECT flat FROM `{d}.v` AS v",
        "SELECT flat FROM `{d}.latest` AS l WHERE at >= TIMESTAMP '2026-02-03 00:00:00+00'",
        "SELECT t.flat FROM `{d}.t` AS t JOIN `{d}.other` AS o ON o.who = t.who "
        "WHERE o.at >= TIMESTAMP '2026-02-03 00:00:00+00'",
        "SELECT flat FROM `{d}.t` AS t WHERE at >= TIMESTAMP '2026-02-03 00:00:00+00' OR flat = 1",
        "INSERT INTO `{d}.other` (who, at) SELECT who, at FROM `{d}.t` AS t",
        "DELETE FROM `{d}.t` AS t WHERE t.flat = 1",
        "UPDATE `{d}.t` AS t SET who = 'b' WHERE t.flat = 1",
    ],
)
def test_a_statement_without_a_filter_on_the_partition_is_refused(guarded: Facade, sql: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="partition elimination") as error:
        guarded.query(sql)
    assert error.value.errors[0]["reason"] == "invalidQuery"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT flat FROM `{d}.t` AS t WHERE at >= TIMESTAMP '2026-02-03 00:00:00+00'",
        "SELECT flat FROM `{d}.t` AS t WHERE t.at >= TIMESTAMP '2026-02-03 00:00:00+00' AND t.who = 'a'",
        "SELECT flat FROM `{d}.t` AS t WHERE at BETWEEN TIMESTAMP '2026-02-03 00:00:00+00' "
        "AND TIMESTAMP '2026-03-01 00:00:00+00'",
        "SELECT flat FROM `{d}.v` AS v WHERE v.at >= TIMESTAMP '2026-02-03 00:00:00+00'",
        "SELECT flat FROM (SELECT at, flat FROM `{d}.t` AS t) AS s "
        "WHERE at >= TIMESTAMP '2026-02-03 00:00:00+00'",
        "SELECT t.flat FROM `{d}.t` AS t JOIN `{d}.other` AS o ON o.who = t.who "
        "WHERE t.at >= TIMESTAMP '2026-02-03 00:00:00+00'",
    ],
)
def test_a_filter_on_the_partition_lets_it_pass(guarded: Facade, sql: str) -> None:
    assert sorted(column(guarded.query(sql), "flat")) == [3, 4, 5]


def test_a_filter_that_every_row_passes_is_still_one(guarded: Facade) -> None:
    found = guarded.query("SELECT flat FROM `{d}.t` AS t WHERE at >= TIMESTAMP '2000-01-01 00:00:00+00'")
    assert len(found) == 5


def test_a_parameter_filters_too(guarded: Facade) -> None:
    since = bigquery.ScalarQueryParameter("since", "TIMESTAMP", "2026-02-04 00:00:00+00:00")
    found = guarded.query("SELECT flat FROM `{d}.t` AS t WHERE at >= @since", since)
    assert sorted(column(found, "flat")) == [4, 5]


def test_an_empty_table_requires_it_as_well(facade: Facade) -> None:
    facade.table(
        "t", "at TIMESTAMP", "flat INT64",
        time_partitioning=bigquery.TimePartitioning(field="at"), require_partition_filter=True,
    )  # fmt: skip
    with pytest.raises(exceptions.BadRequest, match="partition elimination"):
        facade.query("SELECT flat FROM `{d}.t` AS t")
    assert facade.query("SELECT flat FROM `{d}.t` AS t WHERE at >= TIMESTAMP '2026-01-01 00:00:00+00'") == []


def test_an_insert_of_values_needs_no_filter(guarded: Facade) -> None:
    sql = "INSERT INTO `{d}.t` (at, flat, who) VALUES (TIMESTAMP '2026-02-09 00:00:00+00', 9, 'b')"
    assert guarded.change(sql) == 1


def test_a_table_is_partitioned_by_a_time_column_only(facade: Facade) -> None:
    for field in ("who", "nothing"):
        with pytest.raises(exceptions.BadRequest):
            facade.table("t", "who STRING", time_partitioning=bigquery.TimePartitioning(field=field))
