"""Meter events, one by one or by the stream, their adjustments, and the reports of what was refused late.

Checked at once are the rules that have a typed code of their own. That the customer exists is found out
later, as with Stripe: such an event is answered with success and appears in an error report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from stripe.params import billing as sdk
from stripe.params.v2 import billing as sdk_v2

from sandbox.stripe.calls import Call, Operation
from sandbox.stripe.errors import DUPLICATE_EVENT, StripeRefusalError, bad_parameter
from sandbox.stripe.meters import meter_of
from sandbox.stripe.store import Document, Store
from sandbox.stripe.usage import micros, visible_at
from sandbox.stripe.wire import at, is_moment, new_id, unix, v2_time
from tallygate.clock import parse_rfc3339

UNIQUE_FOR: Final = timedelta(hours=24)
OLDEST: Final = timedelta(days=35)
NEWEST: Final = timedelta(minutes=5)
DIGITS: Final = 15
IDENTIFIER_LENGTH: Final = 100
STREAM_EVENTS: Final = 100
SESSION_LASTS: Final = timedelta(minutes=15)
_WHOLE: Final = re.compile(r"-?[0-9]+")
_LATER: Final = {
    "payload_no_customer_defined": "meter_event_no_customer_defined",
    "payload_no_value_defined": "meter_event_invalid_value",
    "payload_invalid_value": "meter_event_invalid_value",
}
"""Codes that error reports have another name for."""


@dataclass(frozen=True, slots=True)
class _Event:
    """One event as sent, with the moment read."""

    identifier: str
    name: str
    timestamp: datetime
    payload: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Checked:
    """What an event counts towards; ``refused``: the code of the first rule that it breaks."""

    meter: str | None = None
    customer: str | None = None
    value: int | None = None
    refused: str | None = None
    message: str = ""


def customer_of(store: Store, event_name: str, payload: Mapping[str, Any]) -> Any:
    """What an event names as its customer, by its meter's payload key."""
    meter = meter_of(store, event_name)
    key = meter["customer_mapping"]["event_payload_key"] if meter else "stripe_customer_id"
    return payload.get(key)


def _check(store: Store, event: _Event, now: datetime) -> _Checked:
    meter = meter_of(store, event.name)
    if meter is None:
        return _Checked(refused="no_meter", message=f"No active meter found for event name `{event.name}`.")
    checked = _Checked(meter=meter["id"])
    if meter["status"] != "active":
        return replace(checked, refused="archived_meter", message="The meter is inactive.")
    customer_key = meter["customer_mapping"]["event_payload_key"]
    value_key = meter["value_settings"]["event_payload_key"]
    customer = event.payload.get(customer_key)
    if not customer:
        message = f"The payload has no customer under `{customer_key}`."
        return replace(checked, refused="payload_no_customer_defined", message=message)
    checked = replace(checked, customer=customer)
    text = event.payload.get(value_key)
    counting = meter["default_aggregation"]["formula"] == "count"
    if text is None and not counting:
        message = f"The payload has no value under `{value_key}`."
        return replace(checked, refused="payload_no_value_defined", message=message)
    text = "1" if text is None else text
    if _WHOLE.fullmatch(text) is None:
        message = f"Invalid value `{text}`: a whole number is expected."
        return replace(checked, refused="payload_invalid_value", message=message)
    if len(text.lstrip("-").lstrip("0")) > DIGITS:
        message = f"The value has more than {DIGITS} digits."
        return replace(checked, refused="meter_event_value_too_many_digits", message=message)
    checked = replace(checked, value=int(text))
    if event.timestamp < now - OLDEST:
        message = f"The timestamp is more than {OLDEST.days} days in the past."
        return replace(checked, refused="timestamp_too_far_in_past", message=message)
    if event.timestamp > now + NEWEST:
        message = "The timestamp is more than 5 minutes in the future."
        return replace(checked, refused="timestamp_in_future", message=message)
    return checked


def _is_repeat(store: Store, identifier: str, now: datetime) -> bool:
    sql = "SELECT 1 FROM meter_events WHERE identifier = ? AND received_at > ?"
    return store.execute(sql, identifier, micros(now - UNIQUE_FOR)).fetchone() is not None


def _keep(call: Call, event: _Event, checked: _Checked) -> None:
    refused = _LATER.get(checked.refused or "", checked.refused) or call.reject_later
    if refused is None and not _customer_exists(call.store, checked.customer or ""):
        refused = "meter_event_customer_not_found"
    call.store.execute(
        "INSERT INTO meter_events (identifier, event_name, meter, customer, value, at, received_at, "
        "visible_at, refused, request_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        event.identifier, event.name, checked.meter, checked.customer, checked.value,
        micros(event.timestamp), micros(call.now), visible_at(call.now), refused, call.key,
    )  # fmt: skip


def _customer_exists(store: Store, customer: str) -> bool:
    found = store.find("customer", customer)
    return found is not None and not found.get("deleted")


def _accept(call: Call, event: _Event) -> None:
    """Check what is checked at once, and keep the event.

    Raises:
        StripeRefusalError: 400 with a typed code; for a repeated identifier None as code in version 1.
    """
    if not 0 < len(event.identifier) <= IDENTIFIER_LENGTH:
        raise bad_parameter(
            f"Invalid string: at most {IDENTIFIER_LENGTH} characters",
            "identifier",
            "parameter_invalid_string",
        )
    checked = _check(call.store, event, call.now)
    if checked.refused:
        raise StripeRefusalError(400, checked.message, checked.refused)
    if _is_repeat(call.store, event.identifier, call.now):
        newer = call.url.startswith("/v2/")
        raise StripeRefusalError(
            400,
            f"An event already exists with identifier {event.identifier}.",
            DUPLICATE_EVENT if newer else None,
            headers={"stripe-should-retry": "false"},
        )
    _keep(call, event, checked)


def _create_v1(call: Call) -> Document:
    params = call.params
    seconds = params.get("timestamp", call.seconds)
    if not is_moment(seconds):
        raise bad_parameter("Invalid timestamp: must be in seconds since 1970.", "timestamp")
    moment = at(seconds) if "timestamp" in params else call.now
    event = _Event(params.get("identifier", new_id("mte")), params["event_name"], moment, params["payload"])
    _accept(call, event)
    return {
        "object": "billing.meter_event",
        "created": call.seconds,
        "event_name": event.name,
        "identifier": event.identifier,
        "livemode": False,
        "payload": dict(event.payload),
        "timestamp": unix(moment),
    }


def _read_v2(call: Call, params: Mapping[str, Any]) -> _Event:
    identifier = params.get("identifier") or new_id("mte")
    text = params.get("timestamp")
    try:
        moment = parse_rfc3339(text) if text is not None else call.now
    except (ValueError, OverflowError):
        raise bad_parameter(f"Invalid timestamp: {text!r}", "timestamp") from None
    return _Event(identifier, params["event_name"], moment, params["payload"])


def _create_v2(call: Call) -> Document:
    event = _read_v2(call, call.params)
    _accept(call, event)
    return {
        "object": "v2.billing.meter_event",
        "created": v2_time(call.now),
        "event_name": event.name,
        "identifier": event.identifier,
        "livemode": False,
        "payload": dict(event.payload),
        "timestamp": v2_time(event.timestamp),
    }


def _open_session(call: Call) -> Document:
    token, expires = new_id("token_test"), call.now + SESSION_LASTS
    call.store.execute("INSERT INTO sessions (token, expires_at) VALUES (?, ?)", token, micros(expires))
    return {
        "object": "v2.billing.meter_event_session",
        "id": new_id("mes_test"),
        "authentication_token": token,
        "created": v2_time(call.now),
        "expires_at": v2_time(expires),
        "livemode": False,
    }


def session_holds(store: Store, token: str, now: datetime) -> bool | None:
    """Whether a session's token is still good; None for a token that was never given out."""
    row = store.execute("SELECT expires_at FROM sessions WHERE token = ?", token).fetchone()
    return None if row is None else row["expires_at"] > micros(now)


def _stream(call: Call) -> Document:
    """Everything is checked later; a repeated identifier is dropped without a word."""
    events = call.params["events"]
    if not 0 < len(events) <= STREAM_EVENTS:
        raise bad_parameter(f"Between 1 and {STREAM_EVENTS} events are taken at once.", "events")
    for params in events:
        event = _read_v2(call, params)
        if not _is_repeat(call.store, event.identifier, call.now):
            _keep(call, event, _check(call.store, event, call.now))
    return {}


def _adjust(call: Call) -> Document:
    name = call.params["event_name"]
    identifier = call.params.get("cancel", {}).get("identifier")
    if identifier is None:
        raise bad_parameter(
            "Missing required param: cancel[identifier].", "cancel[identifier]", "parameter_missing"
        )
    rows = call.store.rows(
        "SELECT seq, received_at FROM meter_events WHERE identifier = ? AND event_name = ? "
        "AND refused IS NULL AND canceled = 0 ORDER BY seq DESC",
        identifier, name,
    )  # fmt: skip
    if not rows:
        raise bad_parameter(
            f"No event with identifier {identifier} can be canceled.", "cancel[identifier]", None
        )
    if rows[0]["received_at"] <= micros(call.now - UNIQUE_FOR):
        raise bad_parameter(
            "Events can be canceled within 24 hours of being received.", "cancel[identifier]", None
        )
    call.store.execute("UPDATE meter_events SET canceled = 1 WHERE seq = ?", rows[0]["seq"])
    newer = call.url.startswith("/v2/")
    return {
        **({"id": new_id("mea"), "created": v2_time(call.now)} if newer else {}),
        "object": f"{'v2.' if newer else ''}billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": name,
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }


OPERATIONS: Final = (
    Operation("POST", "/v1/billing/meter_events", sdk.MeterEventCreateParams, _create_v1),
    Operation("POST", "/v1/billing/meter_event_adjustments", sdk.MeterEventAdjustmentCreateParams, _adjust),
    Operation("POST", "/v2/billing/meter_events", sdk_v2.MeterEventCreateParams, _create_v2),
    Operation(
        "POST", "/v2/billing/meter_event_adjustments", sdk_v2.MeterEventAdjustmentCreateParams, _adjust
    ),
    Operation("POST", "/v2/billing/meter_event_session", sdk_v2.MeterEventSessionCreateParams, _open_session),
    Operation(
        "POST", "/v2/billing/meter_event_stream", sdk_v2.MeterEventStreamCreateParams, _stream, session=True
    ),
)
