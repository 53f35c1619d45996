"""Who is calling: a presented key becomes a tenant, from a short-lived cache before the app database.

A key whose checksum is wrong costs no read; an unknown one is remembered for a while. With the database down
a cached key keeps working for :data:`STALE_SECONDS`; a key that is not cached is then refused with 503: the
gateway fails closed on authentication.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from proxy.errors import ApiError
from tallygate import keys
from tallygate.appdb import Database, DatabaseUnavailableError
from tallygate.clock import Clock
from tallygate.tenants import ApiKey, RecordError, Tenant, get_key, get_tenant

STALE_SECONDS: Final = 15 * 60
UNKNOWN_SECONDS: Final = 10
_MOST_CACHED: Final = 10_000
_RETRY_AFTER_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller."""

    key: ApiKey
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: Caller | None
    """None: the key does not exist."""
    read_at: float
    """Monotonic seconds."""


class Authenticator:
    """Looks keys up. Used from one event loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        fresh_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._monotonic = monotonic
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._reading: dict[str, asyncio.Task[_Entry]] = {}

    async def authenticate(self, headers: Mapping[bytes, bytes]) -> Caller:
        """The caller that the headers name.

        Raises:
            ApiError: ``invalid_key`` 401; ``tenant_suspended`` or ``tenant_closed`` 403;
                ``database_unavailable`` 503.
        """
        secret = presented_key(headers)
        if secret is None:
            raise ApiError(
                401, "invalid_key", "no API key: send it as 'Authorization: Bearer …' or x-api-key"
            )
        if not keys.well_formed(secret):
            raise _invalid()
        caller = (await self._entry(keys.key_hash(secret))).caller
        now = self._clock.now()
        if caller is None or not caller.key.valid_at(now):
            raise _invalid()
        _check_status(caller.tenant, now)
        return caller

    async def _entry(self, key_hash: str) -> _Entry:
        entry, now = self._cache.get(key_hash), self._monotonic()
        if entry is not None:
            fresh = self._fresh_seconds if entry.caller else UNKNOWN_SECONDS
            if now - entry.read_at < fresh:
                return entry
        reading = self._reading.get(key_hash)
        if reading is None:  # several requests with one key read it once
            reading = asyncio.create_task(self._read(key_hash))
            self._reading[key_hash] = reading
            reading.add_done_callback(lambda _: self._reading.pop(key_hash, None))
        try:
            return await asyncio.shield(reading)
        except DatabaseUnavailableError:
            if entry is not None and entry.caller and now - entry.read_at < STALE_SECONDS:
                return entry
            raise ApiError(
                503, "database_unavailable", "keys can't be checked now: try again",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            ) from None  # fmt: skip

    async def _read(self, key_hash: str) -> _Entry:
        try:
            caller = await asyncio.to_thread(_look_up, self._database, key_hash)
        except RecordError as error:
            raise DatabaseUnavailableError(str(error)) from error
        entry = _Entry(caller, self._monotonic())
        self._cache[key_hash] = entry
        self._cache.move_to_end(key_hash)
        while len(self._cache) > _MOST_CACHED:
            self._cache.popitem(last=False)
        return entry


def presented_key(headers: Mapping[bytes, bytes]) -> str | None:
    """The key in ``Authorization: Bearer`` or ``x-api-key``; None without one."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip() or None


def _look_up(database: Database, key_hash: str) -> Caller | None:
    key = get_key(database, key_hash)
    if key is None:
        return None
    tenant = get_tenant(database, key.tenant_id)
    return None if tenant is None else Caller(key, tenant)


def _check_status(tenant: Tenant, now: datetime) -> None:
    if tenant.serves_at(now):
        return
    if tenant.status == "closed":
        raise ApiError(403, "tenant_closed", "this account is closed")
    if tenant.status == "pending":
        raise ApiError(403, "tenant_suspended", "this account is not active yet: finish the subscription")
    raise ApiError(403, "tenant_suspended", "this account is suspended: check its payment")


def _invalid() -> ApiError:
    return ApiError(401, "invalid_key", "the API key is unknown, expired or revoked")
