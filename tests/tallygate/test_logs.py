"""The functions' log lines: one JSON object each."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tallygate.logs import emit


def test_a_line_is_one_json_object_with_its_severity(capsys: pytest.CaptureFixture[str]) -> None:
    emit("job_run", job="usage_reporter", sealed=3)
    emit("job_run", "ERROR", at=datetime(2026, 3, 1, tzinfo=UTC), text="two\nlines")

    lines = capsys.readouterr().out.splitlines()

    assert [json.loads(line) for line in lines] == [
        {"event": "job_run", "severity": "INFO", "job": "usage_reporter", "sealed": 3},
        {"event": "job_run", "severity": "ERROR", "at": "2026-03-01 00:00:00+00:00", "text": "two\nlines"},
    ]
