"""Items of a subscription: made, changed, removed, and charged for the part of a period."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sandbox.stripe.calls import Call, names
from sandbox.stripe.errors import bad_parameter, missing_object
from sandbox.stripe.invoice_items import add_pending
from sandbox.stripe.invoices import make_line
from sandbox.stripe.periods import cents, cycle_start, share
from sandbox.stripe.store import Document, Store, merge_metadata
from sandbox.stripe.wire import new_id

REMOVED: Final = "removed_item"
"""Metered items that were taken away: flexible billing charges what they counted."""
_TAKEN: Final = names("id price quantity metadata deleted subscription proration_behavior expand")


@dataclass(frozen=True, slots=True)
class Period:
    """A billing period; seconds since the epoch, the end is not part of it."""

    start: int
    end: int


def is_metered(item: Document) -> bool:
    """Whether an item is charged by a meter instead of a quantity."""
    return bool(item["price"]["recurring"]["usage_type"] == "metered")


def make_item(
    store: Store, subscription_id: str, given: Mapping[str, Any], *, created: int, period: Period
) -> Document:
    """A new item, not yet kept.

    Raises:
        StripeRefusalError: for a price that cannot be subscribed to, or a quantity on a metered one.
    """
    _refuse_unsupported(given)
    price_id = given.get("price")
    if price_id is None:
        raise bad_parameter("Missing required param: items[price].", "items[price]", "parameter_missing")
    price = store.get("price", price_id, param="items[price]")
    if not price["recurring"] or not price["active"]:
        raise bad_parameter("The price must be active and recurring.", "items[price]", None)
    item: Document = {
        "id": new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": created,
        "current_period_start": period.start,
        "current_period_end": period.end,
        "discounts": [],
        "metadata": given.get("metadata") or {},
        "price": price,
        "subscription": subscription_id,
        "tax_rates": [],
    }
    if is_metered(item):
        _refuse_quantity(given)
        return item
    return item | {"quantity": _quantity(given)}


def _refuse_unsupported(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in _TAKEN:
            raise bad_parameter(
                f"The sandbox does not carry out `{name}` here.", f"items[{name}]", "parameter_unsupported"
            )


def _quantity(given: Mapping[str, Any]) -> int:
    quantity: int = given.get("quantity", 1)
    if quantity < 0:
        raise bad_parameter("Invalid non-negative integer", "quantity", "parameter_invalid_integer")
    return quantity


def _refuse_quantity(given: Mapping[str, Any]) -> None:
    if "quantity" in given:
        raise bad_parameter("You cannot set the quantity of a metered item.", "quantity", None)


def refuse_same_price(items: Iterable[Document]) -> None:
    """Raises: StripeRefusalError: when two items have one price."""
    prices = [item["price"]["id"] for item in items]
    if len(set(prices)) != len(prices):
        raise bad_parameter("Subscription items must have distinct prices.", "items", None)


def is_prorated(params: Mapping[str, Any]) -> bool:
    """Whether a change is charged for the part of the period that is left."""
    return bool(params.get("proration_behavior", "create_prorations") != "none")


def item_of(subscription: Document, item_id: str) -> Document:
    """An item of a subscription.

    Raises:
        StripeRefusalError: 404 when it is not there.
    """
    for item in subscription["items"]:
        if item["id"] == item_id:
            found: Document = item
            return found
    raise missing_object("subscription_item", item_id, "item")


def apply_item(call: Call, subscription: Document, given: Mapping[str, Any], *, prorated: bool) -> Document:
    """Add, change or remove one item of a subscription in memory; the item as it is (was) then."""
    if "id" not in given:
        period = Period(call.seconds, subscription["items"][0]["current_period_end"])
        item = make_item(call.store, subscription["id"], given, created=call.seconds, period=period)
        subscription["items"].append(item)
        _prorate(call, subscription, item, 0, prorated=prorated)
        return item
    _refuse_unsupported(given)
    item = item_of(subscription, given["id"])
    if given.get("deleted"):
        remove_item(call, subscription, item, prorated=prorated)
        return item
    if "price" in given and given["price"] != item["price"]["id"]:
        _swap_price(call, subscription, item, given, prorated=prorated)
        return item
    if "quantity" in given:
        if is_metered(item):
            _refuse_quantity(given)
        earlier = item["quantity"]
        item["quantity"] = _quantity(given)
        _prorate(call, subscription, item, earlier, prorated=prorated)
    merge_metadata(item, given)
    return item


def remove_item(call: Call, subscription: Document, item: Document, *, prorated: bool) -> None:
    """Take an item away; the last one stays.

    Raises:
        StripeRefusalError: when it is the last one.
    """
    if len(subscription["items"]) == 1:
        raise bad_parameter("A subscription must have at least one item.", "items", None)
    subscription["items"].remove(item)
    _leave(call, subscription, item, prorated=prorated)


def _swap_price(
    call: Call, subscription: Document, item: Document, given: Mapping[str, Any], *, prorated: bool
) -> None:
    period = Period(call.seconds, item["current_period_end"])
    fresh = make_item(call.store, subscription["id"], given, created=call.seconds, period=period)
    _leave(call, subscription, dict(item), prorated=prorated)
    item.pop("quantity", None)
    kept = {name: item[name] for name in ("id", "created", "metadata")}
    item |= {**fresh, **kept}
    _prorate(call, subscription, item, 0, prorated=prorated)


def _leave(call: Call, subscription: Document, item: Document, *, prorated: bool) -> None:
    if is_metered(item):
        span = {"start": item["current_period_start"], "end": call.seconds}
        removed = {"id": new_id("gone"), "item": item, "billed": False, **span}
        call.store.add(REMOVED, removed, owner=subscription["id"])
        return
    earlier = item["quantity"]
    _prorate(call, subscription, {**item, "quantity": 0}, earlier, prorated=prorated)


def _prorate(call: Call, subscription: Document, item: Document, earlier: int, *, prorated: bool) -> None:
    """Pending lines for the rest of the period: the earlier quantity back, the present one charged."""
    if not prorated or is_metered(item):
        return
    rest = Period(call.seconds, item["current_period_end"])
    for quantity, sign in ((earlier, -1), (item["quantity"], 1)):
        if not quantity:
            continue
        amount = sign * part_amount(subscription, item, quantity, rest)
        item_id = new_id("ii")
        line = make_line(item, rest.start, rest.end, quantity=quantity, amount=amount, invoice_item=item_id)
        add_pending(call.store, call.seconds, subscription["customer"], item_id, line)


def part_amount(subscription: Document, item: Document, quantity: int, part: Period) -> int:
    """What a quantity costs for a part of the cycle that ends with it."""
    whole = part.end - cycle_start(subscription["billing_cycle_anchor"], part.end)
    return share(cents(item["price"], quantity), part.end - part.start, whole)
