"""Takes new log lines, keeps them until they are due, and writes what the sinks' filters let through."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sandbox.faults import FaultRegistry
from sandbox.router.entries import LineError, LogEntry, entry_of_output, entry_of_request, line_id
from sandbox.router.faults import deliveries
from sandbox.router.files import Line, LogFile, log_files, unread
from sandbox.router.journal import Journal, Position, Waiting
from sandbox.router.rows import export_error_values, row_values
from sandbox.router.sinks import EXPORT_ERRORS, Sink, table_of
from sandbox.router.warehouse import UnreachableError, Warehouse
from tallygate.clock import Clock

BATCH: Final = 500
"""Rows of one streaming insert."""
AGAIN_AFTER: Final = timedelta(seconds=10)
"""When rows that BigQuery did not take are tried again."""


@dataclass(slots=True)
class Router:
    """One log folder on its way into one dataset."""

    folder: Path
    project: str
    journal: Journal
    warehouse: Warehouse
    sinks: Sequence[Sink]
    clock: Clock
    faults: FaultRegistry
    broken_lines: int = 0
    """Lines of the request log that were no entries."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """Read what is new, deliver what is due; what BigQuery does not take waits."""
        with self._lock:
            self._take_new()
            self._deliver_due()

    def next_due(self) -> datetime | None:
        """When the first waiting row is due."""
        with self._lock:
            return self.journal.next_due()

    def _take_new(self) -> None:
        positions = self.journal.positions()
        for file in log_files(self.folder, self.project):
            position = positions.get(file.path.name, Position(file.path.name))
            for after, lines in unread(file, position):
                now = self.clock.now()
                rows = [row for line in lines for row in self._rows(file, after.generation, line, now)]
                self.journal.take(after, rows)

    def _rows(self, file: LogFile, generation: int, line: Line, now: datetime) -> Iterator[Waiting]:
        minted = line_id(file.path.name, generation, line.offset)
        entry = self._entry(file, line, minted, now)
        if entry is None:
            return
        for sink in self.sinks:
            if not sink.filter.matches(entry):
                continue
            for delivery in deliveries(self.faults, entry, file.origin.log):
                yield Waiting(
                    target=table_of(entry["logName"]),
                    due=now + delivery.after,
                    row_id=f"{sink.name}:{minted}:{delivery.copy}",
                    sink=sink.name,
                    entry=json.dumps(delivery.entry),
                )

    def _entry(self, file: LogFile, line: Line, minted: str, now: datetime) -> LogEntry | None:
        if file.origin.log != "requests":
            return entry_of_output(line.text, file.origin, minted, now)
        try:
            return entry_of_request(line.text, self.project, now)
        except LineError as error:
            self.broken_lines += 1
            print(f"{file.path.name}, byte {line.offset}: {error}", file=sys.stderr)
            return None

    def _deliver_due(self) -> None:
        now = self.clock.now()
        # the export-errors table last: what does not fit elsewhere is due there at once
        for target in sorted({*self.journal.targets(now), EXPORT_ERRORS}, key=lambda t: t == EXPORT_ERRORS):
            while rows := self.journal.due(target, now, BATCH):
                self._deliver(target, rows, now)

    def _deliver(self, target: str, rows: Sequence[Waiting], now: datetime) -> None:
        try:
            outcome = self.warehouse.insert(target, [(row.row_id, _values(row)) for row in rows])
        except UnreachableError as error:
            print(f"BigQuery: {error}", file=sys.stderr)
            self.journal.postpone([row.id for row in rows], now + AGAIN_AFTER)
            return
        misfits = {rows[number].id: detail for number, detail in outcome.refused.items()}
        if target == EXPORT_ERRORS and misfits:
            raise RuntimeError(f"the export-errors table refuses its own rows: {misfits}")
        delivered = [rows[number].id for number in outcome.delivered]
        self.journal.settle(delivered, misfits, EXPORT_ERRORS)
        known = outcome.delivered | outcome.refused.keys()
        left = [row.id for number, row in enumerate(rows) if number not in known]
        self.journal.postpone(left, now + AGAIN_AFTER)


def _values(row: Waiting) -> dict[str, Any]:
    entry = row.log_entry()
    return row_values(entry) if row.misfit is None else export_error_values(entry, row.sink, row.misfit)
