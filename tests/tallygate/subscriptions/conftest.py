"""A fresh warehouse and a fresh Stripe account for each test, and the functions between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stage import Stage
from tests.support.stage_fixtures import bigquery_host, on_stage, stripe_host
from tests.tallygate.subscriptions.shop import Shop, open_shop

__all__ = ["bigquery_host", "on_stage", "stripe_host"]


@pytest.fixture
def shop(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", on_stage.bigquery_url)
    with open_shop(on_stage) as here:
        yield here
