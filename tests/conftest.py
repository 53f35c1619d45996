"""Every test starts from the same place: a clean environment, a known seed, no way out of this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.support.parallel import FolderScheduling, rank

_CLEARED = (
    "TALLYGATE_", "STRIPE_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "BIGQUERY_", "FIRESTORE_", "LITELLM_", "K_",
    "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy", "TF_CLI_CONFIG_FILE",
)  # fmt: skip
_KEPT = ("TALLYGATE_REQUIRE_EMULATORS", "TALLYGATE_TERRAFORM_PROVIDER")

settings.register_profile(
    "tallygate",
    print_blob=True,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),  # on the build machine a failure is the change's, not the dice's
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("tallygate")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Tests that share a server run on one worker."""
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several workers run, the longest tests start first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> Iterator[None]:
    """No setting of the machine reaches a test or the processes that it starts."""
    saved = dict(os.environ)
    for name in saved:
        if name.startswith(_CLEARED) and name not in _KEPT:
            del os.environ[name]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # LiteLLM takes three times as long to start without .pyc
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine fails at once, and says so."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {host}: tests stay on this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
