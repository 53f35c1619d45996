"""``python -m sandbox.stripe``: Stripe on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
import uvicorn

from sandbox.stripe.app import stripe_app
from sandbox.stripe.limits import BASIC_PER_SECOND, METER_EVENTS_PER_SECOND
from sandbox.stripe.sender import AT_ONCE
from tallygate.clock import clock_from

KEPT_ALIVE_SECONDS: Final = 120


def main(
    port: Annotated[int, typer.Option()],
    state: Annotated[Path, typer.Option()],
    clock: Annotated[str, typer.Option()] = "system",
    rate_limit: Annotated[float, typer.Option(help="calls a second")] = BASIC_PER_SECOND,
    meter_event_rate_limit: Annotated[
        float, typer.Option(help="meter events a second")
    ] = METER_EVENTS_PER_SECOND,
    webhooks_at_once: Annotated[int, typer.Option(help="posts to endpoints in flight", min=1)] = AT_ONCE,
) -> None:
    """Serve the account that is kept under ``state``."""
    app = stripe_app(
        state,
        clock_from(clock),
        basic_per_second=rate_limit,
        meter_events_per_second=meter_event_rate_limit,
        webhooks_at_once=webhooks_at_once,
    )
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        log_level="error",
        access_log=False,
        ws="none",
        # A client that finds its idle connection closed can't tell whether its request was carried out.
        timeout_keep_alive=KEPT_ALIVE_SECONDS,
    )


if __name__ == "__main__":
    typer.run(main)
