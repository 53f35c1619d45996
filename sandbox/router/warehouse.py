"""Writes rows with BigQuery's own client, widening tables as the sink does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import requests
from google.api_core import exceptions
from google.cloud import bigquery

from sandbox.router.rows import MisfitError, Shape

TIMEOUT_SECONDS: Final = 20
_FOR_EVER: Final = ("invalid",)
"""Reasons of a refused row that no second attempt changes."""


class UnreachableError(Exception):
    """BigQuery did not answer, or not as it should: try again later."""


@dataclass(slots=True)
class Outcome:
    """What became of a batch, by position; what is in neither is to be tried again."""

    delivered: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)


class Warehouse:
    """The raw dataset."""

    def __init__(self, client: bigquery.Client, dataset: str) -> None:
        self._client = client
        self._path = f"{client.project}.{dataset}"
        self._shapes: dict[str, Shape] = {}

    def insert(self, table: str, batch: Sequence[tuple[str, Mapping[str, Any]]]) -> Outcome:
        """Write values as rows under their row ids; at most 500 at a time are meant.

        Raises:
            UnreachableError: when nothing is known to have been written.
        """
        outcome = Outcome()
        rows: dict[int, dict[str, Any]] = {}
        for number, (_, values) in enumerate(batch):
            try:
                rows[number] = self._row(table, values)
            except MisfitError as error:
                outcome.refused[number] = str(error)
        self._write(table, rows, [row_id for row_id, _ in batch], outcome)
        return outcome

    def _row(self, table: str, values: Mapping[str, Any]) -> dict[str, Any]:
        shape = self._shapes.get(table)
        if shape is None:
            shape = self._shapes[table] = Shape(self._schema(table))
        row = shape.row(values)
        if not shape.is_widened:
            return row
        # Someone else may have widened the table meanwhile: judge by what it is now.
        shape = self._shapes[table] = Shape(self._schema(table))
        row = shape.row(values)
        if shape.is_widened:
            self._widen(table, shape)
        return row

    def _schema(self, table: str) -> list[dict[str, Any]]:
        found = self._get(table)
        return [column.to_api_repr() for column in found.schema]

    def _get(self, table: str) -> Any:
        try:
            return self._client.get_table(f"{self._path}.{table}", retry=None, timeout=TIMEOUT_SECONDS)
        except (exceptions.GoogleAPICallError, requests.RequestException) as error:
            raise UnreachableError(f"{table}: {error}") from error

    def _widen(self, table: str, shape: Shape) -> None:
        found = self._get(table)
        found.schema = [bigquery.SchemaField.from_api_repr(column) for column in shape.to_api()]
        try:
            self._client.update_table(found, ["schema"], retry=None, timeout=TIMEOUT_SECONDS)
        except (exceptions.BadRequest, exceptions.MethodNotImplemented) as error:
            shape.undo()
            raise MisfitError(f"the table could not be widened: {error.message}") from None
        except (exceptions.GoogleAPICallError, requests.RequestException) as error:
            del self._shapes[table]
            raise UnreachableError(f"{table}: {error}") from error
        shape.keep()

    def _write(
        self, table: str, rows: Mapping[int, dict[str, Any]], row_ids: Sequence[str], outcome: Outcome
    ) -> None:
        if not rows:
            return
        numbers = list(rows)
        try:
            errors = self._client.insert_rows_json(
                f"{self._path}.{table}",
                list(rows.values()),
                row_ids=[row_ids[number] for number in numbers],
                skip_invalid_rows=True,
                retry=None,
                timeout=TIMEOUT_SECONDS,
            )
        except (exceptions.GoogleAPICallError, requests.RequestException) as error:
            self._shapes.pop(table, None)
            raise UnreachableError(f"{table}: {error}") from error
        failed = set()
        for refusal in errors:
            number = numbers[refusal["index"]]
            failed.add(number)
            final = [one for one in refusal["errors"] if one["reason"] in _FOR_EVER]
            if final:
                outcome.refused[number] = f"{final[0].get('location', '')}: {final[0].get('message', '')}"
        outcome.delivered.update(number for number in numbers if number not in failed)
