"""SELECT: typed parameters, types of the result, pages, refusals."""

# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.bigquery.facade import PROJECT, Facade, column, scalar

AT = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("INT64", 2**63 - 1), ("INT64", -(2**63)), ("FLOAT64", 0.1), ("BOOL", False), ("STRING", ""),
        ("STRING", "'; DROP --"), ("BYTES", b"\x00\xff"),
        ("NUMERIC", Decimal("-99999999999999999999999999999.999999999")),
        ("TIMESTAMP", AT), ("DATE", date(2026, 2, 28)), ("DATETIME", datetime(2026, 2, 3, 4, 5, 6)),  # noqa: DTZ001
        ("INT64", None), ("STRING", None), ("TIMESTAMP", None),
    ],
)  # fmt: skip
def test_a_typed_parameter_comes_back_as_it_went(facade: Facade, type_: str, value: Any) -> None:
    assert facade.value("@p", scalar("p", type_, value)) == value


@settings(max_examples=40)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    number=st.integers(-(2**63), 2**63 - 1),
    micros=st.integers(-62_135_596_800 * 10**6, 253_402_300_799_999_999),
    money=st.decimals(-(10**28), 10**28, places=9),
)
def test_any_parameter_comes_back_as_it_went(
    facade: Facade, text: str, number: int, micros: int, money: Decimal
) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    given_ = [
        scalar("s", "STRING", text), scalar("n", "INT64", number), scalar("t", "TIMESTAMP", at),
        scalar("d", "NUMERIC", money),
    ]  # fmt: skip

    (row,) = facade.query("SELECT @s AS s, @n AS n, @t AS t, @d AS d, LENGTH(@s) AS l", *given_)

    assert row == {"s": text, "n": number, "t": at, "d": money, "l": len(text)}


def test_arrays_and_structs_are_parameters(facade: Facade) -> None:
    facade.table("t", "who STRING", "n INT64")
    facade.add("t", {"who": "a", "n": 1}, {"who": "b", "n": 2}, {"who": "c", "n": 3})
    rows = bigquery.ArrayQueryParameter(
        "rows",
        bigquery.StructQueryParameterType(
            bigquery.ScalarQueryParameterType("STRING", name="who"),
            bigquery.ScalarQueryParameterType("INT64", name="n"),
            bigquery.ScalarQueryParameterType("TIMESTAMP", name="at"),
        ),
        [
            bigquery.StructQueryParameter(
                None, scalar("who", "STRING", who), scalar("n", "INT64", n), scalar("at", "TIMESTAMP", AT)
            )
            for who, n in [("x", 10), ("ü'\"", None)]
        ],
    )
    names = bigquery.ArrayQueryParameter("names", "STRING", ["a", "c", "'"])

    found = facade.query("SELECT who FROM `{d}.t` AS t WHERE who IN UNNEST(@names) ORDER BY who", names)
    unnested = facade.query("SELECT r.who, r.n, r.at FROM UNNEST(@rows) AS r ORDER BY r.who", rows)
    empty = facade.query(
        "SELECT who FROM `{d}.t` AS t WHERE who IN UNNEST(@names)",
        bigquery.ArrayQueryParameter("names", "STRING", []),
    )

    assert column(found, "who") == ["a", "c"]
    assert unnested == [{"who": "x", "n": 10, "at": AT}, {"who": "ü'\"", "n": None, "at": AT}]
    assert empty == []


def test_a_missing_parameter_is_an_invalid_query(facade: Facade) -> None:
    with pytest.raises(exceptions.BadRequest, match="'p' not found") as error:
        facade.query("SELECT @p AS p")
    assert error.value.errors[0]["reason"] == "invalidQuery"


@pytest.mark.parametrize(
    ("type_", "value"), [("INT64", "one"), ("TIMESTAMP", "soon"), ("BOOL", "maybe"), ("INT64", str(2**63))]
)
def test_a_parameter_that_is_not_of_its_type_is_an_invalid_query(
    facade: Facade, type_: str, value: str
) -> None:
    configuration = {
        "query": {
            "query": "SELECT @p AS p", "useLegacySql": False, "parameterMode": "NAMED",
            "queryParameters": [
                {"name": "p", "parameterType": {"type": type_}, "parameterValue": {"value": value}}
            ],
        }
    }  # fmt: skip
    job = facade.rest("POST", "/jobs", json={"configuration": configuration}).json()
    found = facade.rest("GET", f"/queries/{job['jobReference']['jobId']}")
    assert (found.status_code, found.json()["error"]["errors"][0]["reason"]) == (400, "invalidQuery")


@pytest.mark.parametrize("rows", [0, 1, 999, 1000, 1001, 2500])
def test_a_result_is_read_by_pages(facade: Facade, rows: int) -> None:
    """1,000 is the size of the pages in which the façade keeps a result; the client's own don't match it."""
    facade.table("t", "n INT64")
    if rows:
        facade.add("t", *({"n": n} for n in range(rows)))

    job = facade.start("SELECT n FROM `{d}.t` AS t ORDER BY n")
    pages = list(job.result(page_size=700).pages)

    assert [number for page in pages for (number,) in (row.values() for row in page)] == list(range(rows))
    assert all(page.num_items <= 700 for page in pages)
    assert job.result().total_rows == rows
    last = facade.client.get_job(job.job_id).result(start_index=max(0, rows - 3))
    assert [row["n"] for row in last] == list(range(max(0, rows - 3), rows))


def test_max_results_bounds_a_result(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.add("t", *({"n": n} for n in range(20)))
    job = facade.start("SELECT n FROM `{d}.t` AS t ORDER BY n")
    assert column([dict(r.items()) for r in job.result(max_results=5)], "n") == [0, 1, 2, 3, 4]


def test_query_and_wait_gives_the_same_rows(facade: Facade) -> None:
    facade.table("t", "n INT64", "at TIMESTAMP")
    facade.add("t", *({"n": n, "at": AT.isoformat()} for n in range(3)))
    sql = f"SELECT n, at FROM `{facade.dataset}.t` AS t ORDER BY n"

    rows = facade.client.query_and_wait(sql)

    assert [tuple(row.values()) for row in rows] == [(n, AT) for n in range(3)]
    assert [f.field_type for f in rows.schema] == ["INTEGER", "TIMESTAMP"]


def test_timestamps_are_exact_to_the_microsecond(facade: Facade) -> None:
    """Seconds in floating point, which is what the API gives without being asked, lose them."""
    at = datetime(2262, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    job = facade.start("SELECT @t AS t", scalar("t", "TIMESTAMP", at))
    path = f"/queries/{job.job_id}"

    (row,) = job.result()

    assert row["t"] == at
    assert facade.rest("GET", path).json()["rows"][0]["f"][0]["v"] == "9214646400.0"
    whole = facade.rest("GET", path, params={"formatOptions.useInt64Timestamp": "true"}).json()
    assert whole["rows"][0]["f"][0]["v"] == "9214646400000001"


def test_the_result_has_bigquerys_types(facade: Facade) -> None:
    job = facade.start(
        "SELECT 1 AS n, 1.5 AS f, 'a' AS s, TRUE AS b, NUMERIC '1.5' AS d, DATE '2026-01-01' AS day, "
        "TIMESTAMP '2026-01-01 00:00:00+00' AS t, [1, 2] AS l, STRUCT('x' AS a, 2 AS b) AS r, NULL AS nothing"
    )
    rows = job.result()
    types = {field.name: (field.field_type, field.mode) for field in rows.schema}

    assert types == {
        "n": ("INTEGER", "NULLABLE"), "f": ("FLOAT", "NULLABLE"), "s": ("STRING", "NULLABLE"),
        "b": ("BOOLEAN", "NULLABLE"), "d": ("NUMERIC", "NULLABLE"), "day": ("DATE", "NULLABLE"),
        "t": ("TIMESTAMP", "NULLABLE"), "l": ("INTEGER", "REPEATED"), "r": ("RECORD", "NULLABLE"),
        "nothing": ("INTEGER", "NULLABLE"),
    }  # fmt: skip
    (row,) = rows
    assert row["r"] == {"a": "x", "b": 2}
    assert row["l"] == [1, 2]


def test_unnamed_columns_are_named_as_bigquery_names_them(facade: Facade) -> None:
    (row,) = facade.query("SELECT 1, 2 AS two, 3")
    assert row == {"f0_": 1, "two": 2, "f2_": 3}


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT", "invalidQuery"),
        ("SELECT nothing FROM `{d}.t` AS t", "invalidQuery"),
        ("SELECT n FROM t", "invalidQuery"),
        ("SELECT n AS a, n AS a FROM `{d}.t` AS t", "invalidQuery"),
        ("SELECT n FROM `{d}.t` AS t WHERE n = 'a'", "invalidQuery"),
        ("SELECT n + s FROM `{d}.t` AS t", "invalidQuery"),
        ("SELECT n, COUNT(*) AS c FROM `{d}.t` AS t", "invalidQuery"),
        ("SELECT 1 / 0 AS x", "invalidQuery"),
        ("SELECT 9223372036854775807 + 1 AS x", "invalidQuery"),
        ("SELECT CAST('one' AS INT64) AS x", "invalidQuery"),
        ("SELECT [1][OFFSET(3)] AS x", "invalidQuery"),
        ("SELECT n FROM `{d}.nothing` AS t", "notFound"),
        ("SELECT n FROM `nowhere.t` AS t", "notFound"),
        ("SELECT n FROM `other-project.nowhere.t` AS t", "notFound"),
        ("SELECT 1; SELECT 2", "notImplemented"),
        ("DROP TABLE `{d}.t`", "notImplemented"),
        ("SELECT * FROM read_csv('/etc/passwd')", "notImplemented"),
        ("SELECT * FROM `/etc/passwd`", "invalidQuery"),
        ("SELECT GETENV('HOME') AS home", "notImplemented"),
        ("ATTACH '/tmp/x.db'", "invalidQuery"),
        ("SELECT SESSION_USER() AS u", "notImplemented"),
    ],
)
def test_a_query_that_bigquery_would_refuse_is_refused(facade: Facade, sql: str, reason: str) -> None:
    """What BigQuery could do and the façade can't is refused under a reason of its own, never guessed."""
    facade.table("t", "n INT64", "s STRING")
    facade.add("t", {"n": 1, "s": "a"})

    job = facade.start(sql)
    with pytest.raises(exceptions.GoogleAPICallError):
        job.result(retry=None)
    job.reload()

    assert job.state == "DONE"
    assert job.error_result is not None
    assert job.error_result["reason"] == reason


def test_the_own_project_may_be_named(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.add("t", {"n": 1})
    assert facade.query(f"SELECT n FROM `{PROJECT}.{{d}}.t` AS t") == [{"n": 1}]


@pytest.mark.parametrize(
    "configuration",
    [
        {"load": {}},
        {"query": {"query": "SELECT 1", "useLegacySql": True}},
        {"query": {"query": "SELECT 1"}},
        {"query": {"query": "SELECT 1", "useLegacySql": False, "destinationTable": {"tableId": "t"}}},
        {"query": {"query": "SELECT 1", "useLegacySql": False, "defaultDataset": {"datasetId": "d"}}},
        {"query": {"query": "SELECT ?", "useLegacySql": False, "parameterMode": "POSITIONAL",
                   "queryParameters": [{"parameterType": {"type": "INT64"}}]}},
        {"query": {"query": "SELECT 1", "useLegacySql": False}, "dryRun": True},
    ],
    ids=["load", "legacy", "legacy by default", "destination", "default dataset", "positional", "dry run"],
)  # fmt: skip
def test_options_that_the_facade_does_not_know_are_refused_by_name(
    facade: Facade, configuration: dict[str, Any]
) -> None:
    answer = facade.rest("POST", "/jobs", json={"configuration": configuration})
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (501, "notImplemented")


def test_what_is_no_json_or_no_path_is_refused(facade: Facade) -> None:
    assert facade.rest("POST", "/jobs", content=b"{").status_code == 400
    assert facade.rest("POST", "/jobs", content=b"\xff").status_code == 400
    assert facade.rest("GET", "/models").status_code == 404
    assert facade.rest("GET", "/queries/nothing").status_code == 404
    assert facade.rest("GET", f"/datasets/{facade.dataset}/tables?maxResults=x").status_code == 400
    assert facade.rest("GET", f"/datasets/{facade.dataset}/tables?pageToken=-1").status_code == 400
