"""The outermost ASGI application: admits, meters and answers every request; LiteLLM does the rest."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy import parameters
from proxy.auth import Authenticator, Caller
from proxy.errors import ApiError
from proxy.exchange import CLIENT_GONE, Emitter, Exchange
from proxy.limits.gate import Gate, Refusal, Ticket
from proxy.paths import BY_PATH, MODELS_PATHS, Api, Endpoint
from proxy.wire import current
from tallygate.catalogue import Catalogue, Model
from tallygate.tenants import Tenant

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DRAIN_SECONDS: Final = 60
"""How long a provider's answer is read on after the client has gone."""
MOST_HEADER_BYTES: Final = 32 * 1024
_DEFAULT_OUTPUT_TOKENS: Final = 1024
"""Counted against ``tpm`` at admission for a request that sets no maximum; corrected at its end."""
_BYTES_PER_TOKEN: Final = 3
"""A cautious guess of a prompt's tokens, for reservations only."""
_PASSED_HEADERS: Final = frozenset({b"content-type", b"accept", b"anthropic-version", b"host"})
_USAGE_ON_REQUEST: Final = frozenset({"chat/completions", "completions"})
"""Endpoints whose streams report usage only when asked to."""
_LITELLM_PREFIX: Final = re.compile(r"^(litellm\.)?\w+Error: ")
_REFUSAL_STATUS: Final = {"rate_limited": 429, "budget_exceeded": 402}
log = logging.getLogger("tallygate.gateway")


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything that one instance serves."""

    litellm: App
    master_key: str
    """Opens LiteLLM to this gateway alone; made anew by each process."""
    catalogue: Catalogue
    authenticator: Authenticator
    gate: Gate
    emitter: Emitter
    max_body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self.litellm(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path, method = scope["path"], scope["method"]
        endpoint = BY_PATH.get(path)
        api: Api = endpoint.api if endpoint else "openai"
        try:
            if path in ("/health", "/ready") and method == "GET":
                await _answer(send, 200, b'{"status":"ok"}')
            elif sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
                raise ApiError(413, "request_too_large", f"headers are limited to {MOST_HEADER_BYTES} bytes")
            elif path in MODELS_PATHS and method == "GET":
                await self._models(scope, send)
            elif endpoint is not None and method == "POST":
                await self._serve(endpoint, scope, receive, send)
            else:
                raise ApiError(404, "not_found", "there is nothing here: see the documentation for the paths")
        except ApiError as error:
            await _refuse(send, error, api)

    async def _models(self, scope: Scope, send: Send) -> None:
        """The tenant's models, in the shape of either API."""
        headers = dict(scope["headers"])
        caller = await self.authenticator.authenticate(headers)
        names = [name for name in caller.tenant.models if name in self.catalogue.models]
        if b"anthropic-version" in headers:
            data = [{"type": "model", "id": name, "display_name": name} for name in names]
            page = {"has_more": False, "first_id": names[:1] or None, "last_id": names[-1:] or None}
            content: dict[str, Any] = {"data": data, **page}
        else:
            entries = [{"id": name, "object": "model", "created": 0, "owned_by": "gateway"} for name in names]
            content = {"object": "list", "data": entries}
        await _answer(send, 200, json.dumps(content).encode())

    async def _serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        caller = await self.authenticator.authenticate(headers)
        exchange = Exchange(self.emitter, endpoint, caller.tenant, caller.key, headers)
        ticket: Ticket | None = None
        try:
            raw = await _read_body(receive, headers, self.max_body_bytes)
            body, model = self._checked(exchange, endpoint, caller, raw)
            ticket = await self._admitted(caller.tenant, model, body, len(raw))
            exchange.admit()
        except ApiError as error:
            exchange.finish(error.status, error=error.code)
            await _refuse(send, error, endpoint.api, {**self._headers(exchange)})
            return
        try:
            await self._call(exchange, endpoint, scope, receive, send, body)
        finally:
            await self._settle(exchange, ticket)

    def _checked(
        self, exchange: Exchange, endpoint: Endpoint, caller: Caller, raw: bytes
    ) -> tuple[dict[str, Any], Model]:
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            raise ApiError(400, "invalid_request", "the body is not JSON") from None
        if isinstance(content, dict) and isinstance(content.get("model"), str):
            exchange.model = content["model"][:200]
        body = parameters.checked(endpoint.name, content)
        exchange.body = body
        exchange.stream = bool(body.get("stream"))
        model = self.catalogue.models.get(body["model"])
        if model is None or model.name not in caller.tenant.models:
            text = "this model is not available to you: GET /v1/models lists those that are"
            raise ApiError(403, "model_not_allowed", text)
        if model.mode not in endpoint.modes:
            text = f"{model.name} is a model for {model.mode}: call its endpoint"
            raise ApiError(400, "invalid_request", text)
        return body, model

    async def _admitted(self, tenant: Tenant, model: Model, body: Mapping[str, Any], size: int) -> Ticket:
        prompt = size // _BYTES_PER_TOKEN
        asked = next(
            (
                body[name]
                for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")
                if name in body
            ),
            None,
        )
        answers = int(body.get("n") or 1)
        most = model.max_output_tokens if asked is None else min(asked, model.max_output_tokens or asked)
        likely = min(most, _DEFAULT_OUTPUT_TOKENS) if asked is None else most
        price = model.price_at(self.emitter.clock.now())
        cost = (
            (prompt * max(price.input, price.cache_write) + most * answers * price.output) // 1000
            if price
            else 0
        )
        verdict = await self.gate.admit(tenant, tokens=prompt + likely * answers, cost_nano_usd=cost)
        if isinstance(verdict, Refusal):
            raise ApiError(
                _REFUSAL_STATUS[verdict.code], verdict.code, verdict.text,
                retry_after_seconds=verdict.retry_after_seconds,
            )  # fmt: skip
        return verdict

    async def _call(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        scope: Scope,
        receive: Receive,
        send: Send,
        body: dict[str, Any],
    ) -> None:
        """Let LiteLLM answer; the usage event leaves before the answer's last byte does."""
        options = body.get("stream_options") or {}
        asks_for_usage = exchange.stream and endpoint.name in _USAGE_ON_REQUEST
        if asks_for_usage:
            body = {**body, "stream_options": {**options, "include_usage": True}}
        inner = dict(scope)
        content = json.dumps(body).encode()
        inner |= {
            "path": endpoint.path,
            "raw_path": endpoint.path.encode(),
            "query_string": b"",
            "headers": self._inner_headers(scope, len(content)),
        }
        client = _Client(receive, send)
        hides_usage = asks_for_usage and not options.get("include_usage")
        answer = _Answer(self, exchange, endpoint, client, hides_usage)
        token = current.set(exchange.wire)
        serving = asyncio.ensure_future(self.litellm(inner, _replay(content), answer.send))
        current.reset(token)
        watching = asyncio.ensure_future(client.wait_until_gone())
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await asyncio.wait({serving}, timeout=DRAIN_SECONDS)
            if serving.done() and (failed := serving.exception()) is not None and not exchange.finished:
                log.error("request failed", extra={"fields": {"exception": type(failed).__name__}})
                error = ApiError(500, "internal_error", "the gateway failed: try again")
                exchange.finish(500, error=error.code)
                if not answer.started:
                    await _refuse(client.send, error, endpoint.api, self._headers(exchange))
        except asyncio.CancelledError:
            exchange.finish(answer.status or 503, error="shutdown", cancelled=True)
            raise
        finally:
            watching.cancel()
            serving.cancel()
            gone = client.gone
            exchange.finish(CLIENT_GONE if gone else answer.status or 500, cancelled=gone, error="incomplete")

    def _inner_headers(self, scope: Scope, length: int) -> list[tuple[bytes, bytes]]:
        """What LiteLLM may know of the client's headers: nothing that it takes orders from."""
        passed = [(name, value) for name, value in scope["headers"] if name in _PASSED_HEADERS]
        return [
            *passed,
            (b"content-length", str(length).encode()),
            (b"authorization", f"Bearer {self.master_key}".encode()),
        ]

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        return {"x-request-id": exchange.request_id, **self.gate.headers(exchange.tenant)}

    async def _settle(self, exchange: Exchange, ticket: Ticket) -> None:
        event = exchange.finished
        assert event is not None
        await self.gate.done(
            ticket, tokens=event.total_tokens, cost_nano_usd=event.cost_nano_usd, at=event.timestamp
        )


@dataclass(slots=True)
class _Client:
    """The connection to the client, which may go at any time."""

    receive: Receive
    _send: Send
    gone: bool = False

    async def wait_until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True

    async def send(self, message: Message) -> None:
        if not self.gone:
            await self._send(message)


@dataclass(slots=True)
class _Answer:
    """LiteLLM's answer on its way out: errors put into shape, the event emitted before the last byte."""

    gateway: Gateway
    exchange: Exchange
    endpoint: Endpoint
    client: _Client
    hides_usage: bool
    """The client did not ask for usage in its stream."""
    status: int | None = None
    started: bool = False
    _error: bytearray = field(default_factory=bytearray)
    _start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._start = message
            if self.status < 400:
                await self._begin(message)
            return
        if message["type"] != "http.response.body":
            return
        if self.status is not None and self.status >= 400:
            await self._collect_error(message)
            return
        body = self._as_asked(message.get("body", b""))
        if self.exchange.first_chunk is None and body:
            self.exchange.first_chunk = time.monotonic()
        if not message.get("more_body"):
            gone = self.client.gone
            self.exchange.finish(CLIENT_GONE if gone else self.status or 500, cancelled=gone)
        await self.client.send({**message, "body": body})

    def _as_asked(self, body: bytes) -> bytes:
        """A chunk as the client expects it: no usage that only the gateway asked for, no foreign words.

        Inside a text these marks can't stand: there, quotes are escaped.
        """
        if not self.exchange.stream or not body.startswith(b"data: {"):
            return body
        if body.startswith(b'data: {"error"'):
            error = ApiError(502, "stream_broken", "the provider's stream broke off")
            return b"data: " + error.body(self.endpoint.api) + b"\n\n"
        if self.hides_usage and b'"usage":{' in body:
            return b""
        return body

    async def _begin(self, message: Message) -> None:
        self.started = True
        own = self.gateway._headers(self.exchange)
        kept = [
            (name, value)
            for name, value in message.get("headers", [])
            if name.lower() in (b"content-type", b"content-length", b"cache-control")
        ]
        headers = [*kept, *((name.encode(), value.encode()) for name, value in own.items())]
        await self.client.send(
            {"type": "http.response.start", "status": message["status"], "headers": headers}
        )

    async def _collect_error(self, message: Message) -> None:
        self._error += message.get("body", b"")
        if message.get("more_body"):
            return
        assert self.status is not None
        error = _shaped(self.status, bytes(self._error), self.exchange)
        self.exchange.finish(error.status, error=error.code)
        self.started = True
        await _refuse(self.client.send, error, self.endpoint.api, self.gateway._headers(self.exchange))


def _shaped(status: int, body: bytes, exchange: Exchange) -> ApiError:
    """A failure in our own words: LiteLLM's texts tell of its routing, and of models that others use.

    What the provider itself said is passed on: it concerns the tenant's own request.
    """
    calls = exchange.wire.calls
    if not calls:
        text = _LITELLM_PREFIX.sub("", (_text_of_error(body) or "refused").partition(" To drop")[0])
        return ApiError(status if status < 500 else 502, "invalid_request", text.splitlines()[0])
    said = _text_of_error(calls[-1].body) if calls[-1].status and calls[-1].status >= 400 else None
    if calls[-1].status is None:
        return ApiError(
            504 if status in (408, 504) else 502, "provider_unavailable", "the provider did not answer"
        )
    if said is None:
        return ApiError(502, "provider_error", "the provider's answer could not be understood")
    code = "provider_rate_limited" if status == 429 else "provider_error"
    return ApiError(status, code, f"the provider answered: {said}")


def _text_of_error(body: bytes) -> str | None:
    try:
        error = json.loads(body).get("error")
    except (ValueError, AttributeError):
        return None
    text = error.get("message") if isinstance(error, dict) else error
    return text[:500] if isinstance(text, str) else None


async def _read_body(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
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


def _replay(content: bytes) -> Receive:
    """The request for LiteLLM, which never learns that the client has gone: so it reads to the end."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


async def _refuse(send: Send, error: ApiError, api: Api, headers: Mapping[str, str] | None = None) -> None:
    extra = dict(headers or {})
    if error.retry_after_seconds is not None:
        extra["retry-after"] = str(error.retry_after_seconds)
    await _answer(send, error.status, error.body(api), extra)


async def _answer(send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    own = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    encoded = [(name.encode(), value.encode()) for name, value in own.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
