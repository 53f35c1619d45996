"""What the reporter reads from its environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tallygate.metering.settings import reporter_settings
from tallygate.schemas import ConfigurationError
from tallygate.secrets import FileSecrets, GoogleSecrets

LEAST = {"TALLYGATE_PROJECT_ID": "p", "TALLYGATE_APP_DATABASE": "firestore:(default)"}


def problems(variables: dict[str, str]) -> list[str]:
    """What is wrong with an environment."""
    with pytest.raises(ConfigurationError) as refused:
        reporter_settings(variables)
    return refused.value.problems


def test_the_least_environment_is_that_of_google_cloud() -> None:
    settings = reporter_settings(LEAST)

    assert (settings.dataset_raw, settings.dataset_ledger) == ("usage_raw", "ledger")
    assert settings.secrets == GoogleSecrets("p")
    assert settings.stripe_api_base is None
    assert not settings.livemode
    assert not settings.bigquery_emulator
    assert settings.invoice_grace == timedelta(hours=1)


def test_the_sandbox_names_its_stand_ins(tmp_path: Path) -> None:
    more = {
        "TALLYGATE_SECRETS": f"file:{tmp_path}",
        "TALLYGATE_STRIPE_API_BASE": "http://127.0.0.1:8701",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:8702",
        "TALLYGATE_LIVEMODE": "true",
    }

    settings = reporter_settings(LEAST | more)

    assert settings.secrets == FileSecrets(tmp_path)
    assert settings.stripe_api_base == "http://127.0.0.1:8701"
    assert settings.bigquery_emulator
    assert settings.livemode


def test_an_empty_environment_names_all_that_is_missing() -> None:
    assert problems({}) == [
        "TALLYGATE_PROJECT_ID: is missing: set it",
        "TALLYGATE_APP_DATABASE: is missing: set it",
    ]


def test_every_bad_value_is_named_at_once() -> None:
    bad = {
        "TALLYGATE_PROJECT_ID": "p",
        "TALLYGATE_APP_DATABASE": "postgres:x",
        "TALLYGATE_DATASET_RAW": "usage-raw",
        "TALLYGATE_SECRETS": "vault",
        "TALLYGATE_CLOCK": "file:/no/such/file",
        "TALLYGATE_LIVEMODE": "yes",
        "TALLYGATE_STRIPE_API_BASE": "ftp://x",
        "TALLYGATE_INVOICE_GRACE_SECONDS": "60",
    }

    named = {problem.partition(":")[0] for problem in problems(bad)}

    assert named == set(bad) - {"TALLYGATE_PROJECT_ID"}


@pytest.mark.parametrize(
    ("livemode", "key", "fits"),
    [
        ("false", "sk_test_x", True),
        ("false", "rk_test_x", True),
        ("false", "sk_live_x", False),
        ("true", "rk_live_x", True),
        ("true", "sk_test_x", False),
    ],
)
def test_a_key_of_the_other_mode_is_refused_without_showing_it(livemode: str, key: str, fits: bool) -> None:
    settings = reporter_settings(LEAST | {"TALLYGATE_LIVEMODE": livemode})
    if fits:
        settings.check_stripe_key(key)
        return

    with pytest.raises(ConfigurationError) as refused:
        settings.check_stripe_key(key)

    assert "TALLYGATE_LIVEMODE" in refused.value.problems[0]
    assert key not in refused.value.problems[0]
