"""What the usage reporter reads from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from tallygate.clock import Clock, SystemClock
from tallygate.secrets import FileSecrets, Secrets, secrets_from
from tallygate.settings import (
    UNSET,
    Environment,
    app_database,
    base_url,
    clock_setting,
    dataset_id,
    endpoint,
    file_path,
)
from tallygate.stripe_key import check_mode


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
    cloudevents_url: str | None
    """Where usage is sent instead of to Stripe; None: to Stripe."""
    bigquery_emulator: bool
    catalogue: Path | None
    """Where the prices are that usage without one can be given later; None: such a request is refused."""
    invoice_grace: timedelta
    """How long after a period's end Stripe keeps its invoice open by itself."""
    invoice_hold: timedelta
    """How long the sync holds it open for what is sealed and not sent."""
    one_off_minimum_cents: int
    """Usage after the last invoice that costs less is waived."""
    one_off_after: timedelta
    """So long no more of it must have come before it is decided."""

    def check_stripe_key(self, key: str) -> None:
        """A key of the other mode would bill the wrong account.

        Raises:
            ConfigurationError: unless the key is of the mode that ``TALLYGATE_LIVEMODE`` says.
        """
        check_mode(key, livemode=self.livemode)


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
        dataset_raw=environment.parsed("TALLYGATE_DATASET_RAW", dataset_id, default="usage_raw", empty=""),
        dataset_ledger=environment.parsed("TALLYGATE_DATASET_LEDGER", dataset_id, default="ledger", empty=""),
        app_database=environment.parsed("TALLYGATE_APP_DATABASE", app_database, empty=""),
        secrets=environment.parsed(
            "TALLYGATE_SECRETS",
            partial(secrets_from, project_id=project_id),
            default="google",
            empty=no_secrets,
        ),
        clock=environment.parsed("TALLYGATE_CLOCK", clock_setting, default="system", empty=system_clock),
        livemode=environment.flag("TALLYGATE_LIVEMODE", default=False),
        stripe_api_base=environment.parsed("TALLYGATE_STRIPE_API_BASE", base_url, default=UNSET, empty=None),
        cloudevents_url=environment.parsed("TALLYGATE_CLOUDEVENTS_URL", endpoint, default=UNSET, empty=None),
        bigquery_emulator=environment.text("BIGQUERY_EMULATOR_HOST", default=UNSET) != UNSET,
        catalogue=environment.parsed("TALLYGATE_CATALOGUE", file_path, default=UNSET, empty=None),
        invoice_grace=timedelta(
            seconds=environment.number(
                "TALLYGATE_INVOICE_GRACE_SECONDS", default=3600, minimum=900, maximum=72 * 3600
            )
        ),
        invoice_hold=timedelta(
            hours=environment.number("TALLYGATE_INVOICE_HOLD_HOURS", default=6, minimum=1, maximum=72)
        ),
        one_off_minimum_cents=environment.number(
            "TALLYGATE_ONE_OFF_MINIMUM_CENTS", default=100, maximum=100_000
        ),
        one_off_after=timedelta(
            hours=environment.number("TALLYGATE_ONE_OFF_AFTER_HOURS", default=24, minimum=1, maximum=720)
        ),
    )
    environment.check()
    return settings
