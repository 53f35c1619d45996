"""The wire notes every call, keeps what came, and tells the request's id to doubles only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from proxy.wire import MOST_BYTES, REQUEST_ID_HEADER, Call, Tap, Wire, current, on_loopback


class Bytes(httpx.AsyncByteStream):
    """Chunks, then perhaps a broken connection."""

    def __init__(self, *chunks: bytes, breaks: bool = False) -> None:
        self._chunks = chunks
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._breaks:
            raise httpx.ReadError("broke off")


def through(url: str, stream: Callable[[], Bytes], *, wire: Wire | None) -> httpx.Request:
    """Send a request through a tap; the request as it went out."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=stream())

    async def call() -> None:
        token = current.set(wire)
        try:
            async with httpx.AsyncClient(transport=Tap(httpx.MockTransport(answer))) as client:
                await client.post(url, json={"model": "gpt-x", "messages": []})
        finally:
            current.reset(token)

    asyncio.run(call())
    return sent[0]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1/v1/x", True),
        ("http://localhost/x", True),
        ("http://[::1]/x", True),
        ("https://api.openai.com/v1/x", False),
        ("https://127.0.0.1.example.com/x", False),
        ("https://localhost@api.openai.com/x", False),
    ],
)
def test_the_request_id_is_told_to_doubles_only(url: str, told: bool) -> None:
    request = through(url, Bytes, wire=Wire("id-1"))

    assert request.headers.get(REQUEST_ID_HEADER) == ("id-1" if told else None)
    assert on_loopback(url) is told


def test_a_call_is_noted_with_its_answer() -> None:
    wire = Wire("id-1")

    through("https://a/x", lambda: Bytes(b"data: 1\n\n", b"data: [DONE]\n\n"), wire=wire)

    (call,) = wire.calls
    assert (call.provider_model, call.status, call.complete, call.whole) == ("gpt-x", 200, True, True)
    assert call.body == b"data: 1\n\ndata: [DONE]\n\n"


def test_a_broken_stream_keeps_what_came() -> None:
    wire = Wire("id-1")

    with pytest.raises(httpx.ReadError):
        through("https://a/x", lambda: Bytes(b"data: 1\n\n", breaks=True), wire=wire)

    (call,) = wire.calls
    assert (call.body, call.complete, call.whole) == (b"data: 1\n\n", False, False)


def test_calls_are_open_until_their_answer_was_read() -> None:
    wire = Wire("id-1")
    assert wire.open_seconds(1e12) == 0

    through("https://a/x", lambda: Bytes(b"data: [DONE]\n\n"), wire=wire)
    with pytest.raises(httpx.ReadError):
        through("https://a/x", lambda: Bytes(breaks=True), wire=wire)

    first, second = wire.calls
    assert first.ended is not None
    assert second.ended is not None
    assert wire.open_seconds(1e12) == first.ended - first.began + second.ended - second.began
    wire.calls.append(Call("gpt-x", began=10.0))
    assert wire.open_seconds(12.5) == pytest.approx(wire.open_seconds(10.0) + 2.5)


def test_a_call_outside_a_request_is_let_through() -> None:
    assert REQUEST_ID_HEADER not in through("http://127.0.0.1/x", Bytes, wire=None).headers


def test_of_an_endless_answer_the_end_is_kept() -> None:
    call = Call("gpt-x")
    for number in range(20):
        call.add(b"%02d" % number + b"x" * 2**20)

    assert len(call.body) <= MOST_BYTES
    assert call.body.startswith(b"05")
    assert call.body[-(2**20) - 2 :].startswith(b"19")


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data: {}\n\ndata: [DONE]\n\n", True),
        (b'event: message_stop\ndata: {"type": "message_stop"}\n\n', True),
        (b"event: response.completed\ndata: {}\n\n", True),
        (b"event: response.incomplete\ndata: {}\n\n", True),
        (b'data: {"type":"response.completed"}\n\n', True),
        (b'data: {"text": "data: [DONE]"}\n\n', False),
        (b'data: {"text": "event: message_stop"}\n\n', False),
        (b"data: {}\n\n", False),
        (b"", False),
    ],
)
def test_a_stream_has_ended_when_its_mark_came(body: bytes, ended: bool) -> None:
    call = Call("gpt-x", status=200, content_type="text/event-stream", complete=True)
    call.add(body)

    assert call.whole is ended
