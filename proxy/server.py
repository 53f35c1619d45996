"""Serves the gateway until SIGTERM, then lets running requests finish."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import uvicorn

from proxy.asgi import App

_LAST_WORDS_SECONDS: Final = 1.0
"""For requests cut short to write their events; then for the limits to be given back."""
_KEEP_ALIVE_SECONDS: Final = 620
"""Longer than a load balancer keeps an idle connection (600 s): who closes first loses no request."""
log = logging.getLogger("tallygate.server")


class _Server(uvicorn.Server):
    """Uvicorn, which waits for the requests that it cut short, and ends without killing its own process."""

    def __init__(self, config: uvicorn.Config, flush: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__(config)
        self._flush = flush

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ask for a graceful end on SIGTERM and SIGINT; the base class raises the signal again afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what runs within the grace; cut the rest short, and let it say so."""
        running = set(self.server_state.tasks)
        await super().shutdown(sockets)
        unfinished = {task for task in running if not task.done()}
        if unfinished:
            await asyncio.wait(unfinished, timeout=_LAST_WORDS_SECONDS)
            log.warning("requests cut short", extra={"fields": {"requests": len(unfinished)}})
        await self._flush()


def serve(
    app: App, *, host: str, port: int, grace_seconds: int, flush: Callable[[], Coroutine[Any, Any, None]]
) -> bool:
    """Serve until SIGTERM or SIGINT. ``flush`` runs after the last request.

    Returns whether the server came up; False when it can't listen.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
    )
    server = _Server(config, flush)
    server.run()
    return server.started
