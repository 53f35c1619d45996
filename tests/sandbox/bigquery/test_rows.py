"""tabledata.insertAll and tabledata.list."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.bigquery.facade import Facade, column


def listed(facade: Facade, table: str = "t", **options: Any) -> list[dict[str, Any]]:
    return [dict(row.items()) for row in facade.client.list_rows(facade.path(table), **options)]


def test_rows_come_back_as_they_were_streamed(facade: Facade) -> None:
    facade.table(
        "t", "s STRING", "n INT64", "f FLOAT64", "b BOOL", "d NUMERIC", "at TIMESTAMP", "day DATE", "x BYTES",
        "many STRING REPEATED",
    )  # fmt: skip
    at = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)

    facade.add(
        "t",
        {
            "s": 'ü "quoted"\n\\u0041\x1f', "n": -(2**63), "f": 1e-300, "b": True, "d": "0.000000001",
            "at": at.isoformat(), "day": "2026-02-03", "x": "AP8=", "many": ["", "b"],
        },
        {},
    )  # fmt: skip

    assert listed(facade) == [
        {
            "s": 'ü "quoted"\n\\u0041\x1f', "n": -(2**63), "f": 1e-300, "b": True,
            "d": Decimal("0.000000001"), "at": at, "day": date(2026, 2, 3), "x": b"\x00\xff",
            "many": ["", "b"],
        },
        {
            "s": None, "n": None, "f": None, "b": None, "d": None, "at": None, "day": None, "x": None,
            "many": [],
        },
    ]  # fmt: skip


@settings(max_examples=40)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    number=st.integers(-(2**63), 2**63 - 1),
    real=st.floats(allow_nan=False, allow_infinity=False),
    micros=st.integers(-62_135_596_800 * 10**6, 253_402_300_799_999_999),
    blob=st.binary(max_size=20),
)
def test_any_value_survives(
    facade: Facade, text: str, number: int, real: float, micros: int, blob: bytes
) -> None:
    facade.client.create_table(
        bigquery.Table(
            facade.path("any"),
            schema=[
                bigquery.SchemaField(*pair)
                for pair in [
                    ("s", "STRING"),
                    ("n", "INT64"),
                    ("f", "FLOAT64"),
                    ("at", "TIMESTAMP"),
                    ("x", "BYTES"),
                ]
            ],
        ),
        exists_ok=True,
    )
    before = len(listed(facade, "any"))
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)

    facade.add(
        "any",
        {"s": text, "n": str(number), "f": real, "at": at.isoformat(), "x": base64.b64encode(blob).decode()},
    )

    (row,) = listed(facade, "any", start_index=before)
    assert row == {"s": text, "n": number, "f": real, "at": at, "x": blob}


def test_lists_by_pages_in_the_order_of_writing(facade: Facade) -> None:
    facade.table("t", "n INT64")
    for start in range(0, 50, 10):
        facade.add("t", *({"n": n} for n in range(start, start + 10)))

    pages = list(facade.client.list_rows(facade.path("t"), page_size=20).pages)

    assert [page.num_items for page in pages] == [20, 20, 10]
    assert column(listed(facade, page_size=7), "n") == list(range(50))
    assert column(listed(facade, start_index=45), "n") == [45, 46, 47, 48, 49]
    assert column(listed(facade, max_results=3), "n") == [0, 1, 2]


def test_an_insert_id_seen_before_is_written_once(facade: Facade) -> None:
    """Best effort in BigQuery, within a minute or so; nothing may rely on it."""
    facade.table("t", "n INT64")
    write = facade.client.insert_rows_json

    write(facade.path("t"), [{"n": 1}, {"n": 2}], row_ids=["a", "b"])
    write(facade.path("t"), [{"n": 2}, {"n": 3}, {"n": 3}], row_ids=["b", "c", "c"])

    assert column(listed(facade), "n") == [1, 2, 3]


def test_without_insert_ids_each_row_is_written(facade: Facade) -> None:
    facade.table("t", "n INT64")

    facade.add("t", {"n": 1}, {"n": 1})
    facade.add("t", {"n": 1})

    assert column(listed(facade), "n") == [1, 1, 1]


def test_one_bad_row_stops_all(facade: Facade) -> None:
    facade.table("t", "n INT64")

    errors = facade.client.insert_rows_json(facade.path("t"), [{"n": 1}, {"n": "one"}, {"n": 3}])

    assert [(e["index"], e["errors"][0]["reason"]) for e in errors] == [
        (0, "stopped"),
        (1, "invalid"),
        (2, "stopped"),
    ]
    assert listed(facade) == []


def test_bad_rows_are_skipped_on_demand(facade: Facade) -> None:
    facade.table("t", "n INT64")

    errors = facade.client.insert_rows_json(
        facade.path("t"), [{"n": 1}, {"n": "one"}, {"n": 3}], skip_invalid_rows=True
    )

    assert [e["index"] for e in errors] == [1]
    assert column(listed(facade), "n") == [1, 3]


def test_an_unknown_column_is_refused_or_ignored_on_demand(facade: Facade) -> None:
    facade.table("t", "n INT64")
    row = {"n": 1, "m": 2}

    (refused,) = facade.client.insert_rows_json(facade.path("t"), [row])
    ignored = facade.client.insert_rows_json(facade.path("t"), [row], ignore_unknown_values=True)

    assert refused["errors"][0] == {
        "reason": "invalid", "location": "m", "debugInfo": "", "message": "no such field: m.",
    }  # fmt: skip
    assert ignored == []
    assert listed(facade) == [{"n": 1}]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("INT64", 1.5), ("INT64", True), ("INT64", 2**63), ("INT64", "1e3"), ("INT64", {}), ("INT64", [1]),
        ("FLOAT64", "one"), ("FLOAT64", False), ("BOOL", 1), ("BOOL", "yes"), ("NUMERIC", "1e30"),
        ("NUMERIC", "0.0000000001"), ("TIMESTAMP", "yesterday"), ("TIMESTAMP", True), ("DATE", "2026-02-30"),
        ("BYTES", "not base64"), ("STRING", {"a": 1}), ("TIMESTAMP", 1e18), ("NUMERIC", "NaN"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_its_place(facade: Facade, type_: str, value: Any) -> None:
    facade.table("t", f"v {type_}")

    (refused,) = facade.client.insert_rows_json(facade.path("t"), [{"v": value}])

    assert refused["errors"][0]["reason"] == "invalid"
    assert refused["errors"][0]["location"] == "v"
    assert listed(facade) == []


def test_a_required_column_must_come(facade: Facade) -> None:
    facade.table("t", "n INT64 REQUIRED")

    (refused,) = facade.client.insert_rows_json(facade.path("t"), [{}])

    assert "Missing required field" in refused["errors"][0]["message"]


def test_rows_into_nothing_or_a_view_are_refused(facade: Facade) -> None:
    facade.table("t", "n INT64")
    facade.view("v", "SELECT n FROM `{d}.t` AS t")

    with pytest.raises(exceptions.NotFound):
        facade.client.insert_rows_json(facade.path("nothing"), [{"n": 1}])
    with pytest.raises(exceptions.BadRequest):
        facade.client.insert_rows_json(facade.path("v"), [{"n": 1}])


@pytest.mark.parametrize(
    "body", [{}, {"rows": []}, {"rows": "no"}, {"rows": [1]}, {"rows": [{"json": 1}]}, []]
)
def test_a_malformed_body_is_refused(facade: Facade, body: Any) -> None:
    facade.table("t", "n INT64")
    answer = facade.rest("POST", f"/datasets/{facade.dataset}/tables/t/insertAll", json=body)
    assert answer.status_code in (200, 400)
    assert answer.status_code == 400 or answer.json()["insertErrors"][0]["errors"][0]["reason"] == "invalid"
    assert listed(facade) == []


def test_column_names_match_without_regard_to_case(facade: Facade) -> None:
    facade.table("t", "requestId STRING")
    facade.add("t", {"REQUESTID": "a"})
    assert listed(facade) == [{"requestId": "a"}]


def test_timestamps_are_seconds_in_floating_point_unless_asked_for_as_integers(facade: Facade) -> None:
    """The client asks for integers always; another one that does not gets what BigQuery gives it."""
    facade.table("t", "at TIMESTAMP")
    facade.add("t", {"at": "2026-02-03T04:05:06.789012Z"})
    path = f"/datasets/{facade.dataset}/tables/t/data"

    floating = facade.rest("GET", path).json()
    whole = facade.rest("GET", path, params={"formatOptions.useInt64Timestamp": "true"}).json()

    assert floating["rows"][0]["f"][0]["v"] == "1770091506.789012"
    assert whole["rows"][0]["f"][0]["v"] == "1770091506789012"
