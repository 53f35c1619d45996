"""Runs the smoke test at one of three places. What each needs is imported there: it takes seconds to load."""

from __future__ import annotations

import tempfile
from pathlib import Path

from delivery.environments import Environment
from delivery.errors import CannotRunError
from delivery.smoke.site import Result


def smoke_environment(target: Environment) -> list[Result]:
    """Ask an environment in Google Cloud.

    Raises:
        CannotRunError: when its address, a key or a right is missing.
    """
    from delivery.smoke.checks import run_checks
    from delivery.smoke.cloud_site import cloud_site

    return run_checks(cloud_site(target), tell=_tell)


def smoke_sandbox(root: Path) -> list[Result]:
    """Ask a sandbox that runs.

    Raises:
        CannotRunError: when none runs there.
    """
    from delivery.smoke.checks import run_checks
    from delivery.smoke.sandbox_site import sandbox_site
    from sandbox.layout import Layout

    return run_checks(sandbox_site(Layout(root)), tell=_tell)


def smoke_own_sandbox() -> list[Result]:
    """Start a sandbox, ask it, end it.

    Raises:
        CannotRunError: when it does not start.
    """
    from sandbox.demo.__main__ import CouldNotRunError, own_sandbox
    from sandbox.demo.display import make_display
    from sandbox.layout import Layout

    with tempfile.TemporaryDirectory(prefix="tallygate-smoke-") as folder:
        root = Path(folder) / "sandbox"
        try:
            with own_sandbox(make_display(), Layout(root)):
                return smoke_sandbox(root)
        except CouldNotRunError as error:
            raise CannotRunError(str(error)) from error


def _tell(result: Result) -> None:
    print(f"{result.outcome:<9} {result.check:<32} {result.detail}", flush=True)
