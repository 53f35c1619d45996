"""The outermost ASGI application: admits, meters and answers every request; LiteLLM does the rest."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy import account, admission, parameters, vertex
from proxy.answer import Answer, Client
from proxy.asgi import CLIENT_GONE, App, Receive, Scope, Send, answer, read_body, refuse, replay
from proxy.auth import Authenticator, Caller
from proxy.errors import ApiError
from proxy.exchange import Emitter, Exchange
from proxy.limits.gate import Gate, Ticket
from proxy.paths import BY_PATH, PROBES, VIEWS, Api, Endpoint, View
from proxy.wire import current
from tallygate.catalogue import Catalogue

DRAIN_SECONDS: Final = 60
"""How long a provider's answer is read on after the client has gone."""
MOST_HEADER_BYTES: Final = 32 * 1024
_USAGE_ON_REQUEST: Final = frozenset({"chat/completions", "completions"})
"""Endpoints whose streams report usage only when asked to."""
_LOGGABLE_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")
"""A model name that no catalogue knows is logged only if it can't be anything else."""
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
    drain_seconds: float = DRAIN_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self.litellm(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        endpoint = BY_PATH.get(scope["path"])
        api: Api = endpoint.api if endpoint else "openai"
        request_id = uuid.uuid4().hex
        try:
            await self._route(endpoint, request_id, scope, receive, send)
        except ApiError as error:
            if error.status >= 500:  # no tenant is known, so no usage event tells of it
                fields = {"event": "request_failed", "request_id": request_id, "error_type": error.code}
                log.error("a request failed before its tenant was known", extra={"fields": fields})
            await refuse(send, error, api, {"x-request-id": request_id})

    async def _route(
        self, endpoint: Endpoint | None, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        path, method = scope["path"], scope["method"]
        if path in PROBES and method == "GET":
            await answer(send, 200, b'{"status":"ok"}')
        elif sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            raise ApiError(413, "request_too_large", f"headers are limited to {MOST_HEADER_BYTES} bytes")
        elif path in VIEWS and method == "GET":
            await self._show(VIEWS[path], request_id, dict(scope["headers"]), send)
        elif endpoint is not None and method == "POST":
            await self._serve(endpoint, request_id, scope, receive, send)
        else:
            raise ApiError(404, "not_found", "there is nothing here: see the documentation for the paths")

    async def _show(self, view: View, request_id: str, headers: dict[bytes, bytes], send: Send) -> None:
        """Answer with what a tenant may see of itself; its usage also when it is not served."""
        caller = await self.authenticator.authenticate(headers)
        if view == "models":
            admission.check_status(caller.tenant, self.emitter.clock.now())
            content = account.models(self.catalogue, caller.tenant, headers)
        else:
            content = await account.usage(self.gate, caller.tenant)
        await answer(send, 200, json.dumps(content).encode(), {"x-request-id": request_id})

    async def _serve(
        self, endpoint: Endpoint, request_id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request that calls a model; from the moment its tenant is known it leaves an event."""
        headers = dict(scope["headers"])
        caller = await self.authenticator.authenticate(headers)
        exchange = Exchange(self.emitter, endpoint, caller.tenant, caller.key, headers, request_id)
        try:
            raw = await read_body(receive, headers, self.max_body_bytes)
            body, ticket = await self._admit(exchange, caller, raw)
        except ApiError as error:
            exchange.finish(error.status, error=error.code, cancelled=error.status == CLIENT_GONE)
            await refuse(send, error, endpoint.api, self._headers(exchange))
            return
        except asyncio.CancelledError:
            exchange.finish(503, error="shutdown", cancelled=True)
            raise
        except Exception as error:
            log.error("a request could not be admitted", exc_info=error)
            failed = ApiError(500, "internal_error", "the gateway failed: try again")
            exchange.finish(500, error=failed.code)
            await refuse(send, failed, endpoint.api, {"x-request-id": request_id})
            return
        try:
            await self._call(exchange, scope, receive, send, body)
        finally:
            await self._settle(exchange, ticket)

    async def _admit(self, exchange: Exchange, caller: Caller, raw: bytes) -> tuple[dict[str, Any], Ticket]:
        """Check the request and admit it; returns the body for LiteLLM."""
        tenant, endpoint, now = caller.tenant, exchange.endpoint, self.emitter.clock.now()
        admission.check_status(tenant, now)
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            raise ApiError(400, "invalid_request", "the body is not JSON") from None
        self._note(exchange, content)
        body = parameters.checked(endpoint.name, content)
        model = admission.model_for(self.catalogue, tenant, endpoint, body["model"])
        fallbacks = admission.fallbacks_for(self.catalogue, tenant, model)
        if vertex.may_serve([model, *(self.catalogue.models[name] for name in fallbacks)]):
            body = vertex.checked(body)
        wanted = admission.reservation(model, body, len(raw), now)
        ticket = await admission.admit(self.gate, tenant, wanted)
        exchange.body = body
        exchange.admit()
        if fallbacks:
            body = {**body, "fallbacks": fallbacks}
        return body, ticket

    def _note(self, exchange: Exchange, content: Any) -> None:
        """What the event says of a request, also of one that is refused."""
        if not isinstance(content, dict):
            return
        name = content.get("model")
        if isinstance(name, str) and (name in self.catalogue.models or _LOGGABLE_MODEL.fullmatch(name)):
            exchange.model = name
        exchange.stream = content.get("stream") is True

    async def _call(
        self, exchange: Exchange, scope: Scope, receive: Receive, send: Send, body: dict[str, Any]
    ) -> None:
        """Let LiteLLM answer; the usage event leaves before the answer's last chunk does."""
        options = body.get("stream_options") or {}
        asks_for_usage = exchange.stream and exchange.endpoint.name in _USAGE_ON_REQUEST
        if asks_for_usage:
            body = {**body, "stream_options": {**options, "include_usage": True}}
        content = json.dumps(body).encode()
        client = Client(receive, send)
        hides_usage = asks_for_usage and not options.get("include_usage")
        passing = Answer(exchange, client, self._headers(exchange), hides_usage)
        token = current.set(exchange.wire)
        inner = self._inner_scope(exchange.endpoint, scope, len(content))
        serving = asyncio.ensure_future(self.litellm(inner, replay(content), passing.send))
        current.reset(token)
        watching = asyncio.ensure_future(client.wait_until_gone())
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await asyncio.wait({serving}, timeout=self.drain_seconds)
            if serving.done() and exchange.finished is None:
                failed = None if serving.cancelled() else serving.exception()
                log.error("LiteLLM did not answer", exc_info=failed)
                await passing.fail(ApiError(500, "internal_error", "the gateway failed: try again"))
        except asyncio.CancelledError:
            exchange.finish(passing.status or 503, error="shutdown", cancelled=True)
            raise
        finally:
            watching.cancel()
            serving.cancel()
            passing.finish(error="incomplete")

    def _inner_scope(self, endpoint: Endpoint, scope: Scope, length: int) -> Scope:
        """The request as LiteLLM sees it: of the client's headers none, for it takes orders from some."""
        headers = {
            "host": "gateway",
            "content-type": "application/json",
            "content-length": str(length),
            "authorization": f"Bearer {self.master_key}",
        }
        if endpoint.api == "anthropic":
            headers["anthropic-version"] = "2023-06-01"
        return {
            **scope,
            "path": endpoint.path,
            "raw_path": endpoint.path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

    def _headers(self, exchange: Exchange) -> Mapping[str, str]:
        return {"x-request-id": exchange.request_id, **self.gate.headers(exchange.tenant)}

    async def _settle(self, exchange: Exchange, ticket: Ticket) -> None:
        event = exchange.finished
        assert event is not None
        await self.gate.done(ticket, event)
