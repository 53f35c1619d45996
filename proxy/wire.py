"""Listens where LiteLLM talks to the providers: every call is counted and its answer's bytes are kept.

LiteLLM's own callbacks run in a background worker, lose events on SIGTERM, estimate silently what was not
reported and are lost when they raise. The wire knows what the provider said, and how often it was asked.
It is reached through two settings that LiteLLM offers (``litellm.aclient_session`` and
``litellm.in_memory_llm_clients_cache``), not by changing its code.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

import httpx

REQUEST_ID_HEADER: Final = "x-tallygate-request-id"
"""An opaque id for providers on loopback, which are doubles: their ledger is compared by it."""
MOST_BYTES: Final = 16 * 2**20
"""Kept of one answer; beyond it the end is kept, where usage stands."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_END_MARKS: Final = (b"data: [DONE]", b"event: message_stop", b"event: response.completed")
"""What ends a stream; LiteLLM reads no further than the first."""
_MODEL: Final = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')


@dataclass(slots=True)
class Call:
    """One call to a provider."""

    provider_model: str | None
    status: int | None = None
    """None: no answer came."""
    content_type: str = ""
    complete: bool = False
    """The answer came to its end."""
    size: int = 0
    _chunks: list[bytes] = field(default_factory=list)

    def add(self, chunk: bytes) -> None:
        """Keep a piece of the answer."""
        self.size += len(chunk)
        self._chunks.append(chunk)
        if self.size > MOST_BYTES and len(self._chunks) > 1:
            self.size -= len(self._chunks.pop(0))

    @property
    def body(self) -> bytes:
        """What was received so far."""
        return b"".join(self._chunks)

    @property
    def ended(self) -> bool:
        """Whether the answer was complete: read to its end, or to the mark after which nothing follows."""
        if self.complete:
            return True
        tail = b"".join(self._chunks[-3:])
        return any(mark in tail for mark in _END_MARKS)

    @property
    def succeeded(self) -> bool:
        """Whether the provider answered with a result (which may have broken off)."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Wire:
    """The calls made for one request."""

    request_id: str
    calls: list[Call] = field(default_factory=list)


current: ContextVar[Wire | None] = ContextVar("wire", default=None)
"""The request on whose behalf a call is made."""


class Tap(httpx.AsyncBaseTransport):
    """A transport that notes each call of the current request and hands it on."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand on; the answer's stream is watched as it is read."""
        wire = current.get()
        if wire is None:
            return await self._inner.handle_async_request(request)
        call = Call(_model_of(request))
        wire.calls.append(call)
        request.headers["accept-encoding"] = "identity"  # the bytes are read here, before any decoding
        if request.url.host in _LOOPBACK:
            request.headers[REQUEST_ID_HEADER] = wire.request_id
        response = await self._inner.handle_async_request(request)
        call.status = response.status_code
        call.content_type = response.headers.get("content-type", "")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Watched(response.stream, call)
        return response

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._inner.aclose()


class _Watched(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, call: Call) -> None:
        self._inner = inner
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._call.add(chunk)
            yield chunk
        self._call.complete = True

    async def aclose(self) -> None:
        await self._inner.aclose()


def _model_of(request: httpx.Request) -> str | None:
    try:
        content = request.content
    except httpx.RequestNotRead:
        return None
    found = _MODEL.search(content)
    return found.group(1).decode() if found else None
