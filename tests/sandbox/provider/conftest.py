"""One double for all tests of a run: they keep apart by request id."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.provider.double import Double, new_double


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Double]:
    double = new_double(tmp_path_factory.mktemp("provider"))
    try:
        double.start()
        yield double
    finally:
        double.close()


@pytest.fixture
def double(_shared: Double) -> Iterator[Double]:
    """The shared double at the machine's time and without faults."""
    yield _shared
    _shared.advance(0)
    _shared.http.delete("/_sandbox/faults")
