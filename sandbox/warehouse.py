"""Makes the warehouse in the façade as Terraform makes it in BigQuery, from the same files.

``modules/usage-warehouse/tables.json`` says which tables there are and how they are partitioned,
``schemas/<table>.json`` holds their columns, ``sql/<view>.sql`` the views of the ledger.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from string import Template
from typing import Any, Final

from google.cloud import bigquery

MODULE: Final = Path(__file__).resolve().parent.parent / "modules" / "usage-warehouse"
RAW: Final = "usage_raw"
LEDGER: Final = "ledger"
"""The datasets' names in ``tables.json``; their ids are the caller's."""
_NAMED: Final = re.compile(r"`\$\{(?:raw|ledger)\}\.(\w+)`")


def table_settings() -> dict[str, dict[str, dict[str, Any]]]:
    """``tables.json``: dataset → table → partitioning, clustering and description."""
    settings: dict[str, dict[str, dict[str, Any]]] = json.loads((MODULE / "tables.json").read_text())
    return settings


def table_schema(name: str) -> list[dict[str, Any]]:
    """The columns of a table, as BigQuery writes a schema."""
    fields: list[dict[str, Any]] = json.loads((MODULE / "schemas" / f"{name}.json").read_text())
    return fields


def views() -> dict[str, str]:
    """The views by name, each after those it reads; ``${raw}`` and ``${ledger}`` stand for the datasets."""
    texts = {path.stem: path.read_text() for path in sorted((MODULE / "sql").glob("*.sql"))}
    reads = {
        name: {other for other in _NAMED.findall(text) if other in texts} for name, text in texts.items()
    }
    return {name: texts[name] for name in TopologicalSorter(reads).static_order()}


def create_warehouse(client: bigquery.Client, project: str, raw: str, ledger: str) -> None:
    """Make both datasets, their tables and the views; what exists stays, views get their newest text."""
    ids = {RAW: raw, LEDGER: ledger}
    for dataset in ids.values():
        client.create_dataset(f"{project}.{dataset}", exists_ok=True)
    for table in _tables(project, ids):
        client.create_table(table, exists_ok=True)
    for name, text in views().items():
        _put_view(client, f"{project}.{ledger}.{name}", Template(text).substitute(raw=raw, ledger=ledger))


def _tables(project: str, ids: Mapping[str, str]) -> Iterator[bigquery.Table]:
    for dataset, tables in table_settings().items():
        for name, settings in tables.items():
            yield _table(f"{project}.{ids[dataset]}.{name}", table_schema(name), settings)


def _table(path: str, fields: list[dict[str, Any]], settings: Mapping[str, Any]) -> bigquery.Table:
    table = bigquery.Table(path, schema=[bigquery.SchemaField.from_api_repr(field) for field in fields])
    table.description = settings["description"]
    if settings.get("partition_field"):
        table.time_partitioning = bigquery.TimePartitioning(
            type_=settings.get("partition_type") or "DAY", field=settings["partition_field"]
        )
        table.require_partition_filter = bool(settings.get("require_partition_filter"))
    if settings.get("clustering"):
        table.clustering_fields = list(settings["clustering"])
    return table


def _put_view(client: bigquery.Client, path: str, query: str) -> None:
    view = bigquery.Table(path)
    view.view_query = query
    made = client.create_table(view, exists_ok=True)
    if made.view_query != query:
        made.view_query = query
        client.update_table(made, ["view_query"])
