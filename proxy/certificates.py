"""The certificates that a token's signature is checked against, fetched when needed and kept while valid."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

import httpx

_TIMEOUT_SECONDS: Final = 5.0
_SHORTEST_SECONDS: Final = 60.0
"""An unknown key id is no reason to fetch more often: anybody can make one up."""
_PAUSE_SECONDS: Final = 5.0
"""After a fetch that failed: else every token would wait for its timeout."""
_LONGEST_SECONDS: Final = 24 * 3600.0
_STALE_SECONDS: Final = 24 * 3600.0
"""How long beyond their time certificates are used while new ones can't be fetched."""
_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")
log = logging.getLogger("tallygate.identity")


class CertificatesUnavailableError(Exception):
    """No certificates could be fetched, and none are kept."""


class Certificates:
    """PEM certificates by key id, from one address. Used from one event loop."""

    def __init__(self, url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._monotonic = monotonic
        self._kept: Mapping[str, str] = {}
        self._fetched_at = self._fresh_until = float("-inf")
        self._lock = asyncio.Lock()

    async def for_key(self, key_id: str) -> Mapping[str, str]:
        """All certificates; fetched first when they are out of date or lack this key's.

        Raises:
            CertificatesUnavailableError: when there are none to be had.
        """
        async with self._lock:
            now = self._monotonic()
            waited = now - self._fetched_at
            missing = key_id not in self._kept and waited >= _SHORTEST_SECONDS
            if (now >= self._fresh_until and waited >= _PAUSE_SECONDS) or missing:
                await self._fetch(now)
            if not self._kept:
                raise CertificatesUnavailableError
        return self._kept

    async def _fetch(self, now: float) -> None:
        self._fetched_at = now
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
                answer = await client.get(self._url)
            answer.raise_for_status()
            certificates = {str(key_id): str(pem) for key_id, pem in answer.json().items()}
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            log.error("certificates can't be fetched", exc_info=error)
            if now >= self._fresh_until + _STALE_SECONDS:
                self._kept = {}
            return
        found = _MAX_AGE.search(answer.headers.get("cache-control", ""))
        seconds = float(found.group(1)) if found else _SHORTEST_SECONDS
        self._kept = certificates
        self._fresh_until = now + min(max(seconds, _SHORTEST_SECONDS), _LONGEST_SECONDS)
