"""Functions as they are deployed: loaded by path with functions-framework, called over WSGI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from flask.testing import FlaskClient
from functions_framework import create_app

from sandbox.layout import PROJECT_ID, REPOSITORY
from tallygate.clock import write_offset
from tests.sandbox.stripe.double import Host
from tests.support.host import Host as ServerHost
from tests.support.stage import APP_DATABASE, BEGIN, Stage, stage

SOURCE: Final = REPOSITORY / "functions" / "main.py"
API_KEY: Final = "sk_test_of_the_functions"


def environment(here: Stage) -> dict[str, str]:
    """What a function finds in its environment when it works on a stage."""
    secrets = here.folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "stripe-api-key").write_text(API_KEY)
    offset = here.folder / "clock"
    write_offset(offset, here.now - datetime.now(UTC))
    return {
        "TALLYGATE_PROJECT_ID": PROJECT_ID,
        "TALLYGATE_APP_DATABASE": f"sqlite:{here.folder / APP_DATABASE}",
        "TALLYGATE_SECRETS": f"file:{secrets}",
        "TALLYGATE_CLOCK": f"file:{offset}",
        "TALLYGATE_STRIPE_API_BASE": here.stripe.url,
        "BIGQUERY_EMULATOR_HOST": here.bigquery_url,
    }


@contextmanager
def stage_of_functions(folder: Path, bigquery_host: ServerHost, stripe_host: Host) -> Iterator[Stage]:
    """A stage whose clock is a little ahead of what the functions see: theirs runs on, this one stands."""
    with stage(folder, bigquery_host, stripe_host, BEGIN + timedelta(minutes=3)) as here:
        yield here


def function(name: str, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A client of the function, started with these variables."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    app = create_app(name, str(SOURCE))
    client: Any = app.test_client()
    assert isinstance(client, FlaskClient)
    return client
