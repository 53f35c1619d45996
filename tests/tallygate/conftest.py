"""The app databases that the contract suite runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tallygate.appdb import firestore
from tests.support.firestore_emulator import MISSING, firestore_emulator, installed


@pytest.fixture(scope="session")
def emulator_address(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Firestore emulator; without one, a stated skip, or a failure where emulators are required."""
    if not installed():
        if os.environ.get("TALLYGATE_REQUIRE_EMULATORS") == "1":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with firestore_emulator(tmp_path_factory.mktemp("firestore")) as address:
        yield address


@pytest.fixture
def emulated_firestore(emulator_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Firestore is the emulator, which may take longer on a loaded machine than Firestore may."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator_address)
    monkeypatch.setattr(firestore, "_RETRY", firestore._RETRY.with_timeout(60))
    monkeypatch.setattr(firestore, "_TIMEOUT_SECONDS", 60)
