"""Views: their columns, their text, and what they read."""

# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import pytest
from google.api_core import exceptions

from tests.sandbox.bigquery.facade import Facade, schema


def test_a_view_has_columns_and_gives_rows(facade: Facade) -> None:
    facade.table("t", "who STRING", "n INT64", "at TIMESTAMP", "d NUMERIC", "part STRING REPEATED")
    facade.add("t", {"who": "a", "n": 2, "d": "1.5"}, {"who": "a", "n": 3, "d": "0.25"})

    view = facade.view(
        "v",
        "SELECT t.who, SUM(t.n) AS n, MAX(t.at) AS at, SUM(t.d) AS d, COUNT(*) AS c FROM `{d}.t` AS t "
        "GROUP BY t.who",
    )

    assert view.table_type == "VIEW"
    assert [(field.name, field.field_type) for field in view.schema] == [
        ("who", "STRING"), ("n", "INTEGER"), ("at", "TIMESTAMP"), ("d", "NUMERIC"), ("c", "INTEGER"),
    ]  # fmt: skip
    (row,) = facade.query("SELECT * FROM `{d}.v` AS v")
    assert (row["who"], row["n"], str(row["d"]), row["c"]) == ("a", 5, "1.75", 2)


def test_a_view_follows_its_tables_new_columns(facade: Facade) -> None:
    """BigQuery reads a view's statement anew: a star shows the columns that came later."""
    table = facade.table("t", "n INT64")
    facade.view("v", "SELECT * FROM `{d}.t` AS t")
    facade.view("w", "SELECT v.n FROM `{d}.v` AS v")

    table.schema = schema("n INT64", "m STRING")
    facade.client.update_table(table, ["schema"])
    facade.add("t", {"n": 1, "m": "a"})

    assert facade.query("SELECT * FROM `{d}.v` AS v") == [{"n": 1, "m": "a"}]
    assert facade.query("SELECT * FROM `{d}.w` AS w") == [{"n": 1}]


def test_a_views_statement_changes_and_views_above_follow(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.add("t", {"n": 1})
    view = facade.view("v", "SELECT n FROM `{d}.t` AS t")
    facade.view("w", "SELECT v.n FROM `{d}.v` AS v")

    view.view_query = f"SELECT n + 41 AS n FROM `{facade.dataset}.t` AS t"
    facade.client.update_table(view, ["view_query"])

    assert facade.client.get_table(facade.path("v")).view_query == view.view_query
    assert facade.query("SELECT * FROM `{d}.w` AS w") == [{"n": 42}]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT m FROM `{d}.t` AS t", exceptions.BadRequest),
        ("SELECT FROM WHERE", exceptions.BadRequest),
        ("SELECT n FROM `{d}.nothing` AS t", exceptions.NotFound),
        ("SELECT n FROM `{d}.t` AS t WHERE n = @p", exceptions.BadRequest),
        ("DELETE FROM `{d}.t` AS t WHERE TRUE", exceptions.BadRequest),
        ("SELECT n, n FROM `{d}.t` AS t", exceptions.BadRequest),
    ],
    ids=["column", "syntax", "table", "parameter", "dml", "twice"],
)
def test_a_view_that_cannot_be_read_is_refused(
    facade: Facade, query: str, error: type[exceptions.GoogleAPICallError]
) -> None:
    facade.table("t", "n INT64")
    with pytest.raises(error):
        facade.view("v", query)
    with pytest.raises(exceptions.NotFound):
        facade.client.get_table(facade.path("v"))


def test_a_change_that_breaks_a_view_leaves_it_as_it_was(facade: Facade) -> None:
    facade.table("t", "n INT64")
    view = facade.view("v", "SELECT n FROM `{d}.t` AS t")

    view.view_query = "SELECT nothing FROM nowhere"
    with pytest.raises(exceptions.BadRequest):
        facade.client.update_table(view, ["view_query"])

    assert facade.query("SELECT * FROM `{d}.v` AS v") == []


def test_a_view_over_a_deleted_table_stays_and_fails(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.view("v", "SELECT n FROM `{d}.t` AS t")

    facade.client.delete_table(facade.path("t"))

    assert facade.client.get_table(facade.path("v")).table_type == "VIEW"
    with pytest.raises(exceptions.NotFound):
        facade.query("SELECT * FROM `{d}.v` AS v")
    facade.table("t", "n INT64")
    assert facade.query("SELECT * FROM `{d}.v` AS v") == []


def test_a_view_is_not_written(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.view("v", "SELECT n FROM `{d}.t` AS t")

    with pytest.raises(exceptions.BadRequest) as error:
        facade.change("INSERT INTO `{d}.v` (n) VALUES (1)")

    assert error.value.errors[0]["reason"] == "invalidQuery"
