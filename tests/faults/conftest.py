"""The servers that months are played on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stage import Hosts, hosts


@pytest.fixture(scope="session")
def servers() -> Iterator[Hosts]:
    with hosts() as here:
        yield here
