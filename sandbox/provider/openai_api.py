"""OpenAI's API: its endpoints, embeddings and the list of models."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.provider import validation
from sandbox.provider.calls import Call, Endpoint, Provider, refused, unknown_model
from sandbox.provider.counting import inputs
from sandbox.provider.dialects import OPENAI, RefusalError
from sandbox.provider.models import CHAT, DIMENSIONS, EMBEDDING, OPENAI_LISTED
from sandbox.provider.openai_chat import (
    CHAT_ENDPOINT,
    COMPLETION_ENDPOINT,
    chat,
    chat_stream,
    check_inputs,
    completion,
    completion_stream,
    reports_in_stream,
)
from sandbox.provider.openai_responses import ENDPOINT as RESPONSE_ENDPOINT
from sandbox.provider.openai_responses import response, response_stream

_CREATED: Final = 1_735_689_600
"""All listed models are as old: 2025-01-01."""


def _check_embedding(body: Mapping[str, Any]) -> None:
    check_inputs(body)
    if body.get("encoding_format", "float") not in ("float", "base64"):
        raise RefusalError(400, "'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
    model = body["model"]
    if "dimensions" not in body:
        return
    if model.endswith("ada-002"):
        raise RefusalError(400, "This model does not support specifying dimensions.", param="dimensions")
    if body["dimensions"] > DIMENSIONS[model]:
        raise OPENAI.out_of_range("dimensions", "maximum", DIMENSIONS[model])


EMBEDDING_ENDPOINT: Final = Endpoint(
    OPENAI, "embeddings", EMBEDDING, validation.EMBEDDING, check=_check_embedding, answers=lambda _: 0
)


def routes(provider: Provider) -> list[Route]:
    """The endpoints, under ``/v1``."""

    async def chat_completions(request: Request) -> Response:
        call = await provider.open(request, CHAT_ENDPOINT)
        if isinstance(call, Response):
            return call
        if call.stream:
            return provider.stream(call, *chat_stream(call), reports=reports_in_stream(call))
        return await provider.answer(call, chat(call))

    async def completions(request: Request) -> Response:
        call = await provider.open(request, COMPLETION_ENDPOINT)
        if isinstance(call, Response):
            return call
        if call.stream:
            return provider.stream(call, *completion_stream(call), reports=reports_in_stream(call))
        return await provider.answer(call, completion(call))

    async def embeddings(request: Request) -> Response:
        call = await provider.open(request, EMBEDDING_ENDPOINT)
        if isinstance(call, Response):
            return call
        return await provider.answer(call, _embeddings(call))

    async def responses(request: Request) -> Response:
        call = await provider.open(request, RESPONSE_ENDPOINT)
        if isinstance(call, Response):
            return call
        if call.stream:
            return provider.stream(call, *response_stream(call), reports=True)
        return await provider.answer(call, response(call))

    return [
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/responses", responses, methods=["POST"]),
    ]


def list_models() -> Response:
    """The list of models."""
    return JSONResponse({"object": "list", "data": [_model(name) for name in OPENAI_LISTED]})


def one_model(name: str) -> Response:
    """One model, listed or not."""
    if not (CHAT.fullmatch(name) or EMBEDDING.fullmatch(name) or name in OPENAI_LISTED):
        return refused(unknown_model(name, OPENAI), OPENAI, "models")
    return JSONResponse(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}


def _embeddings(call: Call) -> dict[str, Any]:
    size = call.body.get("dimensions") or DIMENSIONS[call.charge.model]
    packed = call.body.get("encoding_format") == "base64"
    vectors = [_vector(str(one), size) for one in inputs(call.body)]
    found = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    answer: dict[str, Any] = {"object": "list", "data": found, "model": call.charge.model}
    tokens = {"prompt_tokens": call.charge.prompt, "total_tokens": call.charge.prompt}
    return answer | ({"usage": tokens} if call.reports else {})


@lru_cache(maxsize=256)
def _vector(text: str, size: int) -> tuple[float, ...]:
    """A vector of length 1 that is the same for the same text."""
    numbers = [byte - 127.5 for byte in hashlib.shake_256(text.encode("utf-8", "replace")).digest(size)]
    length = math.sqrt(sum(number * number for number in numbers))
    return tuple(number / length for number in numbers)


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
