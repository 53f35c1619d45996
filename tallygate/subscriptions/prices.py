"""The prices that plans need, and which of them Stripe has: found by lookup keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import stripe

from tallygate.plans import Plan, Plans
from tallygate.records import METERS
from tallygate.subscriptions.account import KIND_KEY, PLAN_KEY

FLAT: Final = "flat"
SEAT: Final = "seat"
_PAGE: Final = 100
_KEYS_PER_LIST: Final = 10
"""Stripe lists prices of so many lookup keys at most."""


class NotPublishedError(Exception):
    """Something of the plans is not in Stripe: apply the plans first."""


@dataclass(frozen=True, slots=True)
class WantedPrice:
    """A price that a plan needs."""

    plan: str
    kind: str
    """``flat``, ``seat`` or a meter."""
    cents: Decimal
    """Per month, per seat and month, or per unit."""

    @property
    def lookup_key(self) -> str:
        """Names it in Stripe, whichever price object is the current one."""
        return f"{self.plan}-{self.kind}"

    @property
    def product(self) -> str:
        """The id of its plan's product."""
        return product_id(self.plan)

    @property
    def is_metered(self) -> bool:
        """Whether it is counted by a meter."""
        return self.kind in METERS

    @property
    def label(self) -> dict[str, str]:
        """Metadata by which a subscription item says what it is."""
        return {PLAN_KEY: self.plan, KIND_KEY: self.kind}


def product_id(plan: str) -> str:
    """The id of a plan's product."""
    return f"tallygate-{plan}"


def wanted_prices(plan: Plan) -> Iterator[WantedPrice]:
    """The prices that a plan needs."""
    if plan.flat_cents is not None:
        yield WantedPrice(plan.name, FLAT, Decimal(plan.flat_cents))
    if plan.seat_cents is not None:
        yield WantedPrice(plan.name, SEAT, Decimal(plan.seat_cents))
    for meter, cents in plan.unit_cents.items():
        yield WantedPrice(plan.name, meter, cents)


def current_prices(client: stripe.StripeClient, plans: Plans) -> dict[str, str]:
    """Ids of the plans' prices by lookup key, of those that are published."""
    wanted = [price for plan in plans.plans.values() for price in wanted_prices(plan)]
    return {key: price.id for key, price in by_lookup_key(client, wanted).items()}


def by_lookup_key(client: stripe.StripeClient, wanted: Sequence[WantedPrice]) -> dict[str, Any]:
    """The prices in Stripe that carry the lookup keys, by key.

    Raises:
        stripe.StripeError: when Stripe does not answer.
    """
    found = {}
    keys = [price.lookup_key for price in wanted]
    for start in range(0, len(keys), _KEYS_PER_LIST):
        params: Any = {"lookup_keys": keys[start : start + _KEYS_PER_LIST], "limit": _PAGE}
        for price in client.v1.prices.list(params).auto_paging_iter():
            found[price.lookup_key or ""] = price
    return found
