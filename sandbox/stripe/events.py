"""Events that can be read back: snapshot events of version 1, thin events of version 2. Kept for 30 days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urlencode

from stripe import params as sdk
from stripe.params.v2 import core as sdk_v2

from sandbox.stripe.announcements import KEPT, SNAPSHOT, THIN
from sandbox.stripe.calls import Call, Operation, in_range, page
from sandbox.stripe.deliveries import undelivered_events
from sandbox.stripe.errors import StripeRefusalError, bad_parameter
from sandbox.stripe.store import Document
from sandbox.stripe.wire import unix
from tallygate.clock import parse_rfc3339

_TYPES: Final = 20
_PAGE: Final = 20
_MOST: Final = 100


def _retrieve(call: Call) -> Document:
    event = call.store.get(SNAPSHOT, call.id)
    if event["created"] < unix(call.now - KEPT):
        raise StripeRefusalError(404, f"No such event: '{call.id}'", "resource_missing", param="id")
    return event


def _list(call: Call) -> Document:
    wanted = call.params
    if "type" in wanted and "types" in wanted:
        raise bad_parameter("You may pass either `type` or `types`, but not both.", "types", None)
    kinds = wanted.get("types") or ([wanted["type"]] if "type" in wanted else None)
    _check_types(kinds)
    oldest = unix(call.now - KEPT)
    wanted_success = wanted.get("delivery_success")
    missed = frozenset() if wanted_success is None else undelivered_events(call.store)
    return page(
        call,
        [
            event
            for event in call.store.every(SNAPSHOT, newest_first=True)
            if event["created"] >= oldest
            and (kinds is None or any(fnmatchcase(event["type"], kind) for kind in kinds))
            and in_range(event["created"], wanted.get("created"))
            and wanted_success in (None, event["id"] not in missed)
        ],
    )


def _check_types(kinds: list[str] | None) -> None:
    if kinds is not None and len(kinds) > _TYPES:
        raise bad_parameter(f"At most {_TYPES} event types can be given.", "types")


def _retrieve_v2(call: Call) -> Document:
    event = call.store.find(THIN, call.id)
    if event is None or parse_rfc3339(event["created"]) < call.now - KEPT:
        raise StripeRefusalError(404, f"No such event: '{call.id}'", "not_found")
    return event


def _list_v2(call: Call) -> Document:
    wanted = call.params
    kinds: list[str] | None = wanted.get("types")
    _check_types(kinds)
    limit = wanted.get("limit", _PAGE)
    if not 1 <= limit <= _MOST:
        raise bad_parameter(f"limit must be between 1 and {_MOST}.", "limit")
    chosen = [
        event
        for event in call.store.every(THIN, newest_first=True)
        if (kinds is None or event["type"] in kinds)
        and wanted.get("object_id") in (None, event.get("related_object", {}).get("id"))
        and _in_span(parse_rfc3339(event["created"]), call, wanted.get("created", {}))
    ]
    start = _start(chosen, wanted.get("page"))
    shown = chosen[start : start + limit]
    more = start + limit < len(chosen)
    return {
        "data": shown,
        "next_page_url": _next_page(call, shown[-1]["id"]) if more else None,
        "previous_page_url": None,
    }


def _in_span(created: datetime, call: Call, bounds: Mapping[str, str]) -> bool:
    try:
        limits = {name: parse_rfc3339(text) for name, text in bounds.items()}
    except (ValueError, OverflowError):
        raise bad_parameter("created must hold RFC 3339 timestamps.", "created") from None
    return (
        created >= call.now - KEPT
        and ("gt" not in limits or created > limits["gt"])
        and ("gte" not in limits or created >= limits["gte"])
        and ("lt" not in limits or created < limits["lt"])
        and ("lte" not in limits or created <= limits["lte"])
    )


def _start(events: list[Document], after: str | None) -> int:
    """Behind the event that a page token names; events made since then do not shift the page."""
    if after is None:
        return 0
    for place, event in enumerate(events):
        if event["id"] == after:
            return place + 1
    raise bad_parameter("This page token is not valid.", "page")


def _next_page(call: Call, last: str) -> str:
    fields: list[tuple[str, str]] = [("page", last)]
    for name, value in call.params.items():
        if name != "page":
            fields += _flat(name, value)
    return f"{call.url}?{urlencode(fields)}"


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, list):
        return [pair for place, item in enumerate(value) for pair in _flat(f"{name}[{place}]", item)]
    if isinstance(value, Mapping):
        return [pair for inner, item in value.items() for pair in _flat(f"{name}[{inner}]", item)]
    return [(name, str(value))]


OPERATIONS: Final = (
    Operation("GET", "/v1/events", sdk.EventListParams, _list),
    Operation("GET", "/v1/events/{id}", sdk.EventRetrieveParams, _retrieve),
    Operation("GET", "/v2/core/events", sdk_v2.EventListParams, _list_v2, paged=True),
    Operation("GET", "/v2/core/events/{id}", sdk_v2.EventRetrieveParams, _retrieve_v2),
)
