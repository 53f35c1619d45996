"""A provider that costs next to nothing: ready answers, so that what is measured is the gateway.

``python -m sandbox.bench.provider --port N`` answers OpenAI's chat completions, whole or as a stream of
:data:`CHUNKS` chunks, without a ledger and without counting.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import uvicorn

CHUNKS: Final = 200
_USAGE: Final = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": 12 + CHUNKS}
_ABOUT: Final = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18"}


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return _event({**_ABOUT, "object": "chat.completion.chunk", "choices": choices})


WHOLE: Final = json.dumps(
    {
        **_ABOUT,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 20},
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
).encode()
STREAM: Final = (
    _chunk({"role": "assistant", "content": ""}),
    *(_chunk({"content": f"word{number} "}) for number in range(CHUNKS)),
    _chunk({}, "stop"),
    _event({**_ABOUT, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}),
    b"data: [DONE]\n\n",
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request as if it were a chat completion."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    stream = b'"stream":true' in body.replace(b" ", b"")
    kind = b"text/event-stream" if stream else b"application/json"
    headers = [(b"content-type", kind)] + ([] if stream else [(b"content-length", str(len(WHOLE)).encode())])
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if not stream:
        await send({"type": "http.response.body", "body": WHOLE})
        return
    for chunk in STREAM:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve on loopback until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="error", lifespan="off"
    )


if __name__ == "__main__":
    main()
