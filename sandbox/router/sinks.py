"""The sinks that Terraform makes, with the filters from the module's own files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.layout import REPOSITORY
from sandbox.lql import Filter, parse

FILTERS: Final = REPOSITORY / "modules" / "usage-warehouse" / "filters"
EXPORT_ERRORS: Final = "export_errors"
"""The sinks' table for what did not fit; partitioned tables have no date in their names."""
_NAMES: Final = {"usage-stdout": "tallygate-usage", "requests": "tallygate-requests"}
"""Filter file → the sink's name."""


@dataclass(frozen=True, slots=True)
class Sink:
    """A filter with a destination; the table follows from the entry's log."""

    name: str
    filter: Filter


def sinks(folder: Path = FILTERS) -> list[Sink]:
    """The sinks by their filter files.

    Raises:
        FilterError: when a filter is not understood.
        ValueError: when there is a filter file of no known sink, or one is missing.
    """
    found = {path.stem: path.read_text() for path in sorted(folder.glob("*.lql"))}
    if found.keys() != _NAMES.keys():
        raise ValueError(f"{folder} must hold the filters {sorted(_NAMES)}, not {sorted(found)}")
    return [Sink(_NAMES[stem], parse(text)) for stem, text in found.items()]


def table_of(log_name: str) -> str:
    """The table that a sink writes a log to: ``run.googleapis.com%2Fstdout`` →
    ``run_googleapis_com_stdout``."""
    log = log_name.partition("/logs/")[2].replace("%2F", "/")
    return "".join(sign if sign.isalnum() else "_" for sign in log)
