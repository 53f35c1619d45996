"""Checks Stripe's signatures over raw bytes, against the two newest signing secrets."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tallygate.secrets import STRIPE_WEBHOOK_SECRET, Secrets

TOLERANCE: Final = timedelta(seconds=300)
"""How old a signature may be, and how far in the future: Stripe signs each delivery anew."""
KEPT_SECONDS: Final = 300.0
"""How long the secrets are used before they are read again."""
REREAD_SECONDS: Final = 1.0
"""At most so often they are read for a signature that fails: a forger must not cost more than that."""
VALID_AT_ONCE: Final = 2
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


class SignatureError(Exception):
    """A body that Stripe did not sign just now; ``reason`` is one word for logs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class SigningSecrets:
    """The newest versions of the signing secret, cached. Safe to share between threads."""

    secrets: Secrets
    monotonic: Callable[[], float] = time.monotonic
    _values: tuple[str, ...] = field(default=(), init=False, repr=False)
    _read_at: float = field(default=float("-inf"), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def current(self) -> tuple[str, ...]:
        """The values, newest first.

        Raises:
            SecretMissingError: when there is none.
        """
        return self._read(KEPT_SECONDS)

    def reread(self) -> tuple[str, ...]:
        """The values, read again unless that was done a moment ago.

        Raises:
            SecretMissingError: when there is none.
        """
        return self._read(REREAD_SECONDS)

    def _read(self, age: float) -> tuple[str, ...]:
        with self._lock:
            now = self.monotonic()
            if now - self._read_at >= age:
                self._values = tuple(self.secrets.newest(STRIPE_WEBHOOK_SECRET, VALID_AT_ONCE))
                self._read_at = now
            return self._values


def verify(body: bytes, header: str | None, secrets: SigningSecrets, now: datetime) -> None:
    """Accept a body that carries a fresh signature by one of the secrets.

    Raises:
        SignatureError: for any other.
        SecretMissingError: when there is no secret to check by.
    """
    signed_at, signatures = _parts(header)
    if abs(now.timestamp() - signed_at) > TOLERANCE.total_seconds():
        raise SignatureError("too_old" if signed_at < now.timestamp() else "in_future")
    payload = str(signed_at).encode() + b"." + body
    known = secrets.current()
    if _matches(payload, signatures, known):
        return
    fresh = secrets.reread()
    if fresh == known or not _matches(payload, signatures, fresh):
        raise SignatureError("no_match")


def _parts(header: str | None) -> tuple[int, list[bytes]]:
    """Time and ``v1`` signatures of a header such as ``t=1,v1=ab,v1=cd``; other schemes are not used."""
    if not header:
        raise SignatureError("missing")
    pairs = [part.partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name.strip() == "t"]
    signatures = [value.encode() for name, _, value in pairs if name.strip() == "v1" and value]
    if len(times) != 1 or not _TIMESTAMP.fullmatch(times[0]) or not signatures:
        raise SignatureError("malformed")
    if str(int(times[0])) != times[0]:
        raise SignatureError("malformed")
    return int(times[0]), signatures


def _matches(payload: bytes, signatures: Sequence[bytes], secrets: Sequence[str]) -> bool:
    expected = [hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest().encode() for secret in secrets]
    return any(hmac.compare_digest(one, other) for one in expected for other in signatures)
