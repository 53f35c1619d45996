"""``tallygate --sandbox``: every command reaches what ``state.json`` names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sandbox.layout import Layout
from sandbox.state import write_state
from tallygate.appdb import open_database
from tallygate.cli.errors import OperatorError
from tallygate.cli.sandbox import sandbox_environment
from tallygate.tenants import get_tenant
from tests.tallygate.cli.conftest import Run


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "box")
    layout.secrets.mkdir(parents=True)
    state = {
        "project_id": "tallygate-sandbox",
        "app_database": f"sqlite:{layout.app_database}",
        "dataset_raw": "usage_raw",
        "dataset_ledger": "ledger",
        "stripe_url": "http://127.0.0.1:1",
        "bigquery_url": "http://127.0.0.1:2",
        "functions": {"usage_reporter": "http://127.0.0.1:3", "usage_reconciler": "http://127.0.0.1:6"},
    }
    write_state(layout.state, state)
    layout.clock.write_text("0")
    return layout


def test_its_files_lie_where_the_sandbox_keeps_them(layout: Layout) -> None:
    variables = sandbox_environment(layout.root)

    assert variables == sandbox_environment(layout.state)
    assert variables["TALLYGATE_SECRETS"] == f"file:{layout.secrets}"
    assert variables["TALLYGATE_CLOCK"] == f"file:{layout.clock}"
    assert variables["TALLYGATE_CATALOGUE"] == str(layout.catalogue)
    assert variables["TALLYGATE_PLANS"] == str(layout.plans)


def test_a_command_works_on_it_whatever_the_environment_says(
    run: Run, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = Path(os.environ["TALLYGATE_PLANS"]).parent
    for path in (layout.catalogue, layout.plans):
        path.write_text((configuration / path.name).read_text())
    for name, value in sandbox_environment(layout.root).items():
        monkeypatch.setenv(name, os.environ.get(name, value))  # put back after the test

    made = json.loads(
        run("--sandbox", str(layout.root), "tenants", "add", "acme", "--plan", "team", "--json")
    )

    database = open_database(f"sqlite:{layout.app_database}", project_id="p")
    assert made["tenant_id"] == "acme"
    assert get_tenant(database, "acme") is not None
    database.close()


def test_a_sandbox_that_does_not_run_is_told(tmp_path: Path, layout: Layout) -> None:
    with pytest.raises(OperatorError, match="start a sandbox with 'make sandbox'"):
        sandbox_environment(tmp_path / "none")

    layout.state.write_text('{"schema_version": 99}')
    with pytest.raises(OperatorError, match="another version"):
        sandbox_environment(layout.root)
