"""A running sandbox as the place that commands work on: its ``state.json`` as environment variables."""

from __future__ import annotations

import json
from pathlib import Path

from tallygate.cli.errors import OperatorError

_SCHEMA_VERSION = 1


def sandbox_environment(folder: Path) -> dict[str, str]:
    """The variables under which every command reaches the sandbox that runs in ``folder``.

    Raises:
        OperatorError: when none runs there.
    """
    path = folder / "state.json" if folder.name != "state.json" else folder
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        raise OperatorError(f"{path} can't be read: start a sandbox with 'make sandbox'") from None
    if state.get("schema_version") != _SCHEMA_VERSION:
        raise OperatorError(f"{path} is of another version: run the commands of the same checkout")
    root = path.parent.absolute()
    return {
        "TALLYGATE_PROJECT_ID": state["project_id"],
        "TALLYGATE_APP_DATABASE": state["app_database"],
        "TALLYGATE_DATASET_RAW": state["dataset_raw"],
        "TALLYGATE_DATASET_LEDGER": state["dataset_ledger"],
        "TALLYGATE_STRIPE_API_BASE": state["stripe_url"],
        "TALLYGATE_LIVEMODE": "false",
        "TALLYGATE_SECRETS": f"file:{root / 'secrets'}",
        "TALLYGATE_CLOCK": f"file:{root / 'clock'}",
        "TALLYGATE_CATALOGUE": str(root / "catalogue.json"),
        "TALLYGATE_PLANS": str(root / "plans.json"),
        "TALLYGATE_RECONCILER_URL": state["functions"]["usage_reconciler"],
        "TALLYGATE_REPORTER_URL": state["functions"]["usage_reporter"],
        "BIGQUERY_EMULATOR_HOST": state["bigquery_url"],
    }
