"""``python -m sandbox.provider``: OpenAI and Anthropic on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.provider import anthropic_api, openai_api
from sandbox.provider.answers import Provider
from sandbox.provider.ledger import Ledger


def provider_app(state: Path) -> Starlette:
    """Both APIs over one ledger."""
    provider = Provider(Ledger(state / "ledger.sqlite"))

    async def health(_: Request) -> Response:
        return JSONResponse({})

    async def ledger(_: Request) -> Response:
        return JSONResponse({"rows": provider.ledger.rows()})

    return Starlette(
        routes=[
            *openai_api.routes(provider),
            *anthropic_api.routes(provider),
            *provider.faults.routes(),
            Route("/_sandbox/health", health),
            Route("/_sandbox/ledger", ledger),
        ]
    )


def main(
    port: Annotated[int, typer.Option()],
    state: Annotated[Path, typer.Option()],
    clock: Annotated[str, typer.Option()] = "system",
) -> None:
    """Serve both APIs."""
    del clock  # providers date nothing that is billed
    uvicorn.run(provider_app(state), host="127.0.0.1", port=port, log_level="critical", access_log=False)


if __name__ == "__main__":
    typer.run(main)
