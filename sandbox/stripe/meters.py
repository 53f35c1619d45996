"""Meters: what is counted, under which names, and whether it is still."""

from __future__ import annotations

from typing import Final

from stripe.params import billing as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, page
from sandbox.stripe.errors import bad_parameter
from sandbox.stripe.store import Document, Store
from sandbox.stripe.wire import new_id

_EVENT_NAME_LENGTH: Final = 100
METER: Final = "billing_meter"


def meter_of(store: Store, event_name: str) -> Document | None:
    """The active meter of an event name, else the one deactivated last, else None."""
    named = store.every(METER, owner=event_name)
    active = [meter for meter in named if meter["status"] == "active"]
    return next(reversed(active or named), None)


def _create(call: Call) -> Document:
    params = call.params
    name = params["event_name"]
    if not name or len(name) > _EVENT_NAME_LENGTH:
        raise bad_parameter(f"Invalid string: 1 to {_EVENT_NAME_LENGTH} characters", "event_name")
    _refuse_taken(call, name)
    document = {
        "id": new_id("mtr"),
        "object": "billing.meter",
        "created": call.seconds,
        "updated": call.seconds,
        "customer_mapping": params.get("customer_mapping")
        or {"type": "by_id", "event_payload_key": "stripe_customer_id"},
        "default_aggregation": params["default_aggregation"],
        "display_name": params["display_name"],
        "event_name": name,
        "event_time_window": params.get("event_time_window"),
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "value_settings": params.get("value_settings") or {"event_payload_key": "value"},
    }
    call.store.add(METER, document, owner=name)
    announce(call.store, call.now, "billing.meter.created", document)
    return document


def _refuse_taken(call: Call, name: str) -> None:
    if any(meter["status"] == "active" for meter in call.store.every(METER, owner=name)):
        raise bad_parameter(
            f"There is already an active meter for the event name `{name}`.", "event_name", None
        )


def _retrieve(call: Call) -> Document:
    return call.store.get(METER, call.id, stale=call.stale)


def _update(call: Call) -> Document:
    document = call.store.get(METER, call.id)
    if "display_name" in call.params:
        document |= {"display_name": call.params["display_name"], "updated": call.seconds}
    announce(call.store, call.now, "billing.meter.updated", document)
    return call.store.save(document)


def _deactivate(call: Call) -> Document:
    document = call.store.get(METER, call.id)
    if document["status"] != "active":
        raise bad_parameter("The meter is already inactive.", "id", None)
    document |= {
        "status": "inactive",
        "updated": call.seconds,
        "status_transitions": {"deactivated_at": call.seconds},
    }
    announce(call.store, call.now, "billing.meter.deactivated", document)
    return call.store.save(document)


def _reactivate(call: Call) -> Document:
    document = call.store.get(METER, call.id)
    if document["status"] == "active":
        raise bad_parameter("The meter is already active.", "id", None)
    _refuse_taken(call, document["event_name"])
    document |= {
        "status": "active",
        "updated": call.seconds,
        "status_transitions": {"deactivated_at": None},
    }
    announce(call.store, call.now, "billing.meter.reactivated", document)
    return call.store.save(document)


def _list(call: Call) -> Document:
    wanted = call.params.get("status")
    every = call.store.every(METER, newest_first=True, stale=call.stale)
    return page(call, [meter for meter in every if wanted in (None, meter["status"])])


OPERATIONS: Final = (
    Operation("POST", "/v1/billing/meters", sdk.MeterCreateParams, _create),
    Operation("GET", "/v1/billing/meters", sdk.MeterListParams, _list),
    Operation("GET", "/v1/billing/meters/{id}", sdk.MeterRetrieveParams, _retrieve),
    Operation("POST", "/v1/billing/meters/{id}", sdk.MeterUpdateParams, _update),
    Operation("POST", "/v1/billing/meters/{id}/deactivate", sdk.MeterDeactivateParams, _deactivate),
    Operation("POST", "/v1/billing/meters/{id}/reactivate", sdk.MeterReactivateParams, _reactivate),
)
