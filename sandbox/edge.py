"""``python -m sandbox.edge``: the load balancer and Cloud Run's own request log, in front of the proxies.

Round robin over instances, each path of the one path list and no other, one request log entry per request in
``edge.requests.log``, bodies passed on unbuffered in both directions. A client that goes away takes its
connection to the instance with it, as in production; an instance that refuses a connection is passed over.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
import uvicorn

from sandbox.layout import PROJECT_ID, REPOSITORY
from sandbox.parts import REVISION, SERVICE
from tallygate.clock import Clock, clock_from, rfc3339

PATHS: Final = REPOSITORY / "modules" / "load-balancer" / "paths.json"
LOG_NAME: Final = "edge.requests.log"
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"host"}
)


Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def paths() -> frozenset[str]:
    """Every path that is passed on, from the list that Terraform, proxy and edge share."""
    listed = json.loads(PATHS.read_text())["paths"]
    plain = [entry["path"] for entry in listed]
    return frozenset(plain + [f"/v1{entry['path']}" for entry in listed if entry["versioned"]])


@dataclass(slots=True)
class _Exchange:
    """One request, as the log tells it."""

    scope: Mapping[str, Any]
    trace: str
    began: float = field(default_factory=time.monotonic)
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0


class Edge:
    """The ASGI application."""

    def __init__(self, upstreams: list[str], log_dir: Path, clock: Clock) -> None:
        self._upstreams = upstreams
        self._next = itertools.count()
        self._clock = clock
        self._paths = paths()
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log = (log_dir / LOG_NAME).open("a", buffering=1)
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/_sandbox/health":
            await _answer(send, 200, {})
            return
        headers = dict(scope["headers"])
        trace = headers.get(b"traceparent", b"").decode().split("-")
        exchange = _Exchange(scope, trace[1] if len(trace) == 4 else secrets.token_hex(16))
        try:
            if scope["path"] not in self._paths:
                exchange.status = 404
                await _answer(send, 404, {"error": {"message": "not found", "code": "not_found"}})
                return
            await self._pass_on(exchange, receive, send)
        finally:
            self._write(exchange)

    async def _pass_on(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        body = _Body(receive, exchange)
        gone = asyncio.ensure_future(body.disconnected.wait())
        forward = asyncio.ensure_future(self._forward(exchange, body, send))
        try:
            await asyncio.wait({gone, forward}, return_when=asyncio.FIRST_COMPLETED)
            if forward.done():
                forward.result()
            else:
                exchange.status = exchange.status or 499
        finally:
            for task in (gone, forward, *body.tasks):
                task.cancel()
            await asyncio.gather(gone, forward, *body.tasks, return_exceptions=True)

    async def _forward(self, exchange: _Exchange, body: _Body, send: Send) -> None:
        for upstream in self._order():
            try:
                response = await self._client().request(
                    exchange.scope["method"],
                    upstream + _target(exchange.scope),
                    headers=_headers(exchange),
                    data=body.chunks() if body.has_content else None,
                    allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
                )
            except aiohttp.ClientConnectorError:
                continue  # nothing was sent: another instance can take it
            except aiohttp.ClientError:
                break
            async with response:
                await self._relay(exchange, response, body, send)
            return
        exchange.status = 502
        await _answer(send, 502, {"error": {"message": "no instance answers", "code": "bad_gateway"}})

    async def _relay(
        self, exchange: _Exchange, response: aiohttp.ClientResponse, body: _Body, send: Send
    ) -> None:
        exchange.status = response.status
        headers = [(k.lower(), v) for k, v in response.raw_headers if k.lower() not in _HOP_BY_HOP]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body.watch()
        try:
            async for chunk in response.content.iter_any():
                exchange.response_bytes += len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except aiohttp.ClientError as error:
            raise ConnectionResetError("the instance broke off") from error  # the client must see it
        await send({"type": "http.response.body", "body": b""})

    def _order(self) -> Iterator[str]:
        first = next(self._next)
        count = len(self._upstreams)
        return (self._upstreams[(first + step) % count] for step in range(count))

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self._session

    def _write(self, exchange: _Exchange) -> None:
        """One entry as Cloud Run writes it: no header but the user agent, no body."""
        scope = exchange.scope
        headers = dict(scope["headers"])
        entry = {
            "insertId": secrets.token_hex(12),
            "timestamp": rfc3339(self._clock.now()),
            "severity": "ERROR"
            if exchange.status >= 500
            else "WARNING"
            if exchange.status >= 400
            else "INFO",
            "trace": f"projects/{PROJECT_ID}/traces/{exchange.trace}",
            "resource": {
                "type": "cloud_run_revision",
                "labels": {"project_id": PROJECT_ID, "service_name": SERVICE, "revision_name": REVISION},
            },
            "httpRequest": {
                "requestMethod": scope["method"],
                "requestUrl": f"https://gateway.example{scope['path']}",
                "status": exchange.status,
                "requestSize": str(exchange.request_bytes),
                "responseSize": str(exchange.response_bytes),
                "userAgent": headers.get(b"user-agent", b"").decode("latin-1")[:200],
                "remoteIp": (scope.get("client") or ("", 0))[0],
                "latency": f"{time.monotonic() - exchange.began:.6f}s",
                "protocol": "HTTP/1.1",
            },
        }
        self._log.write(json.dumps(entry) + "\n")


class _Body:
    """The request's body, and the news that the client has gone."""

    def __init__(self, receive: Receive, exchange: _Exchange) -> None:
        self._receive = receive
        self._exchange = exchange
        headers = dict(exchange.scope["headers"])
        self.has_content = b"content-length" in headers or b"transfer-encoding" in headers
        self.disconnected = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self._buffered: list[bytes] = []
        self._complete = False

    async def chunks(self) -> Any:
        """The body, again from its start when another instance has to take the request."""
        for chunk in list(self._buffered):
            yield chunk
        while not self._complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return
            chunk = message.get("body", b"")
            self._complete = not message.get("more_body")
            self._exchange.request_bytes += len(chunk)
            self._buffered.append(chunk)
            yield chunk
        self.watch()

    def watch(self) -> None:
        """From now on, notice when the client goes."""
        if not self.tasks:
            self.tasks.append(asyncio.ensure_future(self._wait_for_disconnect()))

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.disconnected.set()


def _severity(status: int) -> str:
    if status >= 500:
        return "ERROR"
    return "WARNING" if status >= 400 else "INFO"


def _target(scope: Mapping[str, Any]) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return f"{path}?{query}" if query else path


def _headers(exchange: _Exchange) -> list[tuple[str, str]]:
    scope = exchange.scope
    passed = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in scope["headers"]
        if name not in _HOP_BY_HOP and name not in (b"x-forwarded-for", b"traceparent")
    ]
    client = (scope.get("client") or ("", 0))[0]
    return [
        *passed,
        ("x-forwarded-for", client),
        ("traceparent", f"00-{exchange.trace}-{secrets.token_hex(8)}-01"),
    ]


async def _answer(send: Send, status: int, content: Mapping[str, Any]) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(
    port: Annotated[int, typer.Option()],
    upstream: Annotated[list[str], typer.Option(help="URL of an instance; repeatable")],
    log_dir: Annotated[Path, typer.Option()],
    clock: Annotated[str, typer.Option()] = "system",
) -> None:
    """Serve the edge."""
    edge = Edge(upstream, log_dir, clock_from(clock))
    uvicorn.run(edge, host="127.0.0.1", port=port, log_level="critical", access_log=False, lifespan="off")


if __name__ == "__main__":
    typer.run(main)
