"""Terraform, run in an environment's folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from delivery.environments import Environment
from delivery.errors import CannotRunError

_BACKEND: Final = "backend.hcl"
_DENIED: Final = re.compile(
    r"Error 403|PERMISSION_DENIED|[Pp]ermission '[^']+' denied|does not have \S+ access"
)
_LOCKED: Final = "Error acquiring the state lock"
_STALE: Final = "Saved plan is stale"


def init(target: Environment) -> None:
    """Prepare the folder: providers, modules, the state's place.

    Raises:
        CannotRunError: when Terraform refuses.
    """
    arguments = ["init", "-input=false", "-no-color"]
    if (target.folder / _BACKEND).exists():
        arguments.append(f"-backend-config={_BACKEND}")
    run(target, arguments)


def show(target: Environment, plan: Path) -> dict[str, Any]:
    """A saved plan as data.

    Raises:
        CannotRunError: when Terraform can't read it.
    """
    content: dict[str, Any] = json.loads(run(target, ["show", "-json", str(plan)], quiet=True))
    return content


def run(target: Environment, arguments: Sequence[str], *, quiet: bool = False) -> str:
    """The output of one command, which is also passed on unless quiet.

    Raises:
        CannotRunError: when it fails; says what to do where that is known.
    """
    environment = {**os.environ, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    try:
        done = subprocess.run(
            ["terraform", *arguments], cwd=target.folder, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise CannotRunError(
            "terraform is not on PATH: https://developer.hashicorp.com/terraform/install"
        ) from error
    if not quiet:
        print(done.stdout, end="", flush=True)
    if done.returncode:
        print(done.stderr, end="", file=sys.stderr, flush=True)
        raise CannotRunError(f"terraform {arguments[0]} failed for {target.name}{_advice(done.stderr)}")
    return done.stdout


def _advice(stderr: str) -> str:
    if _DENIED.search(stderr):
        return (
            ": the pipeline's identity lacks the right named above; add it to the planner or the applier in "
            "terraform/bootstrap and apply that first"
        )
    if _STALE in stderr:
        return ": the state has changed since the plan was made; plan again, and let the new plan be reviewed"
    if _LOCKED in stderr:
        return ": another run holds the state; wait for it, or terraform force-unlock when it has died"
    return ": see above"
