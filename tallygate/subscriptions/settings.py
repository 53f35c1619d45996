"""What the functions that follow Stripe read from their environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from tallygate.catalogue import load_catalogue
from tallygate.clock import Clock, SystemClock
from tallygate.plans import Plans, load_plans
from tallygate.schemas import ConfigurationError
from tallygate.secrets import FileSecrets, Secrets, secrets_from
from tallygate.settings import UNSET, Environment, app_database, base_url, clock_setting, dataset_id, endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """What stripe_webhook and stripe_sync need."""

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
    """Where usage is sent instead of to Stripe: no invoice of Stripe waits for it then."""
    bigquery_emulator: bool
    plans: Plans
    grace: timedelta
    """How long a tenant is served after its oldest unpaid invoice was finalized."""
    invoice_grace: timedelta
    """How long after a period's end Stripe keeps its invoice open."""
    invoice_hold: timedelta
    """How long a draft is held for usage at most."""


def sync_settings(variables: Mapping[str, str] | None = None) -> SyncSettings:
    """Read the environment.

    Raises:
        ConfigurationError: with every problem at once, those of the plans and the catalogue too.
    """
    environment = Environment(variables)
    project_id = environment.text("TALLYGATE_PROJECT_ID")
    system_clock: Clock = SystemClock()
    no_secrets: Secrets = FileSecrets(folder=Path())
    clock = environment.parsed("TALLYGATE_CLOCK", clock_setting, default="system", empty=system_clock)
    settings = SyncSettings(
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
        clock=clock,
        livemode=environment.flag("TALLYGATE_LIVEMODE", default=False),
        stripe_api_base=environment.parsed("TALLYGATE_STRIPE_API_BASE", base_url, default=UNSET, empty=None),
        cloudevents_url=environment.parsed("TALLYGATE_CLOUDEVENTS_URL", endpoint, default=UNSET, empty=None),
        bigquery_emulator=environment.text("BIGQUERY_EMULATOR_HOST", default=UNSET) != UNSET,
        plans=_plans(environment, clock),
        grace=timedelta(days=environment.number("TALLYGATE_GRACE_DAYS", default=7, maximum=60)),
        invoice_grace=timedelta(
            seconds=environment.number(
                "TALLYGATE_INVOICE_GRACE_SECONDS", default=3600, minimum=900, maximum=72 * 3600
            )
        ),
        invoice_hold=timedelta(
            hours=environment.number("TALLYGATE_INVOICE_HOLD_HOURS", default=6, minimum=1, maximum=72)
        ),
    )
    environment.check()
    return settings


def _plans(environment: Environment, clock: Clock) -> Plans:
    catalogue = environment.parsed("TALLYGATE_CATALOGUE", Path, empty=None)
    plans = environment.parsed("TALLYGATE_PLANS", Path, empty=None)
    if catalogue is not None and plans is not None:
        try:
            return load_plans(plans, load_catalogue(catalogue, now=clock.now()))
        except ConfigurationError as error:
            environment.add_problems(error.problems)
    return Plans(plans={})
