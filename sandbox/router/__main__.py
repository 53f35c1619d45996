"""``python -m sandbox.router``: Cloud Logging and its sinks, from a folder of log files into BigQuery."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
import uvicorn
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.faults import FaultRegistry
from sandbox.router.faults import KINDS
from sandbox.router.journal import Journal
from sandbox.router.router import Router
from sandbox.router.sinks import sinks
from sandbox.router.warehouse import Warehouse
from tallygate.clock import clock_from, rfc3339

LOOK_SECONDS: Final = 0.3
"""How often new lines are looked for, in real time."""


def router_app(router: Router) -> Starlette:
    """The HTTP face of a router, which works by itself too."""
    background: list[asyncio.Task[None]] = []

    def look() -> None:
        """Raise what ended the work in the background, if something did."""
        for task in background:
            if task.done():
                task.result()

    async def health(_: Request) -> Response:
        look()
        return JSONResponse({})

    async def next_effect(_: Request) -> Response:
        at = await asyncio.to_thread(router.next_due)
        return JSONResponse({"at": None if at is None else rfc3339(at)})

    async def tick(_: Request) -> Response:
        await asyncio.to_thread(router.work)
        return JSONResponse({})

    async def keep_up() -> None:
        while True:
            await asyncio.to_thread(router.work)
            await asyncio.sleep(LOOK_SECONDS)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        background.append(asyncio.create_task(keep_up()))
        yield
        background[0].cancel()

    routes = [
        Route("/_sandbox/health", health),
        Route("/_sandbox/next", next_effect),
        Route("/_sandbox/tick", tick, methods=["POST"]),
        *router.faults.routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main(
    port: Annotated[int, typer.Option()],
    state: Annotated[Path, typer.Option()],
    log_dir: Annotated[Path, typer.Option(help="Folder of the log files.")],
    bigquery_url: Annotated[str, typer.Option("--bigquery", help="URL of BigQuery.")],
    project: Annotated[str, typer.Option()],
    dataset_raw: Annotated[str, typer.Option()],
    clock: Annotated[str, typer.Option()] = "system",
) -> None:
    """Route log lines until a signal."""
    os.environ["BIGQUERY_EMULATOR_HOST"] = bigquery_url
    client = bigquery.Client(project=project, credentials=AnonymousCredentials())
    router = Router(
        folder=log_dir,
        project=project,
        journal=Journal(state / "router.sqlite"),
        warehouse=Warehouse(client, dataset_raw),
        sinks=sinks(),
        clock=clock_from(clock),
        faults=FaultRegistry(KINDS),
    )
    uvicorn.run(router_app(router), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    typer.run(main)
