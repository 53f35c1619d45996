"""Asks the app database, unless it has just not answered: then nobody waits for its timeout again and again.

While the database is down, one request at a time tries it, at most once in :data:`PAUSE_SECONDS`; all others
are told at once. A document that too many write at a time says nothing about the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from tallygate.appdb import DatabaseContendedError, DatabaseUnavailableError

PAUSE_SECONDS: Final = 1.0
_THREADS: Final = 32
"""Operations at once: at SIGTERM every tenant's spend is written within two seconds."""
T = TypeVar("T")


class Breaker:
    """Guards one database. Used from one event loop."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._closed_until: float | None = None
        """None while the database answers."""
        self._trying = False
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="app-database")

    async def ask(self, call: Callable[[], T], *, insist: bool = False) -> T:
        """The call's result, from a thread. ``insist``: now or never, so the database is tried in any case.

        Raises:
            DatabaseUnavailableError: when the database does not answer, or did not a moment ago.
        """
        tries = self._closed_until is not None and not insist
        if tries:
            if self._trying or self._monotonic() < (self._closed_until or 0.0):
                raise DatabaseUnavailableError("the database did not answer a moment ago")
            self._trying = True
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except DatabaseContendedError:
            self._closed_until = None
            raise
        except DatabaseUnavailableError:
            self._closed_until = self._monotonic() + PAUSE_SECONDS
            raise
        finally:
            if tries:
                self._trying = False
        self._closed_until = None
        return result
