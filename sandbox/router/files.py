"""Reads log files line by line, from where the last reading ended."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sandbox.edge import LOG_NAME
from sandbox.router.entries import LARGEST, Origin
from sandbox.router.journal import Position

PIECE: Final = 1024 * 1024
"""Bytes that are read, and kept in one transaction, at a time; more than the largest line."""
_OUTPUT: Final = re.compile(r"(?P<instance>.+)\.(?P<start>\d+)\.(?P<stream>stdout|stderr)\.log")


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of the log folder."""

    path: Path
    origin: Origin
    size: int
    is_complete: bool
    """The process that wrote it is gone: what stands behind the last line's end is a line, too."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end; of an overlong one, its beginning."""

    offset: int
    text: bytes


def log_files(folder: Path, project: str) -> list[LogFile]:
    """The log files that there are, by name. Other files are left alone."""
    try:
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}
    except FileNotFoundError:
        return []
    outputs = {name: found for name in sizes if (found := _OUTPUT.fullmatch(name))}
    last: dict[str, int] = {}
    for found in outputs.values():
        last[found["instance"]] = max(last.get(found["instance"], 0), int(found["start"]))
    files = [
        LogFile(
            folder / name,
            Origin(project, found["stream"], found["instance"]),
            sizes[name],
            int(found["start"]) < last[found["instance"]],
        )
        for name, found in outputs.items()
    ]
    if LOG_NAME in sizes:
        files.append(LogFile(folder / LOG_NAME, Origin(project, "requests", ""), sizes[LOG_NAME], False))
    return sorted(files, key=lambda file: file.path.name)


def unread(file: LogFile, position: Position) -> Iterator[tuple[Position, list[Line]]]:
    """What has been written since, piece by piece: the lines, and the position behind them.

    The last line waits for its end, unless the file is complete. Of a line longer than ``LARGEST`` the
    beginning counts and the rest is passed over.
    """
    if file.size < position.offset:  # made anew under the same name
        position = replace(position, generation=position.generation + 1, offset=0, skipping=False)
    if file.size == position.offset:
        return
    with file.path.open("rb") as opened:
        while True:
            opened.seek(position.offset)
            piece = opened.read(PIECE)
            ended = len(piece) < PIECE
            after, lines = _split(piece, position, complete=ended and file.is_complete)
            if after == position:
                return
            yield after, lines
            position = after
            if ended:
                return


def _split(piece: bytes, position: Position, *, complete: bool) -> tuple[Position, list[Line]]:
    lines = []
    at, skipping = 0, position.skipping
    while (end := piece.find(b"\n", at)) >= 0:
        if not skipping:
            lines.append(Line(position.offset + at, piece[at:end].removesuffix(b"\r")))
        at, skipping = end + 1, False
    rest = piece[at:]
    if skipping:
        return position.moved(position.offset + len(piece), skipping=True), lines
    if rest and (complete or len(rest) > LARGEST):
        lines.append(Line(position.offset + at, rest))
        return position.moved(position.offset + len(piece), skipping=not complete), lines
    return position.moved(position.offset + at), lines
