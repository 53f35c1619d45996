"""Listens where LiteLLM talks to the providers: every call is counted and its answer's bytes are kept.

LiteLLM's own callbacks run in a background worker, lose events on SIGTERM, estimate silently what was not
reported and are lost when they raise. The wire knows what the provider said, and how often it was asked.
It is reached through two settings that LiteLLM offers (``litellm.aclient_session`` and
``litellm.in_memory_llm_clients_cache``), not by changing its code.
"""

from __future__ import annotations

import re
import time
from collections import deque
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
STREAM_END: Final = re.compile(
    rb"(?:^|\n)(?:data: ?\[DONE\]|event: ?message_stop\b|"
    rb"event: ?response\.(?:completed|incomplete|failed)\b|"
    rb'data: ?\{"type": ?"response\.(?:completed|incomplete|failed)")'
)
"""What ends a stream of either API, at the start of a line, where no text of a model can stand.

LiteLLM reads no further than OpenAI's mark.
"""
_GEMINI_END: Final = re.compile(rb'(?<!\\)"finishReason"\s*:\s*"')
"""In the last event of a stream of Gemini, which has no mark of its own; it must also have ended."""
_TAIL_BYTES: Final = 2**20
"""The last event of a response holds the whole answer."""
_MODEL_IN_PATH: Final = re.compile(r"/models/([^/:]+):")
"""Gemini's requests name the model there, and not in their body."""
_MODEL: Final = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')


@dataclass(slots=True)
class Call:
    """One call to a provider."""

    provider_model: str | None
    url: str = ""
    status: int | None = None
    """None: no answer came."""
    content_type: str = ""
    complete: bool = False
    """The answer came to its end."""
    size: int = 0
    """Bytes that are kept."""
    is_object: bool = False
    """The answer began as a JSON object does."""
    truncated: bool = False
    """The beginning was dropped: the answer is larger than what is kept."""
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    """Monotonic seconds; None while the provider may still send."""
    _chunks: deque[bytes] = field(default_factory=deque)

    def add(self, chunk: bytes) -> None:
        """Keep a piece of the answer."""
        if not self.size:
            self.is_object = chunk.lstrip()[:1] == b"{"
        self.size += len(chunk)
        self._chunks.append(chunk)
        while self.size > MOST_BYTES and len(self._chunks) > 1:
            self.truncated = True
            self.size -= len(self._chunks.popleft())

    @property
    def body(self) -> bytes:
        """What was received so far."""
        return b"".join(self._chunks)

    @property
    def whole(self) -> bool:
        """Whether the answer is one of the API's and came to its end: a stream with its mark, or JSON."""
        if not self.streamed:
            return self.complete and self.is_object
        tail = self.body[-_TAIL_BYTES:]
        return STREAM_END.search(tail) is not None or (self.complete and _GEMINI_END.search(tail) is not None)

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return "event-stream" in self.content_type

    def open_seconds(self, now: float) -> float:
        """How long the call was open, until ``now`` (monotonic seconds) if it still is."""
        return max(0.0, (now if self.ended is None else self.ended) - self.began)

    @property
    def succeeded(self) -> bool:
        """Whether the provider answered with a result (which may have broken off)."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Wire:
    """The calls made for one request."""

    request_id: str
    calls: list[Call] = field(default_factory=list)
    passed: Call = field(default_factory=lambda: Call(None, status=200))
    """What LiteLLM answered without any call that was seen here: nothing is served unmetered."""

    def open_seconds(self, now: float) -> float:
        """How long provider calls were open, until ``now`` (monotonic seconds); they follow each other."""
        return sum(call.open_seconds(now) for call in self.calls)


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
        call = Call(_model_of(request), str(request.url))
        wire.calls.append(call)
        request.headers["accept-encoding"] = "identity"  # the bytes are read here, before any decoding
        if on_loopback(call.url):
            request.headers[REQUEST_ID_HEADER] = wire.request_id
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            call.ended = time.monotonic()
            raise
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
        try:
            async for chunk in self._inner:
                self._call.add(chunk)
                yield chunk
        except httpx.TransportError:
            if rest := _unread(self._inner):
                self._call.add(rest)
                yield rest
            raise
        finally:
            self._ended()
        self._call.complete = True

    async def aclose(self) -> None:
        self._ended()
        await self._inner.aclose()

    def _ended(self) -> None:
        if self._call.ended is None:
            self._call.ended = time.monotonic()


def _unread(stream: httpx.AsyncByteStream) -> bytes:
    """What had come when the connection broke: aiohttp raises before it hands that out.

    Private parts of LiteLLM's transport and of aiohttp; without them nothing is lost but these bytes. A test
    of a broken stream fails when they change.
    """
    content = getattr(getattr(stream, "_aiohttp_response", None), "content", None)
    read = getattr(content, "_read_nowait", None)
    return bytes(read(-1)) if read is not None and getattr(content, "_buffer", None) else b""


def on_loopback(url: str | None) -> bool:
    """Whether an address is on this machine: that of a double."""
    return url is not None and httpx.URL(url).host in _LOOPBACK


def _model_of(request: httpx.Request) -> str | None:
    try:
        content = request.content
    except httpx.RequestNotRead:
        return None
    if in_path := _MODEL_IN_PATH.search(request.url.path):
        return in_path.group(1)
    found = _MODEL.search(content)
    return found.group(1).decode() if found else None
