"""``python -m sandbox.edge``: the load balancer and Cloud Run's own request log, in front of the proxies.

* Round robin over the instances; bodies pass unbuffered in both directions.
* Only the paths of the one path list pass; everything else is 404 here.
* An instance that refuses a connection is passed over: nothing has been sent. When all refuse, the request
  waits for one to come back, as Cloud Run lets it wait for an instance to start, and is 503 after that.
  A connection that breaks later is not tried again: the request may have been served.
* A client that goes away takes the connection to the instance with it.
* One request log entry per request in ``edge.requests.log``. It holds no header but the user agent, no query
  and no body. A path that is not on the list is the load balancer's entry (``http_load_balancer``), since
  Cloud Run never sees it; all others are Cloud Run's (``cloud_run_revision``).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
import uvicorn
from yarl import URL

from sandbox.layout import PROJECT_ID, REPOSITORY
from sandbox.parts import REVISION, SERVICE
from tallygate.clock import Clock, clock_from, rfc3339

PATHS: Final = REPOSITORY / "modules" / "load-balancer" / "paths.json"
LOG_NAME: Final = "edge.requests.log"
LOCATION: Final = "europe-west1"
HEALTH: Final = "/_sandbox/health"
CLIENT_GONE: Final = 499
"""The status that is logged when the client left before the answer began."""

_CONNECT_SECONDS: Final = 5
_PAUSE_SECONDS: Final = 0.1
"""Between two rounds over instances that all refuse."""
_IDLE_SECONDS: Final = 3
"""How long a connection to an instance is kept: less than the instance keeps it, or a request could meet its
end."""
_GRACE_SECONDS: Final = 2
_LONGEST: Final = 500
"""Characters of a path or a user agent that are logged."""
_BUFFERED_PIECES: Final = 8
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"te", b"trailer", b"upgrade",
     b"expect"}
)  # fmt: skip
_OWN: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"traceparent", b"x-cloud-trace-context"})
"""Headers that the edge writes itself."""
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_CLOUD_TRACE: Final = re.compile(rb"([0-9a-f]{32})(?:/\d+)?(?:;o=[01])?")
_REFUSED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""The connection never came about."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def paths(file: Path = PATHS) -> frozenset[str]:
    """Every path that is passed on, from the list that Terraform, proxy and edge share."""
    listed = json.loads(file.read_text())["paths"]
    plain = [entry["path"] for entry in listed]
    return frozenset(plain + [f"/v1{entry['path']}" for entry in listed if entry["versioned"]])


@dataclass(slots=True)
class _Exchange:
    """One request, as the log tells it."""

    scope: Mapping[str, Any]
    headers: Mapping[bytes, bytes]
    trace: str
    span: str
    client: str
    began: float = field(default_factory=time.monotonic)
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    instance: int | None = None
    listed: bool = True


class Edge:
    """The ASGI application.

    ``hold_seconds``: how long a request waits while no instance takes connections. ``timeout_seconds``: after
    which a request is ended, as by Cloud Run.
    """

    def __init__(
        self,
        upstreams: list[str],
        log_dir: Path,
        clock: Clock,
        *,
        hold_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._upstreams = upstreams
        self._turn = itertools.count()
        self._clock = clock
        self._hold_seconds = hold_seconds
        self._timeout_seconds = timeout_seconds
        self._paths = paths()
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log = (log_dir / LOG_NAME).open("a", buffering=1)
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and scope["path"] == HEALTH:
            await _answer(send, 200, {})
        elif scope["type"] == "http":
            await self._serve(_exchange(scope), receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds, sock_connect=_CONNECT_SECONDS)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as self._session:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        try:
            if exchange.scope["path"] in self._paths:
                await self._pass_on(exchange, receive, send)
            else:
                exchange.listed = False
                await _refuse(exchange, send, 404, "not_found", "there is nothing at this path")
        finally:
            self._log.write(json.dumps(self._entry(exchange)) + "\n")

    async def _pass_on(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        """Hand the request on until it is answered or the client has gone, whichever is first."""
        body = _Body(exchange)
        listening = asyncio.create_task(body.listen(receive))
        forwarding = asyncio.create_task(self._forward(exchange, body, send))
        try:
            await asyncio.wait({listening, forwarding}, return_when=asyncio.FIRST_COMPLETED)
            if forwarding.done():
                forwarding.result()
            else:
                exchange.status = exchange.status or CLIENT_GONE
        finally:
            listening.cancel()
            forwarding.cancel()
            await asyncio.gather(listening, forwarding, return_exceptions=True)

    async def _forward(self, exchange: _Exchange, body: _Body, send: Send) -> None:
        deadline = time.monotonic() + self._hold_seconds
        while True:
            for instance in self._order():
                try:
                    response = await self._request(exchange, body, instance)
                except _REFUSED:
                    continue
                except TimeoutError:
                    await _refuse(
                        exchange, send, 504, "gateway_timeout", "the instance did not answer in time"
                    )
                    return
                except aiohttp.ClientError:
                    await _refuse(exchange, send, 502, "bad_gateway", "the instance broke off")
                    return
                await self._relay(exchange, response, send)
                return
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        await _refuse(exchange, send, 503, "no_instance", "no instance is available")

    def _order(self) -> Iterator[int]:
        first = next(self._turn)
        count = len(self._upstreams)
        return ((first + step) % count for step in range(count))

    async def _request(self, exchange: _Exchange, body: _Body, instance: int) -> aiohttp.ClientResponse:
        assert self._session is not None, "the server has started"
        exchange.instance = instance
        return await self._session.request(
            exchange.scope["method"],
            URL(self._upstreams[instance] + _target(exchange.scope), encoded=True),
            headers=_forwarded(exchange),
            data=body.pieces() if body.expected else None,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
        )

    async def _relay(self, exchange: _Exchange, response: aiohttp.ClientResponse, send: Send) -> None:
        """Pass the answer on as it comes; closes the connection unless it was read to its end."""
        exchange.status = response.status
        headers = [(name.lower(), value) for name, value in response.raw_headers]
        passed = [(name, value) for name, value in headers if name not in _HOP_BY_HOP]
        async with response:
            await send({"type": "http.response.start", "status": response.status, "headers": passed})
            try:
                async for piece in response.content.iter_any():
                    exchange.response_bytes += len(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except (aiohttp.ClientError, TimeoutError):
                return  # without an end the server closes the connection: the client sees the break
        await send({"type": "http.response.body", "body": b""})

    def _entry(self, exchange: _Exchange) -> dict[str, Any]:
        """The log entry of a finished request."""
        scope = exchange.scope
        return {
            "insertId": secrets.token_hex(12),
            "logName": f"projects/{PROJECT_ID}/logs/" + _LOGS[exchange.listed],
            "timestamp": rfc3339(self._clock.now()),
            "severity": _severity(exchange.status),
            "trace": f"projects/{PROJECT_ID}/traces/{exchange.trace}",
            "spanId": exchange.span,
            "traceSampled": True,
            "resource": _RESOURCES[exchange.listed],
            "labels": {} if exchange.instance is None else {"instanceId": f"proxy-{exchange.instance}"},
            "httpRequest": {
                "requestMethod": scope["method"],
                "requestUrl": f"https://gateway.example{scope['path'][:_LONGEST]}",
                "status": exchange.status,
                "requestSize": str(exchange.request_bytes),
                "responseSize": str(exchange.response_bytes),
                "userAgent": exchange.headers.get(b"user-agent", b"").decode("latin-1")[:_LONGEST],
                "remoteIp": exchange.client,
                "latency": f"{time.monotonic() - exchange.began:.6f}s",
                "protocol": f"HTTP/{scope['http_version']}",
            },
        }


class _Body:
    """The request's body on its way, and the news that the client has gone."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_BUFFERED_PIECES)
        self.expected = b"content-length" in exchange.headers or b"transfer-encoding" in exchange.headers

    async def listen(self, receive: Receive) -> None:
        """Take what comes from the client; ends when it has gone."""
        complete = not self.expected
        while (message := await receive())["type"] != "http.disconnect":
            piece = message.get("body", b"")
            self._exchange.request_bytes += len(piece)
            if complete:
                continue
            if piece:
                await self._pieces.put(piece)
            if not message.get("more_body"):
                complete = True
                await self._pieces.put(None)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body; an instance that refuses the connection takes none of it."""
        while (piece := await self._pieces.get()) is not None:
            yield piece


_LOGS: Final = {True: "run.googleapis.com%2Frequests", False: "requests"}
_RESOURCES: Final[Mapping[bool, Mapping[str, Any]]] = {
    True: {
        "type": "cloud_run_revision",
        "labels": {
            "project_id": PROJECT_ID,
            "service_name": SERVICE,
            "revision_name": REVISION,
            "location": LOCATION,
            "configuration_name": SERVICE,
        },
    },
    False: {
        "type": "http_load_balancer",
        "labels": {"project_id": PROJECT_ID, "url_map_name": "tallygate", "zone": "global"},
    },
}
"""By whether the path is on the list: who writes the entry."""


def _exchange(scope: Mapping[str, Any]) -> _Exchange:
    headers = dict(reversed(scope["headers"]))  # of repeated ones the first
    found = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    found = found or _CLOUD_TRACE.fullmatch(headers.get(b"x-cloud-trace-context", b""))
    trace = found.group(1).decode() if found else secrets.token_hex(16)
    client = (scope.get("client") or ("", 0))[0]
    return _Exchange(scope, headers, trace, secrets.token_hex(8), client)


def _forwarded(exchange: _Exchange) -> list[tuple[str, str]]:
    """The headers for the instance: the client's, and what a load balancer adds."""
    named = {name.strip().lower() for name in exchange.headers.get(b"connection", b"").split(b",")}
    dropped = _HOP_BY_HOP | _OWN | named
    passed = [(_text(name), _text(value)) for name, value in exchange.scope["headers"] if name not in dropped]
    hops = [_text(exchange.headers.get(b"x-forwarded-for", b"")), exchange.client, "127.0.0.1"]
    return [
        *passed,
        ("x-forwarded-for", ",".join(hop for hop in hops if hop)),
        ("x-forwarded-proto", "https"),
        ("traceparent", f"00-{exchange.trace}-{exchange.span}-01"),
        ("x-cloud-trace-context", f"{exchange.trace}/{int(exchange.span, 16)};o=1"),
    ]


def _text(raw: bytes) -> str:
    """A header as text that is sent as the same bytes, as far as they are UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _target(scope: Mapping[str, Any]) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return f"{path}?{query}" if query else path


def _severity(status: int) -> str:
    if status >= 500:
        return "ERROR"
    return "WARNING" if status >= 400 else "INFO"


async def _refuse(exchange: _Exchange, send: Send, status: int, code: str, text: str) -> None:
    exchange.status = status
    kind = "invalid_request_error" if status < 500 else "server_error"
    content = {"error": {"message": text, "type": kind, "param": None, "code": code}}
    exchange.response_bytes = await _answer(send, status, content)


async def _answer(send: Send, status: int, content: Mapping[str, Any]) -> int:
    """Send an answer of the edge's own; the length of its body."""
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return len(body)


def _is_no_break(record: logging.LogRecord) -> bool:
    """Whether a record is about anything but an answer that the instance broke off."""
    return "without completing response" not in record.getMessage()


def main(
    port: Annotated[int, typer.Option()],
    upstream: Annotated[list[str], typer.Option(help="URL of an instance; repeatable")],
    log_dir: Annotated[Path, typer.Option()],
    clock: Annotated[str, typer.Option()] = "system",
    hold_seconds: Annotated[float, typer.Option(help="wait for an instance so long")] = 20,
    timeout_seconds: Annotated[float, typer.Option(help="end a request after so long")] = 900,
) -> None:
    """Serve the edge."""
    edge = Edge(
        upstream, log_dir, clock_from(clock), hold_seconds=hold_seconds, timeout_seconds=timeout_seconds
    )
    config = uvicorn.Config(
        edge, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="on",
        proxy_headers=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )  # fmt: skip
    logging.getLogger("uvicorn.error").addFilter(_is_no_break)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    typer.run(main)
