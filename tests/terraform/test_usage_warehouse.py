"""The module ``usage-warehouse``, as Terraform understands it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.conftest import MODULES, Terraform, Workspace

MODULE = MODULES / "usage-warehouse"
REPORTER = "serviceAccount:usage-reporter@demo-project.iam.gserviceaccount.com"
FINANCE = "group:finance@example.com"


@pytest.fixture(scope="module")
def workspace(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The module, initialised."""
    return terraform.workspace("usage-warehouse", tmp_path_factory.mktemp("warehouse"))


@pytest.fixture(scope="module")
def planned(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """What a first apply would make, by address."""
    plan = workspace.plan(
        project_id="demo-project",
        data_location="EU",
        archive={"bucket": "demo-project-usage-archive"},
        log_bucket={"location": "eu"},
        ledger_writers={"usage_reporter": REPORTER},
        ledger_readers={"finance": FINANCE},
    )
    return {change["address"]: change["change"]["after"] for change in plan["resource_changes"]}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('  project_number = "1"\n', "Unsupported argument"),
        ("  access {}\n  access_list {}\n", "Unsupported block type"),
        ("  friendly_name = google_bigquery_table.nowhere.id\n", "undeclared resource"),
    ],
    ids=["an unknown argument", "an unknown block", "a wrong reference"],
)
def test_a_wrong_configuration_is_refused(
    terraform: Terraform, tmp_path: Path, text: str, complaint: str
) -> None:
    """The provider's schema is really applied: a check that accepts everything proves nothing."""
    workspace = terraform.workspace("usage-warehouse", tmp_path)
    main = workspace.folder / "main.tf"
    opening = 'resource "google_bigquery_dataset" "ledger" {\n'
    main.write_text(main.read_text().replace(opening, opening + text))

    checked = workspace.run("validate", "-no-color")

    assert checked.code == 1
    assert complaint in checked.output


def test_every_table_of_tables_json_is_planned_as_it_says(planned: dict[str, dict[str, Any]]) -> None:
    tables = json.loads((MODULE / "tables.json").read_text())
    names = {"usage_raw": "raw", "ledger": "ledger"}

    for dataset, entries in tables.items():
        for name, entry in entries.items():
            table = planned[f'google_bigquery_table.{names[dataset]}["{name}"]']
            schema = json.loads((MODULE / "schemas" / f"{name}.json").read_text())
            partitioning = [(p["type"], p["field"]) for p in table["time_partitioning"]]
            expected = (
                [(entry["partition_type"], entry["partition_field"])] if entry["partition_field"] else []
            )

            assert table["dataset_id"] == dataset
            assert json.loads(table["schema"]) == schema
            assert partitioning == expected, name
            assert (table["clustering"] or []) == entry["clustering"], name
            assert table["deletion_protection"] is True, name


def test_tables_and_schema_files_are_the_same_set() -> None:
    tables = {
        name for entries in json.loads((MODULE / "tables.json").read_text()).values() for name in entries
    }
    schemas = {path.stem for path in (MODULE / "schemas").glob("*.json")}

    assert tables == schemas, "modules/usage-warehouse: tables.json and schemas/ name different tables"


def test_the_sinks_own_columns_never_show_in_a_plan(planned: dict[str, dict[str, Any]]) -> None:
    raw = {
        address: table
        for address, table in planned.items()
        if address.startswith("google_bigquery_table.raw")
    }

    assert len(raw) == 3
    assert all(table["ignore_auto_generated_schema"] is True for table in raw.values())


@pytest.mark.parametrize(("sink", "file"), [("usage", "usage-stdout.lql"), ("requests", "requests.lql")])
def test_a_sink_has_the_filter_of_its_file_and_an_identity_of_its_own(
    planned: dict[str, dict[str, Any]], sink: str, file: str
) -> None:
    made = planned[f"google_logging_project_sink.{sink}"]

    assert made["filter"] == (MODULE / "filters" / file).read_text()
    assert made["unique_writer_identity"] is True
    assert made["bigquery_options"] == [{"use_partitioned_tables": True}]
    assert made["destination"] == "bigquery.googleapis.com/projects/demo-project/datasets/usage_raw"


def test_only_the_sinks_write_the_raw_dataset_and_only_the_functions_the_ledger(
    planned: dict[str, dict[str, Any]],
) -> None:
    grants = {a: g for a, g in planned.items() if a.startswith("google_bigquery_dataset_iam_member.")}
    writers = {a: g for a, g in grants.items() if g["role"] != "roles/bigquery.dataViewer"}

    assert {(a.split('"')[1], g["dataset_id"], g["role"]) for a, g in writers.items()} == {
        ("usage", "usage_raw", "roles/bigquery.dataEditor"),
        ("requests", "usage_raw", "roles/bigquery.dataEditor"),
        ("usage_reporter", "ledger", "roles/bigquery.dataEditor"),
    }
    assert {(g["dataset_id"], g["member"]) for a, g in grants.items() if a not in writers} == {
        ("usage_raw", REPORTER),
        ("usage_raw", FINANCE),
        ("ledger", FINANCE),
    }


def test_every_sql_file_is_a_view_and_reads_only_earlier_layers(planned: dict[str, dict[str, Any]]) -> None:
    """BigQuery checks a view when it is made: what it reads must exist by then."""
    layers = ["view_on_tables", "view_on_lines", "view_on_events", "view_on_hours"]
    tables = json.loads((MODULE / "tables.json").read_text())
    existing = {f"{dataset}.{name}" for dataset, entries in tables.items() for name in entries}
    seen: set[str] = set()

    for layer in layers:
        views = {
            a.split('"')[1]: v for a, v in planned.items() if a.startswith(f"google_bigquery_table.{layer}[")
        }
        assert views, layer
        for name, view in views.items():
            query = view["view"][0]["query"]
            reads = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", query))
            assert reads <= existing, f"{name} reads {reads - existing}, which is not made before it"
            assert view["view"][0]["use_legacy_sql"] is False
        existing |= {f"ledger.{name}" for name in views}
        seen |= set(views)
    assert seen == {path.stem for path in (MODULE / "sql").glob("*.sql")}


def test_every_column_has_a_description() -> None:
    def undescribed(fields: list[dict[str, Any]], path: str) -> list[str]:
        here = [f"{path}.{field['name']}" for field in fields if not field.get("description")]
        return here + [c for f in fields for c in undescribed(f.get("fields", []), f"{path}.{f['name']}")]

    found = [
        column
        for path in sorted((MODULE / "schemas").glob("*.json"))
        for column in undescribed(json.loads(path.read_text()), path.name)
    ]

    assert found == []
