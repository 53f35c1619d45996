"""``python -m sandbox.stripe``: Stripe on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from sandbox.stripe.app import stripe_app
from sandbox.stripe.limits import BASIC_PER_SECOND, METER_EVENTS_PER_SECOND
from tallygate.clock import clock_from


def main(
    port: Annotated[int, typer.Option()],
    state: Annotated[Path, typer.Option()],
    clock: Annotated[str, typer.Option()] = "system",
    rate_limit: Annotated[float, typer.Option(help="calls a second")] = BASIC_PER_SECOND,
    meter_event_rate_limit: Annotated[
        float, typer.Option(help="meter events a second")
    ] = METER_EVENTS_PER_SECOND,
) -> None:
    """Serve the account that is kept under ``state``."""
    app = stripe_app(
        state,
        clock_from(clock),
        basic_per_second=rate_limit,
        meter_events_per_second=meter_event_rate_limit,
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, ws="none")


if __name__ == "__main__":
    typer.run(main)
