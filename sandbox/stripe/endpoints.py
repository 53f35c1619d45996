"""Where events are sent: webhook endpoints (snapshot events) and event destinations (thin events)."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from stripe import params as sdk
from stripe.params.v2 import core as sdk_v2

from sandbox.stripe.announcements import announce_thin
from sandbox.stripe.calls import Call, Operation, names, page
from sandbox.stripe.deliveries import DESTINATION, ENDPOINT
from sandbox.stripe.errors import StripeRefusalError, bad_parameter, missing_object
from sandbox.stripe.store import Document, Store, merge_metadata
from sandbox.stripe.usage import micros
from sandbox.stripe.wire import new_id, v2_time

OLD_SECRET_KEPT: Final = timedelta(hours=24)
"""How long the old secret of an endpoint signs beside the new one at most."""
_HIDDEN: Final = ("secrets", "address")
_URL: Final = "webhook_endpoint.url"
_SECRET: Final = "webhook_endpoint.signing_secret"  # noqa: S105 - the name of a field


def _new_secret() -> dict[str, Any]:
    return {"secret": f"whsec_{secrets.token_urlsafe(24)}", "until": None}


def signing_secrets(endpoint: Document, now: datetime) -> list[str]:
    """The secrets that sign for an endpoint now, newest first."""
    limit = micros(now)
    return [one["secret"] for one in endpoint["secrets"] if one["until"] is None or one["until"] > limit]


def roll_secret(store: Store, endpoint_id: str, now: datetime, keep_old: timedelta) -> str:
    """Give an endpoint a new secret; the old one signs too for a while. Only the Dashboard can do this.

    Raises:
        StripeRefusalError: 404 for an unknown endpoint.
        ValueError: when the old secret is to be kept for longer than a day.
    """
    if not timedelta(0) <= keep_old <= OLD_SECRET_KEPT:
        raise ValueError("the old secret can be kept for 0 to 86400 seconds")
    endpoint = store.find(ENDPOINT, endpoint_id) or store.find(DESTINATION, endpoint_id)
    if endpoint is None:
        raise missing_object("webhook endpoint", endpoint_id)
    fresh = _new_secret()
    old = [{**one, "until": micros(now + keep_old)} for one in endpoint["secrets"] if one["until"] is None]
    store.save({**endpoint, "secrets": [fresh, *old]})
    secret: str = fresh["secret"]
    return secret


def _checked_address(url: str, param: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise bad_parameter(
            "Invalid URL: An explicit scheme (such as https) must be provided.", param, "url_invalid"
        )
    return url


def _shown(endpoint: Document, shown: Collection[str] = ()) -> Document:
    document = {name: value for name, value in endpoint.items() if name not in _HIDDEN}
    if endpoint["object"] == ENDPOINT:
        return {**document, "url": endpoint["address"]}
    hook = {
        "url": endpoint["address"] if _URL in shown else None,
        "signing_secret": endpoint["secrets"][0]["secret"] if _SECRET in shown else None,
    }
    return {**document, "webhook_endpoint": hook}


def _create(call: Call) -> Document:
    params = call.params
    endpoint: Document = {
        "id": new_id("we"),
        "object": ENDPOINT,
        "api_version": params.get("api_version"),
        "application": None,
        "created": call.seconds,
        "description": params.get("description") or None,
        "enabled_events": params["enabled_events"],
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "address": _checked_address(params["url"], "url"),
        "secrets": [_new_secret()],
    }
    merge_metadata(endpoint, params)
    call.store.add(ENDPOINT, endpoint)
    return {**_shown(endpoint), "secret": endpoint["secrets"][0]["secret"]}


def _retrieve(call: Call) -> Document:
    return _shown(call.store.get(ENDPOINT, call.id))


def _list(call: Call) -> Document:
    return page(call, [_shown(one) for one in call.store.every(ENDPOINT, newest_first=True)])


def _update(call: Call) -> Document:
    endpoint, params = call.store.get(ENDPOINT, call.id), call.params
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    if "url" in params:
        endpoint["address"] = _checked_address(params["url"], "url")
    for name in ("description", "enabled_events"):
        if name in params:
            endpoint[name] = params[name] or None
    merge_metadata(endpoint, params)
    return _shown(call.store.save(endpoint))


def _delete(call: Call) -> Document:
    call.store.get(ENDPOINT, call.id)
    call.store.remove(call.id)
    return {"id": call.id, "object": ENDPOINT, "deleted": True}


def _create_destination(call: Call) -> Document:
    params = call.params
    if params["type"] != "webhook_endpoint" or params["event_payload"] != "thin":
        raise bad_parameter("The sandbox has only webhook endpoints with thin events.", "type")
    if "webhook_endpoint" not in params:
        raise bad_parameter(
            "Missing required param: webhook_endpoint.", "webhook_endpoint", "parameter_missing"
        )
    address = _checked_address(params["webhook_endpoint"]["url"], "webhook_endpoint[url]")
    destination: Document = {
        "id": new_id("ed_test"),
        "object": "v2.core.event_destination",
        "created": v2_time(call.now),
        "updated": v2_time(call.now),
        "description": params.get("description", ""),
        "enabled_events": params["enabled_events"],
        "event_payload": "thin",
        "events_from": ["@self"],
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "name": params["name"],
        "snapshot_api_version": None,
        "status": "enabled",
        "status_details": None,
        "type": "webhook_endpoint",
        "address": address,
        "secrets": [_new_secret()],
    }
    call.store.add(DESTINATION, destination)
    return _shown(destination, params.get("include", ()))


def _destination(call: Call) -> Document:
    found = call.store.find(DESTINATION, call.id)
    if found is None:
        raise StripeRefusalError(404, f"No such event destination: '{call.id}'", "not_found")
    return found


def _included(call: Call) -> Collection[str]:
    """What an answer shows beyond the usual: the secret is told at creation only."""
    included: Collection[str] = call.params.get("include", ())
    if set(included) - {_URL}:
        raise bad_parameter(f"Only `{_URL}` can be included here.", "include", "invalid_parameter")
    return included


def _retrieve_destination(call: Call) -> Document:
    return _shown(_destination(call), _included(call))


def _list_destinations(call: Call) -> Document:
    shown = _included(call)
    every = [_shown(one, shown) for one in call.store.every(DESTINATION, newest_first=True)]
    return {"data": every, "next_page_url": None, "previous_page_url": None}


def _update_destination(call: Call) -> Document:
    destination, params = _destination(call), call.params
    for name in ("description", "enabled_events", "name"):
        if name in params:
            destination[name] = params[name]
    if "webhook_endpoint" in params:
        destination["address"] = _checked_address(params["webhook_endpoint"]["url"], "webhook_endpoint[url]")
    for name, value in params.get("metadata", {}).items():
        destination["metadata"].pop(name, None)
        if value is not None:
            destination["metadata"][name] = value
    destination["updated"] = v2_time(call.now)
    return _shown(call.store.save(destination), _included(call))


def _delete_destination(call: Call) -> Document:
    call.store.remove(_destination(call)["id"])
    return {"id": call.id, "object": "v2.core.event_destination"}


def _enable_destination(call: Call) -> Document:
    enabled = call.url.endswith("/enable")
    details = None if enabled else {"disabled": {"reason": "user"}}
    status = "enabled" if enabled else "disabled"
    changed = {
        **_destination(call),
        "status": status,
        "status_details": details,
        "updated": v2_time(call.now),
    }
    return _shown(call.store.save(changed))


def _ping_destination(call: Call) -> Document:
    found = _destination(call)
    url = f"/v2/core/event_destinations/{found['id']}"
    related = (found["id"], found["object"], url)
    return announce_thin(call.store, call.now, "v2.core.event_destination.ping", related, None)


_DESTINATIONS: Final = "/v2/core/event_destinations"
OPERATIONS: Final = (
    Operation(
        "POST", "/v1/webhook_endpoints", sdk.WebhookEndpointCreateParams, _create,
        names("url enabled_events description metadata api_version"),
    ),
    Operation("GET", "/v1/webhook_endpoints", sdk.WebhookEndpointListParams, _list),
    Operation("GET", "/v1/webhook_endpoints/{id}", sdk.WebhookEndpointRetrieveParams, _retrieve),
    Operation("POST", "/v1/webhook_endpoints/{id}", sdk.WebhookEndpointUpdateParams, _update),
    Operation("DELETE", "/v1/webhook_endpoints/{id}", sdk.WebhookEndpointDeleteParams, _delete),
    Operation(
        "POST", _DESTINATIONS, sdk_v2.EventDestinationCreateParams, _create_destination,
        names("name description enabled_events event_payload type webhook_endpoint include metadata"),
    ),
    Operation("GET", _DESTINATIONS, sdk_v2.EventDestinationListParams, _list_destinations),
    Operation("GET", f"{_DESTINATIONS}/{{id}}", sdk_v2.EventDestinationRetrieveParams, _retrieve_destination),
    Operation(
        "POST", f"{_DESTINATIONS}/{{id}}", sdk_v2.EventDestinationUpdateParams, _update_destination,
        names("name description enabled_events webhook_endpoint include metadata"),
    ),
    Operation("DELETE", f"{_DESTINATIONS}/{{id}}", sdk_v2.EventDestinationDeleteParams, _delete_destination),
    Operation(
        "POST", f"{_DESTINATIONS}/{{id}}/enable", sdk_v2.EventDestinationEnableParams, _enable_destination
    ),
    Operation(
        "POST", f"{_DESTINATIONS}/{{id}}/disable", sdk_v2.EventDestinationDisableParams, _enable_destination
    ),
    Operation("POST", f"{_DESTINATIONS}/{{id}}/ping", sdk_v2.EventDestinationPingParams, _ping_destination),
)  # fmt: skip
