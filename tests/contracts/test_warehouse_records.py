"""The warehouse's files and the package say the same of a record, an event, a meter and a state."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from sandbox.lql import parse
from tallygate.metering.warehouse import DeliveryRow
from tallygate.records import (
    ADMIT_EVENT,
    BASIS_METERS,
    COST_METER,
    METER_COLUMNS,
    METERS,
    SCHEMA_VERSION,
    USAGE_EVENT,
    BillingSegment,
    ChargeBasis,
    SegmentItem,
    json_payload_fields,
)

REPOSITORY: Final = Path(__file__).resolve().parents[2]
MODULE: Final = REPOSITORY / "modules/usage-warehouse"
STATEMENTS: Final = REPOSITORY / "tallygate/metering/sql"
DUE: Final = STATEMENTS / "fragments/due.sql"
SERVICE: Final = "tallygate-proxy"


def schema(table: str) -> list[dict[str, Any]]:
    """A table's columns."""
    columns: list[dict[str, Any]] = json.loads((MODULE / "schemas" / f"{table}.json").read_text())
    return columns


def view(name: str) -> str:
    """A view's text."""
    return (MODULE / "sql" / f"{name}.sql").read_text()


def test_the_raw_tables_payload_is_the_usage_event_and_the_admit_line() -> None:
    (payload,) = (column for column in schema("run_googleapis_com_stdout") if column["name"] == "jsonPayload")

    assert payload["fields"] == json_payload_fields(), (
        "modules/usage-warehouse/schemas/run_googleapis_com_stdout.json and tallygate/records.py differ: "
        "take jsonPayload's fields from tallygate.records.json_payload_fields()"
    )


def test_usage_clean_reads_only_fields_that_the_records_have() -> None:
    known = {field["name"] for field in json_payload_fields()}
    read = set(re.findall(r"l\.jsonPayload\.(\w+)", view("usage_clean")))

    assert read
    assert read <= known, f"modules/usage-warehouse/sql/usage_clean.sql reads {read - known}"


def test_usage_clean_knows_the_events_and_the_version_of_the_records() -> None:
    text = view("usage_clean")

    assert f"NOT IN ('{USAGE_EVENT}', '{ADMIT_EVENT}')" in text
    assert f"schema_version > {SCHEMA_VERSION} " in text, "tallygate/records.py: SCHEMA_VERSION has moved on"


def test_the_views_meter_what_the_records_meter() -> None:
    for name in ("usage_hours", "invoice_evidence"):
        metered = dict(re.findall(r"STRUCT\('(\w+)' AS meter, e\.(\w+) AS value\)", view(name)))

        assert metered == METER_COLUMNS, (
            f"modules/usage-warehouse/sql/{name}.sql and tallygate/records.py differ"
        )


def test_what_is_due_is_metered_as_the_view_of_usage_hours_says() -> None:
    """The statement bounds what the view can't: all else of its first query is the view's."""
    metered = DUE.read_text().partition("WITH metered AS (")[2].partition("  WHERE e.ended_at >=")[0]

    assert metered in view("usage_hours"), (
        "tallygate/metering/sql/fragments/due.sql and modules/usage-warehouse/sql/usage_hours.sql differ"
    )


def test_the_seal_includes_the_meters_outside_the_charge_basis() -> None:
    """The statement says it by exception; this says it by the table of the records."""
    text = DUE.read_text()
    included = {
        "none": set(METERS) if "charge_basis = 'none' THEN 'included" in text else set(),
        "cost": set(METERS) - {COST_METER}
        if f"'cost' AND t.meter != '{COST_METER}' THEN 'included" in text
        else set(),
        "tokens": {COST_METER} if f"'tokens' AND t.meter = '{COST_METER}' THEN 'included" in text else set(),
    }

    assert set(included) == set(get_args(ChargeBasis))
    for basis, billed in BASIS_METERS.items():
        assert included[basis] == set(METERS) - set(billed), basis


def test_billing_segments_has_the_fields_of_the_record() -> None:
    columns = schema("billing_segments")
    (items,) = (column for column in columns if column["name"] == "items")

    assert [column["name"] for column in columns] == [field.name for field in fields(BillingSegment)]
    assert [column["name"] for column in items["fields"]] == [field.name for field in fields(SegmentItem)]


def test_deliveries_are_appended_with_the_columns_of_their_table() -> None:
    columns = {column["name"] for column in schema("meter_deliveries")}
    appended = {field.name for field in fields(DeliveryRow)} | {"at", "run_id", "usage_hour"}

    assert appended == columns


@pytest.mark.parametrize(("file", "log"), [("usage-stdout", "stdout"), ("requests", "requests")])
def test_a_filter_takes_one_log_of_the_proxies_and_nothing_else(file: str, log: str) -> None:
    """A tenant's own service is a proxy too; a function is not, nor is anything with a similar name."""
    taken = parse((MODULE / f"filters/{file}.lql").read_text()).matches

    def entry(service: str, log: str, kind: str = "cloud_run_revision") -> dict[str, Any]:
        return {
            "logName": f"projects/p/logs/run.googleapis.com%2F{log}",
            "resource": {"type": kind, "labels": {"service_name": service}},
        }

    assert taken(entry(SERVICE, log))
    assert taken(entry(f"{SERVICE}-acme", log))
    for service in ("tallygate-usage-reporter", "tallygate-proxyx", f"x-{SERVICE}", f"{SERVICE}-"):
        assert not taken(entry(service, log)), service
    for other in {"stdout", "stderr", "requests"} - {log}:
        assert not taken(entry(SERVICE, other)), other
    assert not taken(entry(SERVICE, log, kind="k8s_container"))


def test_no_sql_asks_for_the_time_or_for_all_columns() -> None:
    """The time is a parameter; a view lists what it gives."""
    for path in [*MODULE.glob("sql/*.sql"), *STATEMENTS.glob("*.sql")]:
        code = re.sub(r"--.*", "", path.read_text())

        assert not re.search(r"CURRENT_(TIMESTAMP|DATE|TIME)|NOW\(\)", code), path
        assert not re.search(r"SELECT\s+\*", code), path


def test_every_sql_file_opens_with_what_it_is_for() -> None:
    for path in [*MODULE.glob("sql/*.sql"), *STATEMENTS.glob("*.sql")]:
        assert path.read_text().startswith("-- "), path
