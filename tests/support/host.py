"""A web server on loopback, in a thread, for applications that run one after the other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

_START_SECONDS: Final = 20


class Host:
    """One web server for all applications of a run: stopping a server takes a while."""

    def __init__(self) -> None:
        self.url = ""
        self._current: Starlette | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        config = uvicorn.Config(
            self._serve,
            host="127.0.0.1",
            port=0,
            log_level="error",
            ws="none",
            interface="asgi3",
            lifespan="off",
            access_log=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._current is not None, "a request came while nothing runs"
        await self._current(scope, receive, send)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Named as TCP: else asyncio leaves small packets waiting for acknowledgements, 40 ms each.
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._started.set()
        await self._server.serve([listening])

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        assert self._started.wait(_START_SECONDS), "the server did not start"

    def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        self._thread.join()

    @contextmanager
    def serving(self, app: Starlette) -> Iterator[str]:
        """Serve an application for as long as the block runs, at the URL; one at a time."""
        lifespan = app.router.lifespan_context(app)
        self._wait(lifespan.__aenter__())
        self._current = app
        try:
            yield self.url
        finally:
            self._current = None
            self._wait(lifespan.__aexit__(None, None, None))

    def _wait(self, work: Coroutine[Any, Any, object]) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)
