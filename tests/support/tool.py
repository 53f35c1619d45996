"""The operators' command in the environment of a stage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from tallygate.cli.__main__ import app
from tallygate.cli.errors import OperatorError
from tallygate.clock import write_offset
from tests.functions.deployed import environment, function
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


def calling(name: str, url_variable: str, here: Stage, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """The command, whose calls of one function reach it without a network."""
    served = function(name, environment(here), monkeypatch)

    def post(name: str, url: str, body: dict[str, Any]) -> Any:
        answer = served.post("/", json=body)
        assert answer.json is not None
        if answer.status_code != 200:
            raise OperatorError(answer.json["error"])
        return answer.json

    monkeypatch.setattr("tallygate.cli.functions.post", post)
    monkeypatch.setenv(url_variable, "http://127.0.0.1:1")
    return Tool(here, monkeypatch)
