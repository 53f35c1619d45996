"""Fixtures around a stage, for the packages whose tests need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.stripe.double import Host
from tests.support.host import Host as ServerHost
from tests.support.stage import Stage, stage


@pytest.fixture(scope="session")
def bigquery_host() -> Iterator[ServerHost]:
    here = ServerHost()
    here.start()
    yield here
    here.stop()


@pytest.fixture(scope="session")
def stripe_host() -> Iterator[Host]:
    here = Host()
    here.start()
    yield here
    here.stop()


@pytest.fixture
def on_stage(tmp_path: Path, bigquery_host: ServerHost, stripe_host: Host) -> Iterator[Stage]:
    with stage(tmp_path, bigquery_host, stripe_host) as here:
        yield here
