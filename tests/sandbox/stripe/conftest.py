"""A fresh double for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from tests.sandbox.stripe.double import Double, Host, Receiver, Shop, open_shop, receiver


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    here = Host()
    here.start()
    yield here
    here.stop()


@pytest.fixture
def double(host: Host, tmp_path: Path) -> Iterator[Double]:
    with host.running(tmp_path / "stripe") as here:
        yield here


@pytest.fixture
def client(double: Double) -> stripe.StripeClient:
    return double.client()


@pytest.fixture
def shop(client: stripe.StripeClient) -> Shop:
    return open_shop(client)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as here:
        yield here
