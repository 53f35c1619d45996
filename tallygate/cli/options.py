"""Options that commands share, and the question before one that does harm."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tallygate.cli.errors import OperatorError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
TenantId = Annotated[str, typer.Argument(help="For example acme.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is done that somebody may feel.

    Raises:
        OperatorError: when the answer is no, or nobody is there to answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise OperatorError(f"{question} Nothing was done: say --yes to do it.")
    if not typer.confirm(question, err=True):
        raise OperatorError("Nothing was done.")
