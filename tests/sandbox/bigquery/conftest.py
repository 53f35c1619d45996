"""One façade for all tests of this folder; each test has a dataset of its own in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tallygate.clock import FixedClock
from tests.sandbox.bigquery.facade import START, Facade, client_of, in_this_process


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FixedClock]]:
    clock = FixedClock(START)
    with in_this_process(tmp_path_factory.mktemp("bigquery"), clock) as url:
        yield url, clock


@pytest.fixture
def facade(served: tuple[str, FixedClock]) -> Iterator[Facade]:
    url, clock = served
    client = client_of(url)
    here = Facade(url, client, clock, f"d_{uuid.uuid4().hex[:8]}")
    client.create_dataset(here.dataset)
    yield here
    httpx.delete(f"{url}/_sandbox/faults", trust_env=False)
    client.close()
