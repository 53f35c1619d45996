"""The operators' command in the environment of a stage."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from tallygate.cli.__main__ import app
from tallygate.clock import write_offset
from tests.functions.deployed import environment
from tests.support.stage import Stage


class Tool:
    """The command, in the environment of a stage."""

    def __init__(self, here: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stage = here
        for name, value in environment(here).items():
            monkeypatch.setenv(name, value)

    def __call__(self, *arguments: str) -> str:
        """What it prints; raises what it stops with."""
        write_offset(self._stage.folder / "clock", self._stage.now - datetime.now(UTC))
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout
