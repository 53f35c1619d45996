"""``python -m sandbox.provider``: OpenAI and Anthropic on loopback."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final

import typer
import uvicorn

from sandbox.provider.app import provider_app
from sandbox.provider.calls import WithoutCuts
from tallygate.clock import clock_from

_GRACE_SECONDS: Final = 2
"""What is still running then, such as an answer that never comes, is cut off."""


def main(
    port: Annotated[int, typer.Option()],
    state: Annotated[Path, typer.Option(help="folder of the ledger")],
    clock: Annotated[str, typer.Option()] = "system",
) -> None:
    """Serve both APIs."""
    app = provider_app(state, clock_from(clock))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )  # fmt: skip
    logging.getLogger("uvicorn.error").addFilter(WithoutCuts())
    uvicorn.Server(config).run()


if __name__ == "__main__":
    typer.run(main)
