"""LiteLLM's answer on its way to the client: errors put into shape, metered before its last chunk leaves."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.asgi import CLIENT_GONE, Message, Receive, Send, encoded, refuse
from proxy.errors import ApiError
from proxy.exchange import Exchange
from proxy.provider_errors import shaped
from proxy.wire import STREAM_END

_KEPT_HEADERS: Final = (b"content-type", b"content-length", b"cache-control")
"""Of LiteLLM's headers; the others tell of its routing."""
_STREAM_ERROR: Final = re.compile(rb'^(?:event: error\b|data: \{"error"|data: \{"type": ?"error")')
_FAILED_RESPONSE: Final = re.compile(rb'^(?:event: response\.failed\b|data: \{"type": ?"response\.failed")')
_USAGE: Final = re.compile(rb'"usage": ?\{')
_ERROR_BODY: Final = re.compile(rb'^\{"(?:type": ?"error"|error": ?\{)')
"""LiteLLM's way to tell of some failures with status 200."""
_FOREIGN_MESSAGE: Final = re.compile(rb'"message": ?"litellm\.(?:[^"\\]|\\.)*"')
_BROKE_OFF: Final = "the provider's stream broke off"


@dataclass(slots=True)
class Client:
    """The connection to the client, who may go at any time."""

    receive: Receive
    _send: Send
    gone: bool = False

    async def wait_until_gone(self) -> None:
        """Returns when the client has gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True

    async def send(self, message: Message) -> None:
        """Send what LiteLLM sends; nothing when the client has gone."""
        if not self.gone:
            await self._send(message)


@dataclass(slots=True)
class Answer:
    """One answer; :meth:`send` is what LiteLLM's application sends to."""

    exchange: Exchange
    client: Client
    headers: Mapping[str, str]
    """The gateway's own."""
    hides_usage: bool
    """The client did not ask for usage in its stream; the gateway did."""
    status: int | None = None
    started: bool = False
    _held: Message | None = None
    """The start of an answer, until it is known to be one."""
    _error: bytearray = field(default_factory=bytearray)

    async def send(self, message: Message) -> None:
        """Pass a message of LiteLLM on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._held = message
            if self.exchange.stream and message["status"] < 400:
                await self._begin()
            return
        if message["type"] != "http.response.body" or self.status is None:
            return
        body = message.get("body", b"")
        if self.status < 400 and not self.started and _ERROR_BODY.match(body):
            self.status = 502
        if self.status >= 400:
            await self._collect_error(message)
            return
        await self._begin()
        await self._pass_on(body, more=bool(message.get("more_body")))

    def finish(self, *, error: str | None = None) -> None:
        """Write the usage event of what was answered so far."""
        gone = self.client.gone
        status = CLIENT_GONE if gone else self.status or 500
        self.exchange.finish(status, error=error, cancelled=gone)

    async def fail(self, error: ApiError) -> None:
        """End the request with an error, if the answer has not begun; the event is written in any case."""
        self.exchange.finish(error.status if not self.started else self.status or 500, error=error.code)
        if not self.started:
            self.started = True
            await refuse(self.client.send, error, self.exchange.endpoint.api, self.headers)

    async def _begin(self) -> None:
        message, self._held = self._held, None
        if message is None:
            return
        self.started = True
        kept = [(name, value) for name, value in message.get("headers", []) if name.lower() in _KEPT_HEADERS]
        await self.client.send(
            {
                "type": "http.response.start",
                "status": message["status"],
                "headers": [*kept, *encoded(self.headers)],
            }
        )

    async def _pass_on(self, body: bytes, *, more: bool) -> None:
        exchange = self.exchange
        if body and exchange.first_chunk is None:
            exchange.first_chunk = time.monotonic()
        if not exchange.wire.calls:
            exchange.wire.passed.add(body)
        if exchange.stream:
            body = self._as_asked(body)
        if not more or (exchange.stream and STREAM_END.search(body)):
            if not more:
                exchange.wire.passed.complete = True
            self.finish()
        await self.client.send({"type": "http.response.body", "body": body, "more_body": more})

    def _as_asked(self, body: bytes) -> bytes:
        """A chunk as the client expects it: no usage that only the gateway asked for, no foreign words.

        Inside a text these marks can't stand: quotes and line ends are escaped there.
        """
        if _STREAM_ERROR.match(body):
            self.exchange.broke_off = True
            api = self.exchange.endpoint.api
            error = ApiError(502, "stream_broken", _BROKE_OFF).body(api)
            return (b"event: error\n" if api == "anthropic" else b"") + b"data: " + error + b"\n\n"
        if _FAILED_RESPONSE.match(body):
            self.exchange.broke_off = True
            return _FOREIGN_MESSAGE.sub(b'"message":"%s"' % _BROKE_OFF.encode(), body)
        if self.hides_usage and body.startswith(b"data: {") and _USAGE.search(body):
            return b""
        return body

    async def _collect_error(self, message: Message) -> None:
        self._error += message.get("body", b"")
        if message.get("more_body"):
            return
        assert self.status is not None
        await self.fail(shaped(self.status, bytes(self._error), self.exchange.wire.calls))
