"""The customer portal: what it allows, and links to it. Nobody can click in it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stripe.params import billing_portal as sdk

from sandbox.stripe.calls import Call, Operation, names, page
from sandbox.stripe.errors import bad_parameter, missing_object
from sandbox.stripe.store import Document, merge_metadata
from sandbox.stripe.wire import new_id

CONFIGURATION: Final = "portal_configuration"
_MOST_PRODUCTS: Final = 10
_DEFAULTS: Final[dict[str, Document]] = {
    "customer_update": {"enabled": False, "allowed_updates": []},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "enabled": False, "mode": "at_period_end", "proration_behavior": "none",
        "cancellation_reason": {"enabled": False, "options": []},
    },
    "subscription_pause": {"enabled": False},
    "subscription_update": {
        "enabled": False, "default_allowed_updates": [], "proration_behavior": "none", "products": None,
        "billing_cycle_anchor": None, "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}  # fmt: skip


def _features(call: Call, before: Mapping[str, Document], given: Mapping[str, Any]) -> dict[str, Document]:
    features = {name: {**before[name], **given.get(name, {})} for name in before}
    update = features["subscription_update"]
    for list_name in ("default_allowed_updates", "products"):
        update[list_name] = update[list_name] or []
    features["customer_update"]["allowed_updates"] = features["customer_update"]["allowed_updates"] or []
    if update["enabled"]:
        if not update["default_allowed_updates"]:
            raise bad_parameter(
                "`default_allowed_updates` is required when updates are enabled.",
                "features[subscription_update][default_allowed_updates]", "parameter_missing",
            )  # fmt: skip
        if not update["products"]:
            raise bad_parameter(
                "`products` is required when updates are enabled.",
                "features[subscription_update][products]", "parameter_missing",
            )  # fmt: skip
    update["products"] = _products(call, update["products"])
    customer = features["customer_update"]
    if customer["enabled"] and not customer["allowed_updates"]:
        raise bad_parameter(
            "`allowed_updates` is required when updates are enabled.",
            "features[customer_update][allowed_updates]", "parameter_missing",
        )  # fmt: skip
    cancel = features["subscription_cancel"]
    if cancel["proration_behavior"] == "always_invoice" or (
        cancel["mode"] == "at_period_end" and cancel["proration_behavior"] != "none"
    ):
        raise bad_parameter(
            "Cancellations at the end of the period take `none`, those at once `create_prorations` too.",
            "features[subscription_cancel][proration_behavior]", None,
        )  # fmt: skip
    return features


def _products(call: Call, given: Sequence[Mapping[str, Any]]) -> list[Document]:
    """The products whose subscriptions may change, each with prices of its own."""
    where = "features[subscription_update][products]"
    if len(given) > _MOST_PRODUCTS:
        raise bad_parameter(f"A configuration takes up to {_MOST_PRODUCTS} products.", where, None)
    if len({one["product"] for one in given}) < len(given):
        raise bad_parameter("Each product may be given once.", where, None)
    return [_product(call, one, where) for one in given]


def _product(call: Call, given: Mapping[str, Any], where: str) -> Document:
    call.store.get("product", given["product"], param=where)
    for price_id in given["prices"]:
        price = call.store.get("price", price_id, param=where)
        if price["product"] != given["product"] or not price["recurring"]:
            raise bad_parameter(f"{price_id} is no recurring price of {given['product']}.", where, None)
    seats = {"enabled": False, "minimum": 1, "maximum": None, **(given.get("adjustable_quantity") or {})}
    highest = seats["maximum"]
    if seats["minimum"] < 0 or (highest is not None and highest < seats["minimum"]):
        raise bad_parameter(
            "The quantity's minimum must be at least 0 and at most its maximum.",
            f"{where}[adjustable_quantity]", None,
        )  # fmt: skip
    return {
        "product": given["product"],
        "prices": list(given["prices"]),
        "adjustable_quantity": seats,
    }


def _create(call: Call) -> Document:
    params = call.params
    profile = {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None}
    document: Document = {
        "id": new_id("bpc"),
        "object": "billing_portal.configuration",
        "active": True,
        "application": None,
        "business_profile": {**profile, **(params.get("business_profile") or {})},
        "created": call.seconds,
        "default_return_url": params.get("default_return_url") or None,
        "features": _features(call, _DEFAULTS, params["features"]),
        "is_default": False,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": params.get("name") or None,
        "updated": call.seconds,
    }
    merge_metadata(document, params)
    return call.store.add(CONFIGURATION, document)


def _update(call: Call) -> Document:
    document, params = call.store.get(CONFIGURATION, call.id), call.params
    document["features"] = _features(call, document["features"], params.get("features", {}))
    for name in ("active", "default_return_url", "name"):
        if name in params:
            document[name] = None if params[name] == "" else params[name]
    document["business_profile"] |= params.get("business_profile") or {}
    document["updated"] = call.seconds
    merge_metadata(document, params)
    return call.store.save(document)


def _retrieve(call: Call) -> Document:
    return call.store.get(CONFIGURATION, call.id, stale=call.stale)


def _list(call: Call) -> Document:
    every = call.store.every(CONFIGURATION, newest_first=True, stale=call.stale)
    wanted = call.params
    return page(
        call,
        [
            one
            for one in every
            if wanted.get("active") in (None, one["active"])
            and wanted.get("is_default") in (None, one["is_default"])
        ],
    )


def _open(call: Call) -> Document:
    """A link for one customer; a configuration has to be named, there is no default one."""
    params = call.params
    customer = params.get("customer")
    if customer is None:
        raise bad_parameter("Missing required param: customer.", "customer", "parameter_missing")
    if call.store.get("customer", customer, param="customer").get("deleted"):
        raise missing_object("customer", customer, "customer")
    if "configuration" not in params:
        raise bad_parameter(
            "No configuration provided and your test mode default configuration has not been created.",
            "configuration", None,
        )  # fmt: skip
    configuration = call.store.get(CONFIGURATION, params["configuration"], param="configuration")
    if not configuration["active"]:
        raise bad_parameter("The configuration is not active.", "configuration", None)
    session_id = new_id("bps")
    return {
        "id": session_id,
        "object": "billing_portal.session",
        "configuration": configuration["id"],
        "created": call.seconds,
        "customer": customer,
        "flow": None,
        "livemode": False,
        "locale": params.get("locale"),
        "on_behalf_of": None,
        "return_url": params.get("return_url") or configuration["default_return_url"],
        "url": f"{call.base}/_sandbox/portal/{session_id}",
    }


_URL: Final = "/v1/billing_portal/configurations"
_FIELDS: Final = names("business_profile default_return_url features metadata name")
OPERATIONS: Final = (
    Operation("POST", _URL, sdk.ConfigurationCreateParams, _create, _FIELDS),
    Operation("GET", _URL, sdk.ConfigurationListParams, _list),
    Operation("GET", f"{_URL}/{{id}}", sdk.ConfigurationRetrieveParams, _retrieve),
    Operation("POST", f"{_URL}/{{id}}", sdk.ConfigurationUpdateParams, _update, _FIELDS | {"active"}),
    Operation(
        "POST", "/v1/billing_portal/sessions", sdk.SessionCreateParams, _open,
        names("customer configuration return_url locale"),
    ),
)  # fmt: skip
