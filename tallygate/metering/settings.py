"""What the usage reporter reads from its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from tallygate.clock import Clock, SystemClock, clock_from
from tallygate.schemas import ConfigurationError
from tallygate.secrets import FileSecrets, Secrets, secrets_from
from tallygate.settings import Environment

_NONE: Final = "none"
_DATASET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,1023}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterSettings:
    """What the usage reporter needs."""

    project_id: str
    dataset_raw: str
    dataset_ledger: str
    app_database: str
    secrets: Secrets
    clock: Clock
    livemode: bool
    stripe_api_base: str | None
    """None: Stripe itself."""
    bigquery_emulator: bool
    invoice_grace: timedelta
    """How long after a period's end Stripe keeps its invoice open."""

    def check_stripe_key(self, key: str) -> None:
        """A key of the other mode would bill the wrong account.

        Raises:
            ConfigurationError: unless the key is of the mode that ``TALLYGATE_LIVEMODE`` says.
        """
        is_live = "_live_" in key
        if is_live != self.livemode:
            raise ConfigurationError(
                [
                    f"the secret stripe-api-key holds a {'live' if is_live else 'test'} key but "
                    f"TALLYGATE_LIVEMODE is {'true' if self.livemode else 'false'}: change one of them"
                ]
            )


def reporter_settings(variables: Mapping[str, str] | None = None) -> ReporterSettings:
    """Read the environment.

    Raises:
        ConfigurationError: with every problem at once.
    """
    environment = Environment(variables)
    project_id = environment.text("TALLYGATE_PROJECT_ID")
    system_clock: Clock = SystemClock()
    no_secrets: Secrets = FileSecrets(folder=Path())
    settings = ReporterSettings(
        project_id=project_id,
        dataset_raw=environment.parsed("TALLYGATE_DATASET_RAW", _dataset, default="usage_raw", empty=""),
        dataset_ledger=environment.parsed("TALLYGATE_DATASET_LEDGER", _dataset, default="ledger", empty=""),
        app_database=environment.parsed("TALLYGATE_APP_DATABASE", _app_database, empty=""),
        secrets=environment.parsed(
            "TALLYGATE_SECRETS",
            partial(secrets_from, project_id=project_id),
            default="google",
            empty=no_secrets,
        ),
        clock=environment.parsed("TALLYGATE_CLOCK", _clock, default="system", empty=system_clock),
        livemode=environment.flag("TALLYGATE_LIVEMODE", default=False),
        stripe_api_base=environment.parsed("TALLYGATE_STRIPE_API_BASE", _url, default=_NONE, empty=None),
        bigquery_emulator=environment.text("BIGQUERY_EMULATOR_HOST", default=_NONE) != _NONE,
        invoice_grace=timedelta(
            seconds=environment.number(
                "TALLYGATE_INVOICE_GRACE_SECONDS", default=3600, minimum=900, maximum=72 * 3600
            )
        ),
    )
    environment.check()
    return settings


def _dataset(text: str) -> str:
    if not _DATASET.fullmatch(text):
        raise ValueError(f"must be a BigQuery dataset id, not {text!r}")
    return text


def _app_database(text: str) -> str:
    kind, _, name = text.partition(":")
    if kind not in ("firestore", "sqlite") or not name:
        raise ValueError(f"must be 'firestore:<database>' or 'sqlite:<path>', not {text!r}")
    return text


def _clock(text: str) -> Clock:
    try:
        return clock_from(text)
    except OSError as error:
        raise ValueError(f"the clock's file can't be read: {error}") from error


def _url(text: str) -> str | None:
    if text == _NONE:
        return None
    if not re.fullmatch(r"https?://[^/\s]+", text):
        raise ValueError(f"must be a URL without a path, not {text!r}")
    return text
