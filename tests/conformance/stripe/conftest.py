"""One account for all tests: the double, or a real sandbox when STRIPE_TEST_KEY holds its key."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest
import stripe

from tests.sandbox.stripe.double import Host

_KEY: Final = os.environ.get("STRIPE_TEST_KEY", "")
"""Read before the tests' environment is cleared."""
_CONNECT: Final[Any] = socket.socket.connect


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stripe.StripeClient]:
    if _KEY:
        assert "_test_" in _KEY, "STRIPE_TEST_KEY must be a test key: the suite makes and deletes objects"
        yield stripe.StripeClient(_KEY, max_network_retries=2)
        return
    host = Host()
    host.start()
    with host.running(tmp_path_factory.mktemp("stripe")) as double:
        yield double.client()
    host.stop()


@pytest.fixture
def client(account: stripe.StripeClient, monkeypatch: pytest.MonkeyPatch) -> stripe.StripeClient:
    if _KEY:  # the one suite that may leave this machine, and only when asked to
        monkeypatch.setattr(socket.socket, "connect", _CONNECT)
    return account
