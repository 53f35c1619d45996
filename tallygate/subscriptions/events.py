"""Stripe's events, snapshot and thin, as far as they say what to look at. What they say happened is not used.

Order, duplicates and delays of events can't matter then: an event only says *whom* to fetch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from tallygate.clock import parse_rfc3339

Topic = Literal["customer", "checkout", "invoice", "meter", "meter_report", "ignored"]

_CUSTOMER_PREFIX: Final = "customer.subscription."
_TOPICS: Final[Mapping[str, Topic]] = {
    "customer.deleted": "customer",
    "invoice.paid": "customer",
    "invoice.payment_failed": "customer",
    "invoice.voided": "customer",
    "invoice.marked_uncollectible": "customer",
    "invoice.created": "invoice",
    "checkout.session.completed": "checkout",
    "checkout.session.async_payment_succeeded": "checkout",
    "billing.meter.deactivated": "meter",
    "billing.meter.error_report_triggered": "meter_report",
    "billing.meter.no_meter_found": "meter_report",
}
_SUBSCRIPTION_EVENTS: Final = ("created", "updated", "deleted", "paused", "resumed")

SNAPSHOT_EVENTS: Final = (
    *(f"{_CUSTOMER_PREFIX}{name}" for name in _SUBSCRIPTION_EVENTS),
    *(kind for kind, topic in _TOPICS.items() if topic != "meter_report"),
)
"""The types to ask Stripe for as snapshot events. Meter reports exist as thin events only."""
THIN_EVENTS: Final = tuple(
    f"v1.{kind}" for kind in (*SNAPSHOT_EVENTS, *(k for k, t in _TOPICS.items() if t == "meter_report"))
)
"""The types to ask Stripe for as thin events."""


class UnreadableEventError(ValueError):
    """A body that is no event of Stripe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeEvent:
    """An event, without its payload."""

    event_id: str
    type: str
    """Without the ``v1.`` of thin events."""
    thin: bool
    created: datetime
    livemode: bool
    account: str | None
    """The connected account that it happened in; None: our own."""
    object_id: str | None
    customer: str | None
    """None: not said; the object has to be fetched."""

    @property
    def topic(self) -> Topic:
        """What it gives occasion to."""
        if self.type.startswith(_CUSTOMER_PREFIX):
            return "customer"
        return _TOPICS.get(self.type, "ignored")


def read_event(body: bytes) -> StripeEvent:
    """The event in a webhook's body.

    Raises:
        UnreadableEventError: when it is none.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableEventError("the body is not JSON") from error
    return event_from(content)


def event_from(content: Any) -> StripeEvent:
    """The event that an object of Stripe's API describes.

    Raises:
        UnreadableEventError: when it is none.
    """
    if not isinstance(content, dict):
        raise UnreadableEventError("the body is no object")
    try:
        if content["object"] == "event":
            return _snapshot(content)
        if content["object"] == "v2.core.event":
            return _thin(content)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UnreadableEventError(f"the event lacks a field or has one of another kind: {error}") from error
    raise UnreadableEventError("the body is no event")


def _snapshot(content: Mapping[str, Any]) -> StripeEvent:
    about = content["data"]["object"]
    kind = _text(content["type"])
    object_id = about.get("id")
    customer = object_id if about.get("object") == "customer" else about.get("customer")
    return StripeEvent(
        event_id=_identifier(content["id"]),
        type=kind,
        thin=False,
        created=datetime.fromtimestamp(content["created"], UTC),
        livemode=_flag(content["livemode"]),
        account=_optional(content.get("account")),
        object_id=_optional(object_id),
        customer=_optional(customer["id"] if isinstance(customer, dict) else customer),
    )


def _thin(content: Mapping[str, Any]) -> StripeEvent:
    related = content.get("related_object") or {}
    object_id = _optional(related.get("id"))
    return StripeEvent(
        event_id=_identifier(content["id"]),
        type=_text(content["type"]).removeprefix("v1."),
        thin=True,
        created=parse_rfc3339(_text(content["created"])),
        livemode=_flag(content["livemode"]),
        account=_optional(content.get("context")),
        object_id=object_id,
        customer=object_id if related.get("type") == "customer" else None,
    )


def _identifier(value: Any) -> str:
    text = _text(value)
    if not text.startswith("evt_") or len(text) > 255 or not text.isascii() or "/" in text:
        raise ValueError("its id is none of an event")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is missing")
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("livemode is missing")
    return value
