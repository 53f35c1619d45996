"""Links by which a tenant subscribes: Checkout sessions that this gateway makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import stripe

from tallygate.plans import Plan
from tallygate.subscriptions.account import TENANT_KEY
from tallygate.subscriptions.prices import SEAT, NotPublishedError, wanted_prices


@dataclass(frozen=True, slots=True)
class CheckoutLink:
    """Where the tenant pays."""

    session_id: str
    url: str


def checkout_link(
    client: stripe.StripeClient,
    *,
    tenant_id: str,
    plan: Plan,
    prices: Mapping[str, str],
    success_url: str,
    seats: int = 1,
    customer: str | None = None,
) -> CheckoutLink:
    """Make a session for a plan; who pays on its page is bound to the tenant by the event that follows.

    ``prices``: ids by lookup key, of :func:`~tallygate.subscriptions.publishing.current_prices`;
    ``customer``: the tenant's, if it has one already.

    Raises:
        NotPublishedError: when a price of the plan is missing.
        stripe.StripeError: when Stripe does not answer.
    """
    items: list[dict[str, Any]] = []
    for wanted in wanted_prices(plan):
        if wanted.lookup_key not in prices:
            raise NotPublishedError(f"no price {wanted.lookup_key} in Stripe: run 'tallygate plans apply'")
        item: dict[str, Any] = {"price": prices[wanted.lookup_key]}
        if not wanted.is_metered:
            item["quantity"] = seats if wanted.kind == SEAT else 1
        items.append(item)
    params: Any = {
        "mode": "subscription",
        "line_items": items,
        "client_reference_id": tenant_id,
        "metadata": {TENANT_KEY: tenant_id},
        "success_url": success_url,
    }
    if customer is not None:
        params["customer"] = customer
    made = client.v1.checkout.sessions.create(params)
    if made.url is None:
        raise NotPublishedError(f"session {made.id} has no page")
    return CheckoutLink(made.id, made.url)
