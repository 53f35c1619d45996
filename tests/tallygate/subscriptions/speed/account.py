"""The Stripe double in a process of its own, which writes down when it was asked what.

One line for each call of the API: seconds since 1970, method and path.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from sandbox.stripe.app import stripe_app
from tallygate.clock import SystemClock

_UNLIMITED = 1e9
"""What the gateway asks is counted here instead; the measurement's own calls must not be refused."""


class Recorder:
    """Writes a line for each call of the API, then passes it on."""

    def __init__(self, app: Any, calls: Path) -> None:
        self._app = app
        self._file = calls.open("a", buffering=1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(("/v1/", "/v2/")):
            self._file.write(f"{time.time():.6f} {scope['method']} {scope['path']} {_customer(scope)}\n")
        await self._app(scope, receive, send)


def _customer(scope: Any) -> str:
    query: str = scope["query_string"].decode()
    return next((part[9:] for part in query.split("&") if part.startswith("customer=")), "-")


def main(
    port: Annotated[int, typer.Option()],
    state: Annotated[Path, typer.Option()],
    calls: Annotated[Path, typer.Option()],
) -> None:
    """Serve on a port."""
    app = stripe_app(state, SystemClock(), basic_per_second=_UNLIMITED, meter_events_per_second=_UNLIMITED)
    uvicorn.run(
        Recorder(app, calls), host="127.0.0.1", port=port, log_level="error", access_log=False, ws="none"
    )


if __name__ == "__main__":
    typer.run(main)
