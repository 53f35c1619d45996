"""The edge as a process between clients and instances that behave as each test wants."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from sandbox.edge import LOG_NAME, PATHS, paths
from sandbox.layout import REPOSITORY
from sandbox.parts import free_port
from tallygate.clock import parse_rfc3339, write_offset

CHAT = "/v1/chat/completions"
SECONDS = 10
AHEAD = timedelta(days=3)
CANARY = "canary-of-the-edge"
_CLIENTS = itertools.count()


@dataclass
class Request:
    """What an instance received."""

    line: str
    headers: list[tuple[str, str]]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> str:
        """The header of that name, which must be there once."""
        (value,) = [value for found, value in self.headers if found == name]
        return value

    async def body(self) -> bytes:
        """The whole body."""
        if any(name == "transfer-encoding" for name, _ in self.headers):
            return b"".join([chunk async for chunk in self.chunks()])
        length = next((value for name, value in self.headers if name == "content-length"), "0")
        return await self.reader.readexactly(int(length))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a chunked body."""
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()

    async def send(self, *pieces: bytes) -> None:
        """Send bytes as they are."""
        for piece in pieces:
            self.writer.write(piece)
        await self.writer.drain()

    async def answer(self, body: bytes, *headers: bytes, status: bytes = b"200 OK") -> None:
        """Send a whole answer."""
        length = b"content-length: %d" % len(body)
        await self.send(b"\r\n".join([b"HTTP/1.1 " + status, length, *headers, b"", b""]) + body)

    async def begin(self) -> None:
        """Begin a chunked answer."""
        await self.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

    async def chunk(self, piece: bytes) -> None:
        """Send a chunk; an empty one ends the answer."""
        await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))


Behaviour = Callable[[Request], Awaitable[None]]


async def greet(request: Request) -> None:
    """Answer with the length of the body."""
    await request.answer(str(len(await request.body())).encode())


@dataclass
class Instance:
    """A server on a given port that serves one request after the other on each connection."""

    port: int
    behave: Behaviour = greet
    requests: list[Request] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.strip().split("\r\n")
                headers = [(name.lower(), value) for name, value in (one.split(": ", 1) for one in rest)]
                request = Request(line, headers, reader, writer)
                self.requests.append(request)
                await self.behave(request)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the other side has gone, or the test is over
        finally:
            writer.close()


@dataclass
class Running:
    """An edge, where its instances are expected, and its log."""

    url: str
    ports: tuple[int, int]
    log: Path

    def entries(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def logged(self, client: httpx.AsyncClient, count: int = 1) -> list[dict[str, Any]]:
        """The entries of a client's requests, awaited: an entry is written after the answer has been sent."""
        while True:
            agents = [(entry["httpRequest"]["userAgent"], entry) for entry in self.entries()]
            found = [entry for agent, entry in agents if agent == client.headers["user-agent"]]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)

    def client(self, **headers: str) -> httpx.AsyncClient:
        """A client of it, known by its user agent."""
        headers |= {"user-agent": f"client/{next(_CLIENTS)}"}
        return httpx.AsyncClient(base_url=self.url, timeout=SECONDS, headers=headers)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Running]:
    """An edge that is ready."""
    port, *ports = free_port(), free_port(), free_port()
    clock = folder / "clock"
    write_offset(clock, AHEAD)
    upstreams = [argument for one in ports for argument in ("--upstream", f"http://127.0.0.1:{one}")]
    fixed = ["--port", str(port), "--log-dir", str(folder), "--clock", f"file:{clock}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.edge", *fixed, *upstreams, *options],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
    )
    edge = Running(f"http://127.0.0.1:{port}", (ports[0], ports[1]), folder / LOG_NAME)
    try:
        deadline = time.monotonic() + 20
        while not _answers(edge.url):
            assert process.poll() is None, "the edge ended while starting"
            assert time.monotonic() < deadline, "the edge does not answer"
            time.sleep(0.05)
        yield edge
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/_sandbox/health").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Running]:
    """The edge of most tests."""
    with running(tmp_path_factory.mktemp("edge")) as one:
        yield one


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Running]:
    """An edge that neither waits for instances nor for answers."""
    options = ("--hold-seconds", "0.3", "--timeout-seconds", "0.5")
    with running(tmp_path_factory.mktemp("hasty"), *options) as one:
        yield one


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario, within a time: what waits for a piece that was held back would wait for ever."""
    asyncio.run(asyncio.wait_for(scenario, SECONDS))


def test_an_answer_passes_piece_by_piece(edge: Running) -> None:
    async def scenario() -> None:
        arrived = asyncio.Event()

        async def behave(request: Request) -> None:
            await request.body()
            await request.begin()
            await request.chunk(b"one")
            await arrived.wait()  # an edge that buffers never lets it come
            await request.chunk(b"two")
            await request.chunk(b"")

        async with Instance(edge.ports[0], behave), edge.client() as client:
            async with client.stream("POST", CHAT, content=b"{}") as answer:
                pieces = []
                async for piece in answer.aiter_raw():
                    pieces.append(piece)
                    arrived.set()
            assert pieces == [b"one", b"two"]

    run(scenario())


def test_a_request_passes_piece_by_piece(edge: Running) -> None:
    async def scenario() -> None:
        arrived = asyncio.Event()
        received = []

        async def behave(request: Request) -> None:
            async for piece in request.chunks():
                received.append(piece)
                arrived.set()
            await request.answer(b"")

        async def content() -> AsyncIterator[bytes]:
            yield b"one"
            await arrived.wait()
            yield b"two"

        async with Instance(edge.ports[0], behave), edge.client() as client:
            assert (await client.post(CHAT, content=content())).status_code == 200
        assert received == [b"one", b"two"]

    run(scenario())


def test_a_large_body_arrives_whole(edge: Running) -> None:
    async def scenario() -> None:
        async with Instance(edge.ports[0]), edge.client() as client:
            answer = await client.post(CHAT, content=b"x" * 5_000_000)
            assert answer.text == "5000000"

    run(scenario())


def test_every_listed_path_passes_and_no_other(edge: Running) -> None:
    listed = json.loads(PATHS.read_text())["paths"]
    assert paths() >= {entry["path"] for entry in listed}
    others = ["/", "/nothing", "/v1", "/v1/health", "/v1/chat/completions/", "/_sandbox/ledger", "/docs"]

    async def scenario() -> None:
        async with Instance(edge.ports[0]) as one, Instance(edge.ports[1]) as two, edge.client() as client:
            passed = [await client.post(path, content=b"{}") for path in sorted(paths())]
            refused = [await client.post(path, content=b"{}") for path in others]
            assert {answer.status_code for answer in passed} == {200}
            assert len(one.requests) + len(two.requests) == len(paths())
        assert {answer.status_code for answer in refused} == {404}
        assert {answer.json()["error"]["code"] for answer in refused} == {"not_found"}

    run(scenario())


def test_instances_take_turns(edge: Running) -> None:
    async def scenario() -> None:
        async with Instance(edge.ports[0]) as one, Instance(edge.ports[1]) as two, edge.client() as client:
            for _ in range(6):
                await client.post(CHAT, content=b"{}")
            assert (len(one.requests), len(two.requests)) == (3, 3)

    run(scenario())


def test_an_instance_that_is_down_loses_no_request(edge: Running) -> None:
    async def scenario() -> None:
        async with edge.client() as client:
            async with Instance(edge.ports[0]), Instance(edge.ports[1]):
                for _ in range(4):  # both have connections that are kept
                    await client.post(CHAT, content=b"abc")
            async with Instance(edge.ports[1]) as left:
                answers = await asyncio.gather(*(client.post(CHAT, content=b"abc") for _ in range(20)))
                assert [(answer.status_code, answer.text) for answer in answers] == [(200, "3")] * 20
                assert len(left.requests) == 20

    run(scenario())


def test_a_request_waits_for_an_instance_that_starts(edge: Running) -> None:
    async def scenario() -> None:
        async with edge.client() as client:
            waiting = asyncio.create_task(client.post(CHAT, content=b"abc"))
            done, _ = await asyncio.wait({waiting}, timeout=0.4)
            assert not done
            async with Instance(edge.ports[0]):
                assert (await waiting).text == "3"

    run(scenario())


def test_without_an_instance_the_client_is_told_to_come_back(hasty: Running) -> None:
    async def scenario() -> None:
        async with hasty.client() as client:
            answer = await client.post(CHAT, content=b"{}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_instance")
        assert answer.headers["retry-after"] == "1"
        (entry,) = await hasty.logged(client)
        assert (entry["httpRequest"]["status"], entry["severity"]) == (503, "ERROR")

    run(scenario())


def test_an_instance_that_does_not_answer_in_time_is_given_up(hasty: Running) -> None:
    async def scenario() -> None:
        async def behave(request: Request) -> None:
            await request.reader.read()

        async with Instance(hasty.ports[0], behave), hasty.client() as client:
            assert (await client.post(CHAT, content=b"{}")).status_code == 504

    run(scenario())


def test_a_request_that_may_have_been_served_is_not_sent_again(edge: Running) -> None:
    async def scenario() -> None:
        async def behave(request: Request) -> None:
            await request.body()
            request.writer.transport.abort()

        async with Instance(edge.ports[0], behave) as one, Instance(edge.ports[1], behave) as two:
            async with edge.client() as client:
                answer = await client.post(CHAT, content=b"{}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_gateway")
            assert len(one.requests) + len(two.requests) == 1

    run(scenario())


def test_an_answer_that_breaks_off_breaks_off_for_the_client(edge: Running) -> None:
    async def scenario() -> None:
        async def behave(request: Request) -> None:
            await request.body()
            await request.begin()
            await request.chunk(b"one")
            request.writer.close()

        async with Instance(edge.ports[0], behave), edge.client() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(CHAT, content=b"{}")
        (entry,) = await edge.logged(client)
        assert (entry["httpRequest"]["status"], entry["httpRequest"]["responseSize"]) == (200, "3")

    run(scenario())


@pytest.mark.parametrize(("begun", "status"), [(True, 200), (False, 499)])
def test_a_client_that_goes_takes_the_instances_connection_with_it(
    begun: bool, status: int, edge: Running
) -> None:
    async def scenario() -> None:
        asked, closed = asyncio.Event(), asyncio.Event()

        async def behave(request: Request) -> None:
            await request.body()
            asked.set()
            if begun:
                await request.begin()
                await request.chunk(b"one")
            assert await request.reader.read() == b""
            closed.set()

        async with Instance(edge.ports[0], behave):
            async with edge.client() as client:
                sending = asyncio.create_task(read_some(client))
                await asked.wait()
                if begun:
                    await sending
                sending.cancel()
            await closed.wait()
        (entry,) = await edge.logged(client)
        assert entry["httpRequest"]["status"] == status

    async def read_some(client: httpx.AsyncClient) -> None:
        async with client.stream("POST", CHAT, content=b"{}") as answer:
            async for _ in answer.aiter_raw():
                return

    run(scenario())


def test_a_client_that_goes_while_it_waits_for_an_instance_is_not_waited_for(edge: Running) -> None:
    async def scenario() -> None:
        async with edge.client() as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(CHAT, content=b"{}", timeout=0.3)
        (entry,) = await edge.logged(client)
        assert entry["httpRequest"]["status"] == 499

    run(scenario())


def test_what_an_instance_answers_reaches_the_client_unchanged(edge: Running) -> None:
    async def scenario() -> None:
        async def behave(request: Request) -> None:
            await request.body()
            headers = (b"content-encoding: gzip", b"set-cookie: a=1", b"set-cookie: b=2", b"x-request-id: r1")
            await request.answer(b"not really gzip", *headers, status=b"429 Too Many Requests")

        async with (
            Instance(edge.ports[0], behave),
            edge.client() as client,
            client.stream("POST", CHAT, content=b"{}") as answer,
        ):
            body = b"".join([piece async for piece in answer.aiter_raw()])
        assert (answer.status_code, body) == (429, b"not really gzip")
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert answer.headers["x-request-id"] == "r1"

    run(scenario())


def test_an_answer_without_a_body_needs_none(edge: Running) -> None:
    async def scenario() -> None:
        async def behave(request: Request) -> None:
            await request.answer(b"", status=b"204 No Content")

        async with Instance(edge.ports[0], behave), edge.client() as client:
            assert [(await client.get("/health")).status_code for _ in range(3)] == [204] * 3

    run(scenario())


TRACE = "0af7651916cd43dd8448eb211c80319c"


async def seen(edge: Running, **headers: str) -> tuple[Request, dict[str, Any]]:
    """A request with these headers as the instance and as the log saw it."""
    async with Instance(edge.ports[0]) as instance, edge.client() as client:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        await client.post(CHAT + "?a=%20b", content=b"{}", headers=sent)
        (entry,) = await edge.logged(client)
        return instance.requests[0], entry


def test_a_load_balancers_headers_are_added(edge: Running) -> None:
    async def scenario() -> None:
        request, entry = await seen(
            edge, x_forwarded_for="10.9.8.7", authorization="Bearer k", host="api.test"
        )
        assert request.line == f"POST {CHAT}?a=%20b HTTP/1.1"
        assert request.header("x-forwarded-for") == "10.9.8.7,127.0.0.1,127.0.0.1"
        assert request.header("x-forwarded-proto") == "https"
        assert request.header("authorization") == "Bearer k"
        assert request.header("host") == "api.test"
        trace = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01", request.header("traceparent"))
        assert trace
        assert request.header("x-cloud-trace-context").startswith(trace.group(1) + "/")
        assert entry["trace"].endswith(f"/traces/{trace.group(1)}")
        assert entry["httpRequest"]["remoteIp"] == "127.0.0.1"  # not what the client says of itself

    run(scenario())


@pytest.mark.parametrize(
    "header",
    [
        {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
        {"x_cloud_trace_context": f"{TRACE}/123;o=1"},
    ],
)
def test_the_clients_trace_is_kept(header: dict[str, str], edge: Running) -> None:
    async def scenario() -> None:
        request, entry = await seen(edge, **header)
        assert request.header("traceparent").startswith(f"00-{TRACE}-")
        assert request.header("x-cloud-trace-context").startswith(f"{TRACE}/")
        assert entry["trace"] == f"projects/tallygate-sandbox/traces/{TRACE}"

    run(scenario())


@pytest.mark.parametrize("value", ["", "00-x", f"00-{'0' * 32}-b7ad6b7169203331-01", CANARY, "a\xe9"])
def test_a_trace_that_makes_no_sense_is_replaced(value: str, edge: Running) -> None:
    async def scenario() -> None:
        async with Instance(edge.ports[0]) as instance, edge.client() as client:
            headers = [(b"traceparent", value.encode("latin-1"))]
            assert (await client.post(CHAT, content=b"{}", headers=headers)).status_code == 200
            (entry,) = await edge.logged(client)
            trace = entry["trace"].rpartition("/")[2]
            assert re.fullmatch(r"(?!0{32})[0-9a-f]{32}", trace)
            assert instance.requests[0].header("traceparent").startswith(f"00-{trace}-")

    run(scenario())


def test_headers_of_one_hop_end_here(edge: Running) -> None:
    async def scenario() -> None:
        request, _ = await seen(edge, connection="keep-alive, x-private", x_private="1", te="trailers")
        names = {name for name, _ in request.headers}
        assert names.isdisjoint({"x-private", "te"})

    run(scenario())


def test_each_request_is_one_entry_as_the_platform_writes_it(edge: Running) -> None:
    async def scenario() -> None:
        sent, entry = await seen(edge)
        request = entry.pop("httpRequest")
        assert set(entry) == {
            "insertId", "logName", "timestamp", "severity", "trace", "spanId", "traceSampled", "resource",
            "labels",
        }  # fmt: skip
        assert entry["logName"] == "projects/tallygate-sandbox/logs/run.googleapis.com%2Frequests"
        assert entry["resource"]["type"] == "cloud_run_revision"
        assert entry["resource"]["labels"]["service_name"] == "tallygate-proxy"
        assert entry["labels"]["instanceId"] in ("proxy-0", "proxy-1")
        assert entry["severity"] == "INFO"
        ahead = parse_rfc3339(entry["timestamp"]) - datetime.now(UTC)
        assert abs(ahead - AHEAD) < timedelta(seconds=SECONDS)
        assert re.fullmatch(r"\d+\.\d+s", request.pop("latency"))
        assert request == {
            "requestMethod": "POST",
            "requestUrl": f"https://gateway.example{CHAT}",
            "status": 200,
            "requestSize": "2",
            "responseSize": "1",
            "userAgent": sent.header("user-agent"),
            "remoteIp": "127.0.0.1",
            "protocol": "HTTP/1.1",
        }

    run(scenario())


def test_what_cloud_run_never_sees_is_the_load_balancers_entry(edge: Running) -> None:
    async def scenario() -> None:
        async with edge.client() as client:
            await client.get("/nothing")
        (entry,) = await edge.logged(client)
        assert entry["resource"]["type"] == "http_load_balancer"
        assert entry["logName"] == "projects/tallygate-sandbox/logs/requests"
        assert (entry["httpRequest"]["status"], entry["severity"]) == (404, "WARNING")

    run(scenario())


def test_no_query_body_or_header_is_logged_and_probes_leave_no_entry(edge: Running) -> None:
    async def scenario() -> None:
        headers = {
            "authorization": f"Bearer {CANARY}",
            "cookie": CANARY,
            "x-other": CANARY,
            "referer": CANARY,
        }
        async with Instance(edge.ports[0]), edge.client(**headers) as client:
            await client.get("/_sandbox/health")
            for path in (CHAT, "/nothing"):
                await client.post(f"{path}?key={CANARY}", content=CANARY.encode())
        assert len(await edge.logged(client, 2)) == 2
        assert CANARY not in edge.log.read_text()

    run(scenario())
