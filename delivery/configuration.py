"""What an environment's three files must be before anything is planned with them."""

from __future__ import annotations

from datetime import UTC, datetime

from delivery.environments import Environment
from delivery.errors import DeliveryError
from delivery.release_file import Release, checked_release
from tallygate.catalogue import load_catalogue
from tallygate.plans import load_plans
from tallygate.schemas import ConfigurationError


def check_configuration(target: Environment) -> Release:
    """Check release file, catalogue and plans together; the release.

    Raises:
        DeliveryError: with every problem of all three.
    """
    problems: list[str] = []
    release: Release | None = None
    try:
        release = checked_release(target.release_file)
    except DeliveryError as error:
        problems += error.problems
    try:
        catalogue = load_catalogue(target.folder / "catalogue.json", now=datetime.now(UTC))
        load_plans(target.folder / "plans.json", catalogue)
    except ConfigurationError as error:
        problems += error.problems
    if problems or release is None:
        raise DeliveryError(*problems)
    return release
