"""Stripe's encodings: nested form fields, ids, request ids, moments."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

_KEY: Final = re.compile(r"\[([^\[\]]*)\]")
LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999: no calendar here goes further."""
_ID_LENGTH: Final = 24
_PLAIN: Final = str.maketrans("-_", "Aa")


class FormError(ValueError):
    """A form that nests in a way that has no meaning; ``str()`` is the offending field."""


def decode_form(text: str) -> dict[str, Any]:
    """Nested maps of strings from ``a[b][0]=x``; lists stay maps with ``"0"``, ``"1"``, … as keys.

    Raises:
        FormError: when one name is used both for a value and for a map.
        UnicodeDecodeError: when a value is not UTF-8.
    """
    root: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, errors="strict"):
        head = name.partition("[")[0]
        _put(root, [head, *_KEY.findall(name[len(head) :])], value, name)
    return root


def _put(node: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for step in path[:-1]:
        node = node.setdefault(step or str(len(node)), {})
        if not isinstance(node, dict):
            raise FormError(name)
    last = path[-1] or str(len(node))
    if isinstance(node.get(last), dict):
        raise FormError(name)
    node[last] = value


def new_id(prefix: str) -> str:
    """A new id with Stripe's prefix: ``cus_…``, ``sub_…``."""
    return f"{prefix}_{secrets.token_urlsafe(_ID_LENGTH)[:_ID_LENGTH].translate(_PLAIN)}"


def unix(moment: datetime) -> int:
    """Whole seconds since the epoch, rounded down."""
    return int(moment.timestamp() // 1)


def at(seconds: float) -> datetime:
    """The moment of a Unix timestamp."""
    return datetime.fromtimestamp(seconds, UTC)


def is_moment(seconds: int) -> bool:
    """Whether a number of seconds can be a Unix timestamp at all."""
    return 0 <= seconds <= LAST_SECOND


def v2_time(moment: datetime) -> str:
    """RFC 3339 with milliseconds, as version 2 of the API writes moments."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
