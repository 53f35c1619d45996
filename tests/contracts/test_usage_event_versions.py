"""Lines of every version that the gateway ever wrote are billed, also after the schema has grown.

``tests/data/usage_events/vN.jsonl`` holds lines as a real gateway wrote them under schema version N. They are
never edited: a version that is raised gets a file of its own beside them.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import hcl2
import pytest
from google.cloud import bigquery

from sandbox.layout import DATASET_RAW, PROJECT_ID, REPOSITORY
from sandbox.router.entries import Origin, entry_of_output
from sandbox.router.rows import Shape, row_values
from tallygate.clock import rfc3339
from tallygate.records import METER_COLUMNS, SCHEMA_VERSION, USAGE_EVENT
from tests.sql.cases import item, segment
from tests.support.stage import Stage
from tests.support.stage_fixtures import bigquery_host, on_stage, stripe_host

__all__ = ["bigquery_host", "on_stage", "stripe_host"]

FOLDER: Final = REPOSITORY / "tests" / "data" / "usage_events"
TABLE: Final = f"{DATASET_RAW}.run_googleapis_com_stdout"
SCHEMA: Final = REPOSITORY / "modules" / "usage-warehouse" / "schemas" / "run_googleapis_com_stdout.json"
VERSIONS: Final = range(1, SCHEMA_VERSION + 1)
BILLED: Final = {meter: column for meter, column in METER_COLUMNS.items() if meter != "llm_cost_nano_usd"}
ADDED: Final = "tokens_of_a_later_release"

Lines = list[dict[str, Any]]


def recorded(version: int) -> Lines:
    return [json.loads(text) for text in (FOLDER / f"v{version}.jsonl").read_text().splitlines()]


def at_the_stage(lines: Lines, stage: Stage, *, suffix: str = "", **more: Any) -> Lines:
    """The lines as if they had just been written here, by requests of tenant acme."""
    moment = rfc3339(stage.now - timedelta(minutes=5))
    return [
        line
        | {
            "tenant_id": "acme",
            "timestamp": moment,
            "time": moment,
            "request_id": line["request_id"] + suffix,
            "logging.googleapis.com/insertId": line["logging.googleapis.com/insertId"] + suffix,
        }
        | more
        for line in lines
    ]


def deliver(stage: Stage, lines: Lines) -> Shape:
    """Put lines into the warehouse as Cloud Logging and its sink do; the table's shape after that."""
    table = stage.client.get_table(f"{PROJECT_ID}.{TABLE}")
    shape = Shape([field.to_api_repr() for field in table.schema])
    origin = Origin(PROJECT_ID, "stdout", "instance-1")
    rows = [
        shape.row(row_values(entry_of_output(json.dumps(line).encode(), origin, f"minted-{n}", stage.now)))
        for n, line in enumerate(lines)
    ]
    assert stage.client.insert_rows_json(table, rows, row_ids=[None] * len(rows)) == []
    return shape


def expected(customer: str, *deliveries: Lines) -> dict[tuple[str, str], int]:
    sums = {
        (customer, meter): sum(
            line[column]
            for lines in deliveries
            for line in lines
            if line["event"] == USAGE_EVENT and line["billable"]
        )
        for meter, column in BILLED.items()
    }
    return {key: value for key, value in sums.items() if value}


@pytest.fixture
def customer(on_stage: Stage) -> str:
    made = on_stage.customer()
    items = [item(meter) for meter in BILLED]
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=made, items=items))
    return made


@pytest.mark.parametrize("version", VERSIONS)
def test_lines_of_every_version_are_billed(version: int, on_stage: Stage, customer: str) -> None:
    lines = at_the_stage(recorded(version), on_stage)
    assert {line["schema_version"] for line in lines} == {version}

    deliver(on_stage, lines)
    run = on_stage.report()

    assert (run.error, run.rejected_lines) == (None, 0)
    assert on_stage.billed() == expected(customer, lines) != {}


@pytest.mark.parametrize("version", VERSIONS)
def test_old_and_new_lines_are_billed_while_two_releases_run(
    version: int, on_stage: Stage, customer: str
) -> None:
    """The column is added, then instances of both releases write: all their lines are billed."""
    _add_column(on_stage)
    old = at_the_stage(recorded(version), on_stage, suffix="-old")
    new = at_the_stage(recorded(SCHEMA_VERSION), on_stage, suffix="-new", **{ADDED: 7})

    shape = deliver(on_stage, old + new)
    run = on_stage.report()

    assert not shape.is_widened, "the column was there before the first line that fills it"
    assert (run.error, run.rejected_lines) == (None, 0)
    assert on_stage.billed() == expected(customer, old, new)


def test_a_line_of_a_version_that_is_not_known_yet_is_kept_aside_not_guessed(
    on_stage: Stage, customer: str
) -> None:
    """A warehouse that was not applied before the image: nothing is billed wrongly, and nothing is lost."""
    deliver(on_stage, at_the_stage(recorded(SCHEMA_VERSION), on_stage, schema_version=SCHEMA_VERSION + 1))

    on_stage.report()

    rejected = on_stage.rows("ledger.rejected_lines")
    assert on_stage.billed() == {}
    assert {row["reason"] for row in rejected} == {"future_schema_version"}
    assert len(rejected) == len(recorded(SCHEMA_VERSION))


def test_the_recorded_lines_show_each_kind_of_outcome() -> None:
    lines = recorded(SCHEMA_VERSION)

    assert {line["event"] for line in lines} == {"llm_usage", "llm_admit"}
    assert {line.get("status") for line in lines} >= {"success", "failure"}
    assert {line.get("stream") for line in lines} >= {True, False}


def test_the_warehouse_is_applied_before_the_image_that_fills_it() -> None:
    """One apply changes both: the order stands in the stack."""
    path = REPOSITORY / "modules" / "stack" / "proxy.tf"
    with path.open() as file:
        modules = hcl2.load(file)["module"]
    (proxy,) = [module[name] for module in modules for name in module if name.strip('"') == "proxy"]

    dependencies = [str(entry).strip("${}") for entry in proxy["depends_on"]]

    assert "module.usage_warehouse" in dependencies, (
        f"{path}: the proxy may start before the views that read its lines"
    )


def test_every_field_that_the_gateway_writes_has_a_column_already() -> None:
    columns = next(field for field in json.loads(SCHEMA.read_text()) if field["name"] == "jsonPayload")
    known = {field["name"] for field in columns["fields"]}
    lifted = ("severity", "time", "logging.googleapis.com/insertId", "logging.googleapis.com/trace")

    written = {name for line in recorded(SCHEMA_VERSION) for name in line if name not in lifted}

    assert written <= known, f"{SCHEMA} lacks {written - known}"


def _add_column(stage: Stage) -> None:
    """As the sink does with the first line of the next release, and as a new environment has it."""
    table = stage.client.get_table(f"{PROJECT_ID}.{TABLE}")
    fields = [field.to_api_repr() for field in table.schema]
    payload = next(field for field in fields if field["name"] == "jsonPayload")
    payload["fields"].append({"name": ADDED, "type": "FLOAT64", "mode": "NULLABLE"})
    table.schema = [bigquery.SchemaField.from_api_repr(field) for field in fields]
    stage.client.update_table(table, ["schema"])


def test_recorded_versions_are_complete() -> None:
    names = sorted(path.name for path in Path(FOLDER).iterdir())

    assert names == [f"v{version}.jsonl" for version in VERSIONS], (
        f"{FOLDER} and SCHEMA_VERSION in tallygate/records.py differ: record lines of the new version"
    )
