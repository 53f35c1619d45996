"""The items of subscriptions as objects of their own."""

from __future__ import annotations

from typing import Final

from stripe import params as sdk

from sandbox.stripe.calls import Call, Operation, names, page
from sandbox.stripe.errors import missing_object
from sandbox.stripe.items import apply_item, is_prorated, item_of, remove_item
from sandbox.stripe.standing import SUBSCRIPTION, running
from sandbox.stripe.store import Document
from sandbox.stripe.subscriptions import keep_changes


def _owning(call: Call, item_id: str) -> Document:
    for subscription in call.store.every(SUBSCRIPTION):
        if any(item["id"] == item_id for item in subscription["items"]):
            return subscription
    raise missing_object("subscription_item", item_id)


def _retrieve(call: Call) -> Document:
    return item_of(_owning(call, call.id), call.id)


def _list(call: Call) -> Document:
    subscription = call.store.get(SUBSCRIPTION, call.params["subscription"], param="subscription")
    return page(call, subscription["items"])


def _create(call: Call) -> Document:
    subscription = running(call.store, call.params["subscription"], "subscription")
    item = apply_item(call, subscription, call.params, prorated=is_prorated(call.params))
    keep_changes(call, subscription)
    return item


def _update(call: Call) -> Document:
    subscription = running(call.store, _owning(call, call.id)["id"])
    given = {**call.params, "id": call.id}
    item = apply_item(call, subscription, given, prorated=is_prorated(call.params))
    keep_changes(call, subscription)
    return item


def _delete(call: Call) -> Document:
    subscription = running(call.store, _owning(call, call.id)["id"])
    item = item_of(subscription, call.id)
    remove_item(call, subscription, item, prorated=is_prorated(call.params))
    keep_changes(call, subscription)
    return {"id": call.id, "object": "subscription_item", "deleted": True}


_URL: Final = "/v1/subscription_items"
_TAKEN: Final = names("price quantity metadata proration_behavior")
OPERATIONS: Final = (
    Operation("GET", _URL, sdk.SubscriptionItemListParams, _list),
    Operation("GET", f"{_URL}/{{id}}", sdk.SubscriptionItemRetrieveParams, _retrieve),
    Operation("POST", _URL, sdk.SubscriptionItemCreateParams, _create, _TAKEN | {"subscription"}),
    Operation("POST", f"{_URL}/{{id}}", sdk.SubscriptionItemUpdateParams, _update, _TAKEN),
    Operation(
        "DELETE", f"{_URL}/{{id}}", sdk.SubscriptionItemDeleteParams, _delete, names("proration_behavior")
    ),
)
