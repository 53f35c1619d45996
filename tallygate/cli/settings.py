"""What the operators' commands read from their environment: the names that the deployables use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallygate.appdb import Database, open_database
from tallygate.catalogue import load_catalogue
from tallygate.clock import Clock, SystemClock
from tallygate.plans import Plan, load_plans
from tallygate.settings import Environment, app_database, clock_setting


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Where the gateway's data is."""

    project_id: str
    app_database: str
    clock: Clock


def operator_settings(variables: Mapping[str, str] | None = None) -> OperatorSettings:
    """Read the environment.

    Raises:
        ConfigurationError: with every problem at once.
    """
    environment = Environment(variables)
    clock: Clock = SystemClock()
    settings = OperatorSettings(
        project_id=environment.text("TALLYGATE_PROJECT_ID"),
        app_database=environment.parsed("TALLYGATE_APP_DATABASE", app_database, empty=""),
        clock=environment.parsed("TALLYGATE_CLOCK", clock_setting, default="system", empty=clock),
    )
    environment.check()
    return settings


def plans_by_name(clock: Clock, variables: Mapping[str, str] | None = None) -> Mapping[str, Plan]:
    """The environment's plans: of the files that ``TALLYGATE_CATALOGUE`` and ``TALLYGATE_PLANS`` name.

    Raises:
        ConfigurationError: with every problem at once.
    """
    environment = Environment(variables)
    catalogue = environment.text("TALLYGATE_CATALOGUE")
    plans = environment.text("TALLYGATE_PLANS")
    environment.check()
    return load_plans(Path(plans), load_catalogue(Path(catalogue), now=clock.now())).plans


@contextmanager
def database(settings: OperatorSettings) -> Iterator[Database]:
    """The app database, closed at the end of the block."""
    opened = open_database(settings.app_database, project_id=settings.project_id)
    try:
        yield opened
    finally:
        opened.close()
