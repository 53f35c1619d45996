"""Products and prices: what subscriptions are made of."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from stripe import params as sdk

from sandbox.stripe.calls import Call, Operation, in_range, names, page
from sandbox.stripe.errors import bad_parameter
from sandbox.stripe.standing import SUBSCRIPTION
from sandbox.stripe.store import Document, merge_metadata
from sandbox.stripe.wire import new_id

_DECIMALS: Final = 12
_PRODUCT_TEXTS: Final = ("description", "statement_descriptor", "unit_label", "url")


def _create_product(call: Call) -> Document:
    document = {
        "id": call.params.get("id") or new_id("prod"),
        "object": "product",
        "name": call.params["name"],
        "active": call.params.get("active", True),
        "created": call.seconds,
        "updated": call.seconds,
        "livemode": False,
        "default_price": None,
        "images": [],
        "marketing_features": [],
        "type": "service",
        **{name: call.params.get(name) for name in _PRODUCT_TEXTS},
        "metadata": {},
    }
    merge_metadata(document, call.params)
    return call.store.add("product", document)


def _retrieve_product(call: Call) -> Document:
    return call.store.get("product", call.id, stale=call.stale)


def _list_products(call: Call) -> Document:
    active = call.params.get("active")
    every = call.store.every("product", newest_first=True, stale=call.stale)
    ids = call.params.get("ids")
    return page(
        call,
        [one for one in every if active in (None, one["active"]) and (ids is None or one["id"] in ids)],
    )


def _create_price(call: Call) -> Document:
    params = call.params
    product = params.get("product") or _inline_product(call)
    call.store.get("product", product, param="product")
    amount = _unit_amount(params)
    recurring = _recurring(call) if "recurring" in params else None
    document = {
        "id": new_id("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": call.seconds,
        "currency": params["currency"],
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": _free_lookup_key(call),
        "nickname": params.get("nickname"),
        "product": product,
        "recurring": recurring,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": int(amount) if amount == amount.to_integral_value() else None,
        "unit_amount_decimal": format(amount, "f"),
        "metadata": {},
    }
    merge_metadata(document, params)
    return call.store.add("price", document, owner=product)


def _inline_product(call: Call) -> str:
    data = call.params.get("product_data")
    if data is None:
        raise bad_parameter("Missing required param: product.", "product", "parameter_missing")
    made: str = _create_product(
        Call(call.store, call.now, call.url, call.place, {"name": data["name"]}, call.key)
    )["id"]
    return made


def _unit_amount(params: Any) -> Decimal:
    if params.get("billing_scheme", "per_unit") != "per_unit":
        raise bad_parameter("The sandbox has no tiers.", "billing_scheme")
    if params["currency"] != "usd":
        raise bad_parameter("The sandbox bills in usd only.", "currency")
    whole, exact = params.get("unit_amount"), params.get("unit_amount_decimal")
    if (whole is None) == (exact is None):
        raise bad_parameter(
            "You must specify either `unit_amount` or `unit_amount_decimal`.", "unit_amount", None
        )
    amount = Decimal(whole) if exact is None else Decimal(exact)
    if not amount.is_finite() or amount < 0:
        raise bad_parameter(
            "Invalid non-negative decimal", "unit_amount_decimal", "parameter_invalid_decimal"
        )
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > _DECIMALS:
        raise bad_parameter(
            f"Invalid decimal: at most {_DECIMALS} decimal places", "unit_amount_decimal",
            "parameter_invalid_decimal",
        )  # fmt: skip
    return amount.normalize() if amount else Decimal(0)


def _recurring(call: Call) -> Document:
    given = call.params["recurring"]
    usage_type, meter = given.get("usage_type", "licensed"), given.get("meter")
    if given.get("trial_period_days"):
        raise bad_parameter("The sandbox has no trials.", "recurring[trial_period_days]")
    if given["interval"] != "month" or given.get("interval_count", 1) != 1:
        raise bad_parameter("The sandbox bills by the month only.", "recurring[interval]")
    if usage_type == "metered":
        if meter is None:
            raise bad_parameter(
                "Metered prices must be backed by a meter: pass `recurring[meter]`.", "recurring[meter]", None
            )
        if call.store.get("billing_meter", meter, param="recurring[meter]")["status"] != "active":
            raise bad_parameter("The meter is inactive.", "recurring[meter]", None)
    elif meter is not None:
        raise bad_parameter("`meter` can only be set on metered prices.", "recurring[meter]", None)
    return {
        "interval": "month",
        "interval_count": 1,
        "usage_type": usage_type,
        "meter": meter,
        "trial_period_days": None,
    }


def _free_lookup_key(call: Call) -> str | None:
    key: str | None = call.params.get("lookup_key")
    if key is None:
        return None
    for price in call.store.every("price"):
        if price["lookup_key"] != key:
            continue
        if not call.params.get("transfer_lookup_key"):
            raise bad_parameter(
                f"A price (`{price['id']}`) already uses that lookup key.",
                "lookup_key",
                "resource_already_exists",
            )
        _save_price(call, {**price, "lookup_key": None})
    return key


def _save_price(call: Call, price: Document) -> Document:
    """Save a price, also where subscriptions' items show it: they show it as it is, not as it was."""
    for subscription in call.store.every(SUBSCRIPTION):
        shown = [item for item in subscription["items"] if item["price"]["id"] == price["id"]]
        for item in shown:
            item["price"] = price
        if shown:
            call.store.save(subscription)
    return call.store.save(price)


def _retrieve_price(call: Call) -> Document:
    return call.store.get("price", call.id, stale=call.stale)


def _update_price(call: Call) -> Document:
    document = call.store.get("price", call.id)
    for name in ("active", "nickname"):
        if name in call.params:
            document[name] = call.params[name]
    if "lookup_key" in call.params:
        document["lookup_key"] = _free_lookup_key(call) or None
    merge_metadata(document, call.params)
    return _save_price(call, document)


def _list_prices(call: Call) -> Document:
    wanted = call.params
    keys = wanted.get("lookup_keys")
    recurring = wanted.get("recurring", {})
    every = call.store.every("price", owner=wanted.get("product"), newest_first=True, stale=call.stale)
    return page(
        call,
        [
            price
            for price in every
            if wanted.get("active") in (None, price["active"])
            and (keys is None or price["lookup_key"] in keys)
            and wanted.get("type") in (None, price["type"])
            and wanted.get("currency") in (None, price["currency"])
            and in_range(price["created"], wanted.get("created"))
            and all((price["recurring"] or {}).get(name) == value for name, value in recurring.items())
        ],
    )


def _update_product(call: Call) -> Document:
    document = call.store.get("product", call.id)
    for name in ("active", "name", *_PRODUCT_TEXTS):
        if name in call.params:
            document[name] = call.params[name] if call.params[name] != "" else None
    document["updated"] = call.seconds
    merge_metadata(document, call.params)
    return call.store.save(document)


_PAGED: Final = names("limit starting_after ending_before")
_PRODUCT: Final = names("name active metadata") | frozenset(_PRODUCT_TEXTS)
OPERATIONS: Final = (
    Operation("POST", "/v1/products", sdk.ProductCreateParams, _create_product, _PRODUCT | {"id"}),
    Operation("GET", "/v1/products", sdk.ProductListParams, _list_products, _PAGED | {"active", "ids"}),
    Operation("GET", "/v1/products/{id}", sdk.ProductRetrieveParams, _retrieve_product),
    Operation("POST", "/v1/products/{id}", sdk.ProductUpdateParams, _update_product, _PRODUCT),
    Operation(
        "POST", "/v1/prices", sdk.PriceCreateParams, _create_price,
        names(
            "product product_data currency unit_amount unit_amount_decimal recurring lookup_key nickname "
            "transfer_lookup_key metadata active billing_scheme tax_behavior"
        ),
    ),
    Operation(
        "GET", "/v1/prices", sdk.PriceListParams, _list_prices,
        _PAGED | names("active currency lookup_keys product recurring type created"),
    ),
    Operation("GET", "/v1/prices/{id}", sdk.PriceRetrieveParams, _retrieve_price),
    Operation(
        "POST", "/v1/prices/{id}", sdk.PriceUpdateParams, _update_price,
        names("active nickname lookup_key transfer_lookup_key metadata"),
    ),
)  # fmt: skip
