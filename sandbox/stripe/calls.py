"""What an operation of the API is given, and how operations are named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from sandbox.stripe.errors import bad_parameter, missing_object
from sandbox.stripe.store import Document, Store
from sandbox.stripe.wire import unix

_DEFAULT_LIMIT: Final = 10
_MOST: Final = 100
_PLACE: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked."""

    store: Store
    now: datetime
    """The sandbox's time when the request arrived."""
    url: str
    """Path of the request."""
    place: Mapping[str, str]
    """The parts of the path that are not fixed."""
    params: Mapping[str, Any]
    key: str
    """The request's idempotency key; made up when the client sent none."""
    stale: bool = False
    """Answer reads as they would have been answered some time ago (fault ``stale_read``)."""
    base: str = ""
    """The address of the double, as the client wrote it, without a path."""
    reject_later: str | None = None
    """Accept meter events and refuse them asynchronously with this code (fault ``async_reject``)."""

    @property
    def seconds(self) -> int:
        """``now`` as Stripe's timestamps count."""
        return unix(self.now)

    @property
    def id(self) -> str:
        """The object that the path names."""
        return self.place["id"]


Handler = Callable[[Call], Document]


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    """With names in braces: ``/v1/customers/{id}``."""
    schema: type | None
    """The SDK's type of its parameters; None: it takes none."""
    handler: Handler
    takes: frozenset[str] | None = None
    """The parameters that the sandbox carries out; None: all of the schema's."""
    paged: bool = False
    """Takes ``page``: a token that stands in the address of a next page and in no parameter type."""
    session: bool = False
    """Authenticated by the token of a meter event session instead of a key."""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(_PLACE.sub(r"(?P<\1>[^/]+)", self.path))

    def match(self, method: str, path: str) -> Mapping[str, str] | None:
        """The variable parts of ``path`` if this operation serves it."""
        found = self._pattern.fullmatch(path) if method == self.method else None
        return None if found is None else found.groupdict()


def names(text: str) -> frozenset[str]:
    """Parameter names out of one text, separated by blanks."""
    return frozenset(text.split())


def page(call: Call, documents: Sequence[Document]) -> Document:
    """One page of a list, in the order given, cut by ``limit``, ``starting_after`` and ``ending_before``.

    Raises:
        StripeRefusalError: for a limit outside 1 to 100, or a cursor that names nothing.
    """
    limit = call.params.get("limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _MOST:
        raise bad_parameter(
            f"This value must be between 1 and {_MOST} (inclusive).", "limit", "parameter_invalid_integer"
        )
    after, before = call.params.get("starting_after"), call.params.get("ending_before")
    if after is not None:
        documents = documents[_position(documents, after, "starting_after") + 1 :]
        shown, more = documents[:limit], len(documents) > limit
    elif before is not None:
        documents = documents[: _position(documents, before, "ending_before")]
        shown, more = documents[-limit:], len(documents) > limit
    else:
        shown, more = documents[:limit], len(documents) > limit
    return {"object": "list", "data": list(shown), "has_more": more, "url": call.url}


def _position(documents: Sequence[Document], cursor: str, param: str) -> int:
    for place, document in enumerate(documents):
        if document["id"] == cursor:
            return place
    raise missing_object("object", cursor, param)


def first_page(url: str, documents: Sequence[Document]) -> Document:
    """A list as it stands inside another object: its first ten."""
    shown = list(documents[:_DEFAULT_LIMIT])
    return {"object": "list", "data": shown, "has_more": len(documents) > len(shown), "url": url}


def in_range(value: int, wanted: int | Mapping[str, int] | None) -> bool:
    """Whether a timestamp meets a filter such as ``created``: a value, or bounds ``gt gte lt lte``."""
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return value == wanted
    return (
        value > wanted.get("gt", value - 1)
        and value >= wanted.get("gte", value)
        and value < wanted.get("lt", value + 1)
        and value <= wanted.get("lte", value)
    )
