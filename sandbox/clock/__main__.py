"""``python -m sandbox.clock``: the clock and the scheduler of a sandbox, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.clock.jobs import load_jobs
from sandbox.clock.steps import SandboxClock
from sandbox.faults import FaultError, FaultRegistry
from sandbox.layout import REPOSITORY
from tallygate.appdb import faults as appdb_faults
from tallygate.clock import clock_from, rfc3339

JOBS: Final = REPOSITORY / "modules" / "scheduler" / "jobs.json"
LONGEST_ADVANCE_SECONDS: Final = 400 * 86_400
"""A year and some: a larger number is a slip."""


def clock_app(clock: SandboxClock, app_database: Path, *, scheduler: bool) -> Starlette:
    """The HTTP face of the clock, and of the app database's faults (which no server of its own has)."""
    faults = FaultRegistry(appdb_faults.KINDS)
    faults_file = appdb_faults.faults_path(app_database)

    async def health(_: Request) -> Response:
        return JSONResponse({"now": rfc3339(clock.now())})

    async def advance(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"now": rfc3339(clock.now())})
        try:
            seconds = _seconds(await request.json())
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        try:
            now = await asyncio.to_thread(clock.advance, seconds)
        except httpx.HTTPError as error:
            return JSONResponse({"error": f"a part did not keep up: {error}"}, status_code=503)
        return JSONResponse({"now": rfc3339(now)})

    async def app_database_faults(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"faults": appdb_faults.armed(faults_file)})
        if request.method == "DELETE":
            faults_file.unlink(missing_ok=True)
            return JSONResponse({})
        try:
            fault = faults.arm(_object(await request.json()))
        except (FaultError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        appdb_faults.arm(faults_file, fault.describe())
        return JSONResponse({"fault_id": fault.fault_id})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        ticking = asyncio.create_task(_keep_up(clock)) if scheduler else None
        yield
        if ticking:
            ticking.cancel()
        await asyncio.to_thread(clock.close)

    routes = [
        Route("/_sandbox/health", health),
        Route("/_sandbox/clock", advance, methods=["GET", "POST"]),
        Route("/_sandbox/faults", app_database_faults, methods=["GET", "POST", "DELETE"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise FaultError('send an object, as {"kind": "outage", "count": 1}')
    return body


def _seconds(body: Any) -> float:
    seconds = body.get("advance_seconds") if isinstance(body, dict) else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise ValueError('send {"advance_seconds": n} with a number')
    # false for NaN and the infinities too, which JSON as Python reads it can name
    if not 0 <= seconds <= LONGEST_ADVANCE_SECONDS:
        raise ValueError(
            f"advance_seconds must be between 0 and {LONGEST_ADVANCE_SECONDS}: time moves forward"
        )
    return seconds


async def _keep_up(clock: SandboxClock) -> None:
    while True:
        await asyncio.to_thread(clock.keep_up)
        await asyncio.sleep(1)


def main(
    port: Annotated[int, typer.Option()],
    clock: Annotated[str, typer.Option(help="file:<path> of the clock file")],
    state: Annotated[Path, typer.Option()],
    stripe: Annotated[str, typer.Option(help="URL of the Stripe double")],
    router: Annotated[str, typer.Option(help="URL of the log router")],
    app_database: Annotated[Path, typer.Option(help="SQLite file of the app database")],
    function: Annotated[list[str], typer.Option(help="name=url of a function")],
    scheduler: Annotated[bool, typer.Option()] = True,
) -> None:
    """Serve the clock."""
    del state  # what it knows is in the clock file
    functions = dict(entry.split("=", 1) for entry in function)
    path = Path(clock.removeprefix("file:"))
    jobs = load_jobs(JOBS, clock_from(clock).now()) if scheduler else []
    sandbox_clock = SandboxClock(path, [router, stripe], functions, jobs)
    app = clock_app(sandbox_clock, app_database, scheduler=scheduler)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    typer.run(main)
