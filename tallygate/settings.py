"""Reads a program's environment once, at start, and reports every problem in one error."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from tallygate.clock import Clock, clock_from
from tallygate.schemas import ConfigurationError

T = TypeVar("T")

UNSET: Final = "none"
"""Stands for a setting that may be left out."""
_DATASET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,1023}")


class Environment:
    """Collects values and problems; :meth:`check` raises them all at once.

    A value that is missing or bad is replaced by its default, or by what parses as empty, until then.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self._problems: list[str] = []

    def text(self, name: str, *, default: str | None = None) -> str:
        """A text; required unless it has a default."""
        return self.parsed(name, str, default=default, empty="")

    def flag(self, name: str, *, default: bool) -> bool:
        """``true`` or ``false``."""
        return self.parsed(name, _flag, default="true" if default else "false", empty=default)

    def number(self, name: str, *, default: int | None = None, minimum: int = 0, maximum: int = 2**53) -> int:
        """A whole number within bounds."""

        def parse(text: str) -> int:
            value = int(text)
            if not minimum <= value <= maximum:
                raise ValueError(f"must be between {minimum} and {maximum}")
            return value

        return self.parsed(name, parse, default=None if default is None else str(default), empty=minimum)

    def parsed(self, name: str, parse: Callable[[str], T], *, default: str | None = None, empty: T) -> T:
        """Whatever ``parse`` makes of the text; its ValueError becomes a problem."""
        text = self._variables.get(name) or default
        if text is None:
            self._problems.append(f"{name}: is missing: set it")
            return empty
        try:
            return parse(text)
        except ValueError as error:
            self._problems.append(f"{name}: {error}")
            return empty

    def add_problems(self, problems: list[str]) -> None:
        """Report what was found beyond single variables, for example in files that they name."""
        self._problems.extend(problems)

    def check(self) -> None:
        """Done reading.

        Raises:
            ConfigurationError: with all problems, if there were any.
        """
        if self._problems:
            raise ConfigurationError(self._problems)


def _flag(text: str) -> bool:
    if text in ("true", "false"):
        return text == "true"
    raise ValueError(f"must be 'true' or 'false', not {text!r}")


def dataset_id(text: str) -> str:
    """A BigQuery dataset's id; ValueError for anything else."""
    if not _DATASET.fullmatch(text):
        raise ValueError(f"must be a BigQuery dataset id, not {text!r}")
    return text


def app_database(text: str) -> str:
    """``firestore:<database>`` or ``sqlite:<path>``; ValueError for anything else."""
    kind, _, name = text.partition(":")
    if kind not in ("firestore", "sqlite") or not name:
        raise ValueError(f"must be 'firestore:<database>' or 'sqlite:<path>', not {text!r}")
    return text


def clock_setting(text: str) -> Clock:
    """The clock that ``TALLYGATE_CLOCK`` names; ValueError when there is none."""
    try:
        return clock_from(text)
    except OSError as error:
        raise ValueError(f"the clock's file can't be read: {error}") from error


def file_path(text: str) -> Path | None:
    """A path, or None for UNSET."""
    return None if text == UNSET else Path(text)


def base_url(text: str) -> str | None:
    """A URL without a path, or None for UNSET; ValueError for anything else."""
    if text == UNSET:
        return None
    if not re.fullmatch(r"https?://[^/\s]+", text):
        raise ValueError(f"must be a URL without a path, not {text!r}")
    return text


def endpoint(text: str) -> str | None:
    """A URL to send to with a token, so https unless on this machine; None for UNSET; else ValueError."""
    if text == UNSET:
        return None
    if not re.fullmatch(r"https://\S+|http://(127\.0\.0\.1|localhost)(:\d+)?(/\S*)?", text):
        raise ValueError(f"must be an https URL, not {text!r}")
    return text
