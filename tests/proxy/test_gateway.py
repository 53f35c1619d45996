"""What the gateway does whatever LiteLLM does: in one process, with an application in LiteLLM's place."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.asgi import App, Message, Receive, Scope, Send
from proxy.auth import Authenticator
from proxy.errors import ApiError
from proxy.exchange import Emitter
from proxy.gateway import Gateway
from proxy.limits.gate import Gate
from proxy.output import Lines
from proxy.wire import Call, current
from tallygate.appdb import Database
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.catalogue import Catalogue, Model, Price
from tallygate.clock import FixedClock
from tallygate.records import TokenCounts
from tallygate.tenants import issue_key, put_tenant
from tests.support.gateway import keys_only, tenant

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
PRICE = Price(
    "v1", datetime(2026, 1, 1, tzinfo=UTC), input=1_000_000, cached_input=0, cache_write=0, output=0
)
MODEL = Model("small", "openai", "gpt-x", "chat", "c", (PRICE,), (), 10, 0, 100, None, "KEY")
USAGE = b'{"usage": {"prompt_tokens": 7, "completion_tokens": 3}}'


@dataclass
class Reply:
    """What a client got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    done: bool = False


@dataclass
class House:
    """A gateway in this process and the lines that it wrote."""

    gateway: Gateway
    key: str
    lines_path: Path
    clock: FixedClock
    database: Database

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines_path.read_text().splitlines()]

    def events(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == "llm_usage"]

    def behind(self, app: App, **changes: Any) -> House:
        """The same with another application behind it."""
        return replace(self, gateway=replace(self.gateway, litellm=app, **changes))

    async def get(self, path: str, key: str | None = None) -> Reply:
        """One request without a body, by default with the key of this house."""
        return await self.post(path=path, method="GET", key=key)

    async def post(
        self,
        body: Any = None,
        *,
        method: str = "POST",
        key: str | None = None,
        path: str = "/v1/chat/completions",
        leave: asyncio.Event | None = None,
    ) -> Reply:
        """One request; ``leave`` is when its client goes away."""
        content = {"model": "small", "messages": [], **(body or {})}
        reply, sent = Reply(), False

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": json.dumps(content).encode(), "more_body": False}
            await (leave or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                reply.body += message.get("body", b"")
                reply.done = not message.get("more_body", False)

        headers = [(b"authorization", f"Bearer {key or self.key}".encode())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await self.gateway(scope, receive, send)
        return reply


def estimate(_model: str, _body: Any, text: str) -> TokenCounts:
    return TokenCounts(input=11, output=len(text))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    database, clock = SQLiteDatabase(tmp_path / "app.sqlite"), FixedClock(NOON)
    put_tenant(database, tenant("acme", models=("small",)))
    key = issue_key(database, "acme", label="test", now=NOON).secret
    path = tmp_path / "stdout"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    catalogue = Catalogue({"small": MODEL})
    emitter = Emitter(Lines(descriptor), clock, catalogue, estimate, "project")
    gate = Gate(database, clock, instance="i", concurrency=80)
    authenticator = Authenticator(database, clock, identities=keys_only(), fresh_seconds=30)
    yield House(
        Gateway(answering(USAGE), "sk-master", catalogue, authenticator, gate, emitter, 10_000),
        key,
        path,
        clock,
        database,
    )
    os.close(descriptor)
    database.close()


def called(*chunks: bytes, complete: bool = True, stream: bool = False) -> Call:
    """A provider's answer as the wire sees it."""
    call = Call("gpt-x", status=200, content_type="text/event-stream" if stream else "application/json")
    for chunk in chunks:
        call.add(chunk)
    call.complete = complete
    wire = current.get()
    assert wire is not None
    wire.calls.append(call)
    return call


async def start(send: Send, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})


def answering(body: bytes, *, seen: bool = True, status: int = 200) -> App:
    """An application that answers ``body``; ``seen`` is whether its provider call was."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if seen:
            called(body)
        await start(send, status)
        await send({"type": "http.response.body", "body": body})

    return app


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(work, 20)

    return asyncio.run(bounded())


def test_an_answer_without_a_seen_call_is_metered_by_what_the_client_got(house: House) -> None:
    """A provider that LiteLLM reaches by another way than the watched one must not be free."""
    reply = run(house.behind(answering(USAGE, seen=False)).post())

    (event,) = house.events()
    assert reply.body == USAGE
    assert (event["input_tokens"], event["output_tokens"], event["estimated"]) == (7, 3, False)
    assert event["cost_nano_usd"] == "7000"


def test_only_the_time_without_an_open_provider_call_is_added_latency(house: House) -> None:
    async def slow_provider(scope: Scope, receive: Receive, send: Send) -> None:
        called(USAGE).began -= 3600
        await start(send)
        await send({"type": "http.response.body", "body": USAGE})

    run(house.behind(slow_provider).post())
    run(house.behind(answering(USAGE, seen=False)).post())

    slow, unseen = house.events()
    assert slow["added_latency_ms"] == 0
    assert unseen["added_latency_ms"] == unseen["latency_ms"]


def test_a_failure_before_the_tenant_is_known_is_told_on_stderr(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """It leaves no usage event, and it is the gateway's own: availability must see it."""

    class Unreachable:
        async def authenticate(self, _: Any) -> Any:
            raise ApiError(503, "database_unavailable", "try again")

    reply = run(house.behind(answering(USAGE), authenticator=Unreachable()).post())

    (record,) = (record for record in caplog.records if record.name == "tallygate.gateway")
    assert (reply.status, house.lines()) == (503, [])
    assert record.__dict__["fields"] == {
        "event": "request_failed",
        "request_id": reply.headers["x-request-id"],
        "error_type": "database_unavailable",
    }


def test_an_answer_without_any_usage_is_estimated(house: House) -> None:
    run(house.behind(answering(b'{"choices": [{"message": {"content": "four"}}]}')).post())

    (event,) = house.events()
    assert (event["input_tokens"], event["output_tokens"], event["estimated"]) == (11, 4, True)


def test_a_failing_tokenizer_costs_the_count_not_the_event(house: House) -> None:
    def broken(*_: Any) -> TokenCounts:
        raise KeyError("no tokenizer")

    gateway = replace(house.gateway, emitter=replace(house.gateway.emitter, estimate=broken))
    answer = answering(b'{"choices": [{"message": {"content": "twelve chars"}}]}')

    run(replace(house, gateway=gateway).behind(answer).post())

    (event,) = house.events()
    assert (event["output_tokens"], event["estimated"]) == (3, True)
    assert event["input_tokens"] >= 1


def test_an_answer_that_is_too_large_to_keep_is_metered_by_its_end(house: House) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call = called(b'{"data": [')
        for _ in range(20):
            call.add(b"0.1, " * 200_000)
        call.add(b'], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}')
        await start(send)
        await send({"type": "http.response.body", "body": b"{}"})

    run(house.behind(app).post())

    (event,) = house.events()
    assert (event["status"], event["input_tokens"], event["estimated"]) == ("success", 7, False)


def test_a_failure_without_output_bills_nothing(house: House) -> None:
    """A provider's start of a message tells what the prompt would cost; nobody got anything for it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        start_of_message = b'data: {"type": "message_start", "message": {"usage": {"input_tokens": 9}}}\n\n'
        called(start_of_message, complete=False, stream=True)
        await start(send)
        await send({"type": "http.response.body", "body": start_of_message, "more_body": True})
        await send({"type": "http.response.body", "body": b"event: error\ndata: {}\n\n"})

    run(house.behind(app).post({"stream": True}, path="/v1/messages"))

    (event,) = house.events()
    assert (event["status"], event["total_tokens"], event["estimated"]) == ("failure", 0, False)


@pytest.mark.parametrize(
    "body", [b'{"type":"error","error":{"message":"litellm.X"}}', b'{"error": {"message": "x"}}']
)
def test_an_error_with_status_200_is_an_error(house: House, body: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called(b"no JSON")
        await start(send)
        await send({"type": "http.response.body", "body": body})

    reply = run(house.behind(app).post())

    (event,) = house.events()
    assert (reply.status, event["http_status"], event["status"]) == (502, 502, "failure")
    assert b"litellm" not in reply.body


def test_a_response_that_failed_speaks_in_the_gateways_words(house: House) -> None:
    body = (
        b'event: response.failed\ndata: {"error":{"message":"litellm.X: a \\"b\\" c"},"status":"failed"}\n\n'
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called(b"data: {}", stream=True)
        await start(send)
        await send({"type": "http.response.body", "body": body})

    reply = run(house.behind(app).post({"stream": True}))

    (event,) = house.events()
    assert event["status"] == "failure"
    assert b'"message":"the provider\'s stream broke off"},"status":"failed"' in reply.body


async def _raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a secret prompt")


async def _says_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def _raises_in_mid_stream(scope: Scope, receive: Receive, send: Send) -> None:
    called(b'data: {"choices": [{"delta": {"content": "abc"}}]}\n\n', complete=False, stream=True)
    await start(send)
    await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
    raise RuntimeError("a secret prompt")


@pytest.mark.parametrize(
    ("app", "http_status", "tokens"),
    [(_raises, 500, 0), (_says_nothing, 500, 0), (_raises_in_mid_stream, 200, 14)],
)
def test_a_failure_of_litellm_leaves_one_failure(
    house: House, app: App, http_status: int, tokens: int
) -> None:
    run(house.behind(app).post({"stream": True}))

    (event,) = house.events()
    assert (event["status"], event["http_status"], event["total_tokens"]) == ("failure", http_status, tokens)


def test_the_event_is_written_before_the_last_chunk_and_before_the_end_mark(house: House) -> None:
    seen: list[tuple[bytes, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call = called(stream=True)
        await start(send)
        for chunk in (b'data: {"choices": []}\n\n', b"data: [DONE]\n\n"):
            call.add(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def request() -> None:
        inner = house.behind(app)

        async def send(message: Message) -> None:
            seen.append((message.get("body", b""), len(house.events())))

        sent = iter([{"type": "http.request", "body": b'{"model": "small", "messages": [], "stream": true}'}])

        async def receive() -> Message:
            for message in sent:
                return message
            await asyncio.Event().wait()
            raise AssertionError

        headers = [(b"x-api-key", house.key.encode())]
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
        await inner.gateway(scope, receive, send)

    run(request())

    assert seen == [(b"", 0), (b'data: {"choices": []}\n\n', 0), (b"data: [DONE]\n\n", 1), (b"", 1)]


def test_a_text_that_looks_like_an_end_mark_ends_nothing(house: House) -> None:
    text = json.dumps({"choices": [{"delta": {"content": "\ndata: [DONE]\nevent: message_stop\n"}}]})
    usage = b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\ndata: [DONE]\n\n'

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call = called(stream=True)
        await start(send)
        for chunk in (f"data: {text}\n\n".encode(), usage):
            call.add(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    run(house.behind(app).post({"stream": True, "stream_options": {"include_usage": True}}))

    (event,) = house.events()
    assert (event["status"], event["output_tokens"], event["estimated"]) == ("success", 3, False)


def _drip(chunks: int, release: asyncio.Event) -> App:
    """A stream that waits for ``release`` after its first chunk."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call = called(complete=False, stream=True)
        await start(send)
        for number in range(chunks):
            chunk = f'data: {{"choices": [{{"delta": {{"content": "{number}"}}}}]}}\n\n'.encode()
            call.add(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await release.wait()
        call.add(b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\ndata: [DONE]\n\n')
        call.complete = True
        await send({"type": "http.response.body", "body": b""})

    return app


def test_a_stream_is_read_on_after_the_client_has_gone(house: House) -> None:
    async def request() -> Reply:
        leave, release = asyncio.Event(), asyncio.Event()
        leave.set()
        asyncio.get_running_loop().call_later(0.05, release.set)
        return await house.behind(_drip(3, release)).post({"stream": True}, leave=leave)

    reply = run(request())

    (event,) = house.events()
    assert (event["status"], event["http_status"], event["estimated"]) == ("cancelled", 499, False)
    assert (event["input_tokens"], event["output_tokens"]) == (7, 3)
    assert not reply.done


def test_reading_on_ends_after_a_while_with_an_estimate_of_what_came(house: House) -> None:
    async def request() -> Reply:
        leave = asyncio.Event()
        leave.set()
        app = _drip(3, asyncio.Event())
        return await house.behind(app, drain_seconds=0.05).post({"stream": True}, leave=leave)

    run(request())

    (event,) = house.events()
    assert (event["status"], event["http_status"], event["estimated"]) == ("cancelled", 499, True)
    assert (event["input_tokens"], event["output_tokens"]) == (11, 1)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()


async def _asks_and_waits(scope: Scope, receive: Receive, send: Send) -> None:
    wire = current.get()
    assert wire is not None
    wire.calls.append(Call("gpt-x"))
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (lambda: _drip(3, asyncio.Event()), (200, True, 12)),
        (lambda: _asks_and_waits, (503, True, 0)),
    ],
    ids=["stream", "no answer yet"],
)
def test_a_request_cut_short_by_the_end_of_the_process_leaves_one_estimate(
    house: House, app: Callable[[], App], expected: tuple[int, bool, int]
) -> None:
    async def request() -> None:
        async with _running(house.behind(app()).post({"stream": True})) as task:
            while not any(line["event"] == "llm_admit" for line in house.lines()):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(request())

    (event,) = house.events()
    assert event["status"] == "cancelled"
    assert (event["http_status"], event["estimated"], event["total_tokens"]) == expected


def test_a_price_that_is_not_known_marks_the_event(house: House) -> None:
    house.clock.at = datetime(2025, 1, 1, tzinfo=UTC)  # before the only price

    run(house.post())

    (event,) = house.events()
    assert (event["unpriced"], event["cost_nano_usd"], event["total_tokens"]) == (True, "0", 10)
    assert "price_version" not in event


def test_a_call_of_a_model_outside_the_catalogue_is_unpriced(house: House) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called(USAGE).provider_model = "gpt-y"
        await start(send)
        await send({"type": "http.response.body", "body": USAGE})

    run(house.behind(app).post())

    (event,) = house.events()
    assert (event["unpriced"], event["provider_model"]) == (True, "gpt-y")
    assert "served_model" not in event


def test_only_fallbacks_that_the_tenant_may_use_are_offered(house: House) -> None:
    bodies: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append(json.loads((await receive())["body"]))
        await answering(USAGE)(scope, receive, send)

    models = {name: replace(MODEL, name=name, fallbacks=()) for name in ("own", "other")}
    catalogue = Catalogue({"small": replace(MODEL, fallbacks=("other", "own")), **models})
    put_tenant(house.database, tenant("acme", models=("small", "own")))

    run(house.behind(app, catalogue=catalogue).post())

    assert bodies[0]["fallbacks"] == ["own"]


def test_litellm_sees_no_header_of_the_client_and_the_key_of_this_process(house: House) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answering(USAGE)(scope, receive, send)

    run(house.behind(app).post(path="/chat/completions"))

    headers = dict(scopes[0]["headers"])
    assert headers[b"authorization"] == b"Bearer sk-master"
    assert house.key.encode() not in b"".join(headers.values())
    assert scopes[0]["path"] == "/v1/chat/completions"


def test_a_websocket_is_closed(house: House) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    run(house.gateway({"type": "websocket", "path": "/v1/responses", "headers": []}, receive, send))

    assert [message["type"] for message in sent] == ["websocket.close"]
