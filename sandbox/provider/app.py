"""The double as one web application: both APIs over one ledger, and what tests ask of it."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.provider import anthropic_api, openai_api
from sandbox.provider.calls import Provider, refused
from sandbox.provider.dialects import ANTHROPIC, OPENAI, RefusalError
from sandbox.provider.ledger import Ledger
from tallygate.clock import Clock


def provider_app(state: Path, clock: Clock) -> Starlette:
    """The double, with its ledger under ``state``."""
    provider = Provider(Ledger(state / "ledger.sqlite"), clock)

    async def health(_: Request) -> Response:
        return JSONResponse({})

    async def ledger(request: Request) -> Response:
        """All rows, or with ``?request_id=`` those of one request."""
        return JSONResponse({"rows": provider.ledger.rows(request.query_params.get("request_id"))})

    async def models(request: Request) -> Response:
        return anthropic_api.list_models() if _is_anthropic(request) else openai_api.list_models()

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        return anthropic_api.one_model(name) if _is_anthropic(request) else openai_api.one_model(name)

    return Starlette(
        routes=[
            *openai_api.routes(provider),
            *anthropic_api.routes(provider),
            Route("/v1/models", models),
            Route("/v1/models/{name}", model),
            *provider.faults.routes(),
            Route("/_sandbox/health", health),
            Route("/_sandbox/ledger", ledger),
        ],
        exception_handlers={HTTPException: _unknown_url},
    )


def _is_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers


async def _unknown_url(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "the handler is registered for this kind"
    text = f"Invalid URL ({request.method} {request.url.path})"
    dialect = ANTHROPIC if _is_anthropic(request) else OPENAI
    return refused(RefusalError(error.status_code, text), dialect, "unknown")
