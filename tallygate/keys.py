"""API keys: minted once, shown once, stored only as a hash.

A key reads ``tg_`` + 38 random characters + 6 characters of checksum. The prefix lets secret scanners find a
leaked key; the checksum lets the proxy refuse a random or mistyped one without a database read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "tg_"
_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH: Final = 38
_CHECKSUM_LENGTH: Final = 6  # 62**6 > 2**32: holds any CRC-32
KEY_LENGTH: Final = len(PREFIX) + _RANDOM_LENGTH + _CHECKSUM_LENGTH


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key; ``secret`` is shown to its owner once and stored nowhere."""

    secret: str
    key_hash: str
    key_id: str

    def __repr__(self) -> str:
        return f"MintedKey(key_id={self.key_id!r})"


def mint() -> MintedKey:
    """A fresh random key of 226 bits."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    secret = PREFIX + body + _checksum(body)
    digest = key_hash(secret)
    return MintedKey(secret=secret, key_hash=digest, key_id=key_id(digest))


def well_formed(secret: str) -> bool:
    """Whether a presented key can be one of ours: prefix, length, alphabet and checksum."""
    if len(secret) != KEY_LENGTH or not secret.startswith(PREFIX) or not secret.isascii():
        return False
    body, checksum = secret[len(PREFIX) : -_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    return hmac.compare_digest(_checksum(body), checksum)


def key_hash(secret: str) -> str:
    """What the app database stores and looks up: SHA-256 in hex.

    The key itself has 226 bits, so a slow password hash would only add latency.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def identity_hash(address: str) -> str:
    """What a service account is looked up by in place of a key: of another form than any key's hash."""
    return hashlib.sha256(f"service-account:{address.lower()}".encode()).hexdigest()


def key_id(digest: str) -> str:
    """The key's public id, for logs and listings, from its hash."""
    return "key_" + hashlib.sha256(digest.encode()).hexdigest()[:16]


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
