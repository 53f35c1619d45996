"""The few pieces of ASGI that the gateway speaks itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from proxy.errors import ApiError
from proxy.paths import Api

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CLIENT_GONE: Final = 499
"""The status logged when the client had gone, as load balancers write it."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The request's body, whole.

    Raises:
        ApiError: 413 when it is larger than ``limit`` bytes; 499 when the client leaves before its end.
    """
    too_large = ApiError(413, "request_too_large", f"the body is limited to {limit} bytes")
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(CLIENT_GONE, "client_gone", "the client has gone")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def replay(content: bytes) -> Receive:
    """The request for LiteLLM, which never learns that the client has gone: so it reads to the end."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


async def answer(send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Send a whole JSON answer."""
    own = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    await send({"type": "http.response.start", "status": status, "headers": encoded(own)})
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, error: ApiError, api: Api, headers: Mapping[str, str]) -> None:
    """Send an error in the shape of the API that was called."""
    extra = dict(headers)
    if error.retry_after_seconds is not None:
        extra["retry-after"] = str(error.retry_after_seconds)
    await answer(send, error.status, error.body(api), extra)


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]
