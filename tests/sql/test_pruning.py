"""No statement of the package reads a partitioned table whole.

The façade refuses, as BigQuery does where a table requires a partition filter, a query without a usable
filter on the partition column; here every partitioned table requires one. That BigQuery's own planner sees as
much through a view as DuckDB's does is assumed: see docs/gotchas.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.warehouse import table_settings
from tests.sql.cases import CASES
from tests.support.googlesql import Case, DuckDb, EngineError, sql_files

COUNTED = "rejected_lines"
"""``COUNT(*)`` over this table reads no bytes; what else reads it is bounded by ``line_timestamp``."""


class Strict(DuckDb):
    """The façade's engine with a partition filter required of every partitioned table."""

    def table_body(self, path: str) -> dict[str, Any]:
        """The resource, with the filter required."""
        dataset, name = path.split(".")
        settings = table_settings()[dataset][name]
        body = super().table_body(path)
        if settings["partition_field"] is None or name == COUNTED:
            return body
        partitioning = {"type": settings["partition_type"], "field": settings["partition_field"]}
        return body | {"timePartitioning": partitioning, "requirePartitionFilter": True}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    engine = Strict(tmp_path_factory.mktemp("strict"))
    yield engine
    engine.close()


def first_case(name: str) -> Case:
    """A case of a file, without rows."""
    case = next(case for case in CASES if case.sql == name)
    return Case(name=case.name, sql=case.sql, parameters=case.parameters)


STATEMENTS = sorted(file.name for file in sql_files().values() if not file.view)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_prunes_every_partitioned_table_that_it_reads(name: str, strict: Strict) -> None:
    try:
        strict.answer(first_case(name))
    except EngineError as error:
        raise AssertionError(f"{name} reads a table whole: {error}") from None
