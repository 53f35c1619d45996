"""The customer portal: one configuration of ours, which allows what can change without a new bill of terms.

Seats, payment method, invoices, and cancelling at the period's end. Not the plan and not the price: those
change how usage is billed, and that only at a period's end, by an operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import stripe

from tallygate.subscriptions.prices import NotPublishedError

PORTAL_KEY: Final = "tallygate_portal"
"""Metadata of the configuration by which it is found again."""
MOST_PRODUCTS: Final = 10
"""Products whose seats one configuration can offer, says Stripe's reference."""
_PAGE: Final = 100


def wanted_features(seat_prices: Mapping[str, str]) -> dict[str, Any]:
    """What the portal allows. ``seat_prices``: ids by product, of the plans that have seats."""
    update: dict[str, Any] = {"enabled": False}
    if seat_prices:
        update = {
            "enabled": True,
            "default_allowed_updates": ["quantity"],
            "proration_behavior": "create_prorations",
            "products": [
                {
                    "product": product,
                    "prices": [price],
                    "adjustable_quantity": {"enabled": True, "minimum": 1},
                }
                for product, price in sorted(seat_prices.items())
            ],
        }
    return {
        "customer_update": {"enabled": False},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True, "mode": "at_period_end", "proration_behavior": "none"},
        "subscription_pause": {"enabled": False},
        "subscription_update": update,
    }


def find_configuration(client: stripe.StripeClient) -> Any | None:
    """Our active configuration, the oldest if there are several; None when there is none."""
    listed = client.v1.billing_portal.configurations.list({"active": True, "limit": _PAGE})
    ours = [one for one in listed.auto_paging_iter() if PORTAL_KEY in _metadata(one)]
    return min(ours, key=lambda one: (one.created, one.id), default=None)


def allows(configuration: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a configuration allows what is wanted, and no more."""
    features = configuration.features.to_dict()
    return all(_agrees(features.get(name) or {}, feature) for name, feature in wanted.items())


def create_configuration(client: stripe.StripeClient, features: Mapping[str, Any]) -> None:
    """Make our configuration."""
    params: Any = {"features": features, "metadata": {PORTAL_KEY: "yes"}, "name": "tallygate"}
    client.v1.billing_portal.configurations.create(params)


def update_configuration(client: stripe.StripeClient, found: Any, features: Mapping[str, Any]) -> None:
    """Bring our configuration to what is wanted."""
    given = {**features, "customer_update": {"enabled": False, "allowed_updates": ""}}
    if not features["subscription_update"]["enabled"]:
        given["subscription_update"] = {"enabled": False, "default_allowed_updates": "", "products": ""}
    params: Any = {"features": given}
    client.v1.billing_portal.configurations.update(found.id, params)


def portal_link(client: stripe.StripeClient, customer: str, return_url: str) -> str:
    """A link for one customer, by our configuration.

    Raises:
        NotPublishedError: when our configuration is missing.
        stripe.StripeError: when Stripe does not answer.
    """
    found = find_configuration(client)
    if found is None:
        raise NotPublishedError("no portal configuration in Stripe: run 'tallygate plans apply'")
    params: Any = {"customer": customer, "configuration": found.id, "return_url": return_url}
    return client.v1.billing_portal.sessions.create(params).url


def _agrees(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if not wanted["enabled"]:
        return not found.get("enabled", False)
    for name, value in wanted.items():
        if name == "products":
            if _products(found.get(name)) != _products(value):
                return False
        elif found.get(name) != value:
            return False
    return True


def _products(listed: Any) -> list[tuple[str, tuple[str, ...], bool]]:
    return sorted(
        (
            one["product"],
            tuple(one["prices"]),
            bool((one.get("adjustable_quantity") or {}).get("enabled")),
        )
        for one in listed or ()
    )


def _metadata(found: Any) -> dict[str, str]:
    return {} if found.metadata is None else dict(found.metadata.to_dict())
