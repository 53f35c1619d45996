"""Who is calling: a presented key becomes a tenant, from a short-lived cache before the app database.

A Google-signed identity token may come instead of a key, for a service account that is bound to a tenant, or
beside one (:mod:`proxy.identity`).

A key whose checksum is wrong costs no read; an unknown one is remembered for a while. With the database down
a cached key keeps working for :data:`STALE_SECONDS`; a key that is not cached is then refused with 503: the
gateway fails closed on authentication.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from proxy.breaker import Breaker
from proxy.errors import ApiError
from proxy.identity import Identities, looks_like_token
from tallygate import keys
from tallygate.appdb import Database, DatabaseUnavailableError
from tallygate.clock import Clock
from tallygate.tenants import ApiKey, RecordError, Tenant, get_key, get_tenant

STALE_SECONDS: Final = 15 * 60
UNKNOWN_SECONDS: Final = 10
_MOST_CACHED: Final = 10_000
log = logging.getLogger("tallygate.auth")
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


class _BrokenRecordError(Exception):
    """A key or its tenant is stored in a form that can't be understood."""


class Authenticator:
    """Looks keys up. Used from one event loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        identities: Identities,
        fresh_seconds: float,
        breaker: Breaker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._identities = identities
        self._fresh_seconds = fresh_seconds
        self._monotonic = monotonic
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._reading: dict[str, asyncio.Task[_Entry]] = {}
        self._breaker = breaker or Breaker(monotonic=monotonic)

    async def authenticate(self, headers: Mapping[bytes, bytes]) -> Caller:
        """The caller that the headers name.

        Raises:
            ApiError: ``invalid_key`` 401; ``database_unavailable``, ``identity_unavailable`` 503.
        """
        secret, token = presented(headers)
        if token is None and self._identities.enforced:
            text = "no identity token: the platform's check, which adds one, is not before this gateway"
            raise ApiError(401, "invalid_key", text)
        address = None if token is None else await self._identities.service_account(token)
        if secret is not None:
            if not keys.well_formed(secret):
                raise _invalid()
            digest = keys.key_hash(secret)
        elif address is not None:
            digest = keys.identity_hash(address)
        else:
            raise ApiError(
                401, "invalid_key", "no API key: send it as 'Authorization: Bearer …' or x-api-key"
            )
        caller = (await self._entry(digest)).caller
        if caller is None or not caller.key.valid_at(self._clock.now()):
            raise _invalid()
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
        except _BrokenRecordError:  # one tenant's trouble: the others' reads go on
            return self._stale(entry, now)
        except DatabaseUnavailableError:
            return self._stale(entry, now)

    def _stale(self, entry: _Entry | None, now: float) -> _Entry:
        """What is known of a key while the database is down.

        Raises:
            ApiError: ``database_unavailable`` 503 when that is nothing, or too old.
        """
        if entry is not None and entry.caller and now - entry.read_at < STALE_SECONDS:
            return entry
        raise ApiError(
            503,
            "database_unavailable",
            "keys can't be checked now: try again",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )

    async def _read(self, key_hash: str) -> _Entry:
        try:
            caller = await self._breaker.ask(partial(_look_up, self._database, key_hash, self._clock.now()))
        except ValueError as error:
            problem = str(error) if isinstance(error, RecordError) else "a time is malformed"
            log.error("a record can't be understood", extra={"fields": {"problem": problem}})
            raise _BrokenRecordError from error
        entry = _Entry(caller, self._monotonic())
        self._cache[key_hash] = entry
        self._cache.move_to_end(key_hash)
        while len(self._cache) > _MOST_CACHED:
            self._cache.popitem(last=False)
        return entry


def presented(headers: Mapping[bytes, bytes]) -> tuple[str | None, str | None]:
    """The key and the identity token that a request carries.

    The key stands in ``Authorization: Bearer`` or ``x-api-key``, the token in
    ``X-Serverless-Authorization: Bearer``, or in ``Authorization`` where no key is.
    """
    bearer = _bearer(headers, b"authorization")
    token = _bearer(headers, b"x-serverless-authorization")
    if bearer is not None and looks_like_token(bearer):
        token, bearer = token or bearer, None
    key = bearer or headers.get(b"x-api-key", b"").decode("latin-1").strip() or None
    return key, token


def _bearer(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    scheme, _, credential = headers.get(name, b"").decode("latin-1").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


def _look_up(database: Database, key_hash: str, now: datetime) -> Caller | None:
    """Read a key and its tenant.

    Raises:
        ValueError: when either is stored in a form that can't be understood, its times included.
        DatabaseUnavailableError: when the store can't be reached.
    """
    key = get_key(database, key_hash)
    tenant = None if key is None else get_tenant(database, key.tenant_id)
    if key is None or tenant is None:
        return None
    key.valid_at(now)
    tenant.serves_at(now)
    return Caller(key, tenant)


def _invalid() -> ApiError:
    return ApiError(401, "invalid_key", "the API key is unknown, expired or revoked")
