"""Datasets and tables: made, read, changed, deleted, as the client does it."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from tests.sandbox.bigquery.facade import PROJECT, Facade, schema


def test_a_table_comes_back_as_it_was_made(facade: Facade) -> None:
    wanted = [
        bigquery.SchemaField("id", "STRING", "REQUIRED", description="What it is called."),
        bigquery.SchemaField("n", "INT64"),
        bigquery.SchemaField("part", "STRUCT", fields=schema("at TIMESTAMP", "tags STRING REPEATED")),
    ]
    table = bigquery.Table(facade.path("t"), schema=wanted)
    table.description = "A table."
    table.labels = {"team": "billing"}
    table.clustering_fields = ["id"]

    facade.client.create_table(table)
    read = facade.client.get_table(facade.path("t"))

    assert [(f.name, f.field_type, f.mode, f.description) for f in read.schema] == [
        ("id", "STRING", "REQUIRED", "What it is called."),
        ("n", "INTEGER", "NULLABLE", None),
        ("part", "RECORD", "NULLABLE", None),
    ]
    assert [(f.name, f.mode) for f in read.schema[2].fields] == [("at", "NULLABLE"), ("tags", "REPEATED")]
    assert (read.description, read.labels, read.clustering_fields) == (
        "A table.",
        {"team": "billing"},
        ["id"],
    )
    assert (read.table_type, read.num_rows, read.location) == ("TABLE", 0, "US")
    assert read.created == facade.clock.at


def test_what_exists_is_a_conflict(facade: Facade) -> None:
    facade.table("t", "n INT64")

    with pytest.raises(exceptions.Conflict) as table:
        facade.table("t", "n INT64")
    with pytest.raises(exceptions.Conflict) as dataset:
        facade.client.create_dataset(facade.dataset)

    assert table.value.errors[0]["reason"] == "duplicate"
    assert dataset.value.errors[0]["reason"] == "duplicate"


def test_exists_ok_gives_what_exists(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.add("t", {"n": 1})

    again = facade.client.create_table(bigquery.Table(facade.path("t"), schema("m INT64")), exists_ok=True)

    assert [field.name for field in again.schema] == ["n"]
    assert again.num_rows == 1


@pytest.mark.parametrize(
    "path", [f"{PROJECT}.nowhere.t", f"{PROJECT}.nowhere", "other-project.nowhere.t"], ids=str
)
def test_what_does_not_exist_is_not_found(facade: Facade, path: str) -> None:
    read = facade.client.get_table if path.count(".") == 2 else facade.client.get_dataset
    with pytest.raises(exceptions.NotFound) as error:
        read(path)
    assert error.value.errors[0]["reason"] == "notFound"


def test_a_deleted_table_is_gone_and_its_name_free(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.add("t", {"n": 1})

    facade.client.delete_table(facade.path("t"))

    with pytest.raises(exceptions.NotFound):
        facade.client.get_table(facade.path("t"))
    with pytest.raises(exceptions.NotFound):
        facade.client.delete_table(facade.path("t"))
    facade.table("t", "other STRING")
    assert facade.query("SELECT other FROM `{d}.t` AS t") == []


def test_a_dataset_with_tables_is_deleted_only_on_demand(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.view("v", "SELECT n FROM `{d}.t` AS t")

    with pytest.raises(exceptions.BadRequest) as error:
        facade.client.delete_dataset(facade.dataset)
    facade.client.delete_dataset(facade.dataset, delete_contents=True)

    assert error.value.errors[0]["reason"] == "resourceInUse"
    with pytest.raises(exceptions.NotFound):
        facade.client.get_dataset(facade.dataset)


def test_tables_are_listed_by_pages(facade: Facade) -> None:
    for number in range(7):
        facade.table(f"t{number}", "n INT64")
    facade.view("v", "SELECT n FROM `{d}.t0` AS t")

    listed = list(facade.client.list_tables(facade.dataset, page_size=3))

    assert [(item.table_id, item.table_type) for item in listed] == [
        *((f"t{number}", "TABLE") for number in range(7)),
        ("v", "VIEW"),
    ]


def test_labels_and_description_change_and_vanish(facade: Facade) -> None:
    table = facade.table("t", "n INT64", description="Old.", labels={"a": "1"})
    facade.clock.advance(seconds=5)

    table.description = None
    table.labels = {"b": "2"}
    changed = facade.client.update_table(table, ["description", "labels"])

    assert changed.description is None
    assert changed.labels["b"] == "2"
    assert changed.modified == facade.clock.at
    assert changed.created is not None
    assert changed.created < changed.modified


def test_a_change_of_what_has_changed_since_it_was_read_is_refused(facade: Facade) -> None:
    mine, theirs = facade.table("t", "n INT64"), facade.client.get_table(facade.path("t"))
    theirs.description = "Theirs."
    facade.client.update_table(theirs, ["description"])

    mine.description = "Mine."
    with pytest.raises(exceptions.PreconditionFailed):
        facade.client.update_table(mine, ["description"])

    assert facade.client.get_table(facade.path("t")).description == "Theirs."


# --- widening ------------------------------------------------------------------------------------


def widened(facade: Facade, *fields: bigquery.SchemaField) -> bigquery.Table:
    table = facade.client.get_table(facade.path("t"))
    table.schema = [*table.schema, *fields]
    return facade.client.update_table(table, ["schema"])


def test_a_new_column_is_null_in_old_rows(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.add("t", {"n": 1})

    widened(facade, *schema("text STRING", "many INT64 REPEATED"))
    facade.add("t", {"n": 2, "text": "two", "many": [1, 2]})

    assert facade.query("SELECT * FROM `{d}.t` AS t ORDER BY n") == [
        {"n": 1, "text": None, "many": []},
        {"n": 2, "text": "two", "many": [1, 2]},
    ]


def test_a_new_field_of_a_record_is_null_in_old_rows(facade: Facade) -> None:
    record = bigquery.SchemaField(
        "part",
        "RECORD",
        fields=[*schema("a INT64"), bigquery.SchemaField("in", "RECORD", fields=schema("x INT64"))],
    )
    facade.client.create_table(bigquery.Table(facade.path("t"), schema=[record]))
    facade.add("t", {"part": {"a": 1, "in": {"x": 1}}})
    wider = bigquery.SchemaField(
        "part",
        "RECORD",
        fields=[
            *schema("a INT64"),
            bigquery.SchemaField("in", "RECORD", fields=schema("x INT64", "y STRING")),
            *schema("b STRING"),
        ],
    )

    table = facade.client.get_table(facade.path("t"))
    table.schema = [wider]
    facade.client.update_table(table, ["schema"])
    facade.add("t", {"part": {"a": 2, "in": {"x": 2, "y": "y"}, "b": "b"}})

    assert facade.query("SELECT t.part AS part FROM `{d}.t` AS t ORDER BY t.part.a") == [
        {"part": {"a": 1, "in": {"x": 1, "y": None}, "b": None}},
        {"part": {"a": 2, "in": {"x": 2, "y": "y"}, "b": "b"}},
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("m INT64",), "missing in new schema"),
        (("n STRING",), "changed type"),
        (("n INT64 REPEATED",), "changed type"),
        (("n INT64", "m INT64 REQUIRED"), "Cannot add required"),
    ],
    ids=["dropped", "retyped", "repeated", "required"],
)
def test_a_schema_that_is_not_wider_is_refused(
    facade: Facade, columns: tuple[str, ...], message: str
) -> None:
    table = facade.table("t", "n INT64")
    facade.add("t", {"n": 1})

    table.schema = schema(*columns)
    with pytest.raises(exceptions.BadRequest, match=message):
        facade.client.update_table(table, ["schema"])

    assert facade.query("SELECT * FROM `{d}.t` AS t") == [{"n": 1}]


def test_a_required_column_may_become_nullable_and_not_back(facade: Facade) -> None:
    table = facade.table("t", "n INT64 REQUIRED", "m INT64")

    table.schema = schema("n INT64", "m INT64")
    relaxed = facade.client.update_table(table, ["schema"])
    facade.add("t", {"m": 1})
    relaxed.schema = schema("n INT64 REQUIRED", "m INT64")

    assert facade.query("SELECT n, m FROM `{d}.t` AS t") == [{"n": None, "m": 1}]
    with pytest.raises(exceptions.BadRequest):
        facade.client.update_table(relaxed, ["schema"])


def test_a_table_without_columns_or_with_the_same_column_twice_is_refused(facade: Facade) -> None:
    with pytest.raises(exceptions.BadRequest):
        facade.table("t")
    with pytest.raises(exceptions.BadRequest):
        facade.table("t", "n INT64", "N STRING")
    with pytest.raises(exceptions.NotFound):
        facade.client.get_table(facade.path("t"))


@pytest.mark.parametrize("dataset", ["with-dash", "main", "", "ü b"])
def test_a_dataset_of_an_impossible_name_is_refused(facade: Facade, dataset: str) -> None:
    answer = facade.rest("POST", "/datasets", json={"datasetReference": {"datasetId": dataset}})
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")


@pytest.mark.parametrize("name", ["", "a/b", 'quo"te', "semi;colon", "a.b"])
def test_a_table_of_an_impossible_name_is_refused(facade: Facade, name: str) -> None:
    body = {"tableReference": {"tableId": name}, "schema": {"fields": [{"name": "n", "type": "INTEGER"}]}}
    answer = facade.rest("POST", f"/datasets/{facade.dataset}/tables", json=body)
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
