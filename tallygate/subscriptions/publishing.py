"""Plans as code: brings Stripe's meters, products and prices to what ``plans.json`` says.

Everything is found by a name of ours (a meter by its event name, a product by its id, a price by its lookup
key), so a second run finds what the first one made and does nothing. A price is never edited: a new one takes
over its lookup key and the old one is closed to new subscriptions; who has it keeps it. Meters are never
deactivated: Stripe would refuse their usage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import stripe

from tallygate.plans import Plan, Plans
from tallygate.records import METERS
from tallygate.subscriptions.account import KIND_KEY, PLAN_KEY

FLAT: Final = "flat"
SEAT: Final = "seat"
_PAGE: Final = 100
_KEYS_PER_LIST: Final = 10
"""Stripe lists prices of so many lookup keys at most."""

Change = Literal[
    "create_meter", "create_product", "create_price", "replace_price", "label_price", "close_price"
]


class PublishError(Exception):
    """Something in Stripe stands in the way; carries every problem, each saying what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Action:
    """One change in Stripe."""

    change: Change
    name: str
    """Event name, product id or lookup key."""
    detail: str


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


def publish(client: stripe.StripeClient, plans: Plans, *, dry_run: bool) -> list[Action]:
    """Make the changes that are needed, or only tell them; the changes, in their order.

    Raises:
        PublishError: when a meter or a product of ours is there in a form that can't be used.
        stripe.StripeError: when Stripe does not answer; what was done stays, and the next run does the rest.
    """
    return list(_Publisher(client, dry_run).run(plans))


def current_prices(client: stripe.StripeClient, plans: Plans) -> dict[str, str]:
    """Ids of the plans' prices by lookup key, of those that are published."""
    wanted = [price for plan in plans.plans.values() for price in wanted_prices(plan)]
    return {key: price.id for key, price in _by_lookup_key(client, wanted).items()}


class _Publisher:
    def __init__(self, client: stripe.StripeClient, dry_run: bool) -> None:
        self._client = client
        self._dry_run = dry_run

    def run(self, plans: Plans) -> Iterator[Action]:
        wanted = [price for plan in plans.plans.values() for price in wanted_prices(plan)]
        meters = {meter.event_name: meter for meter in self._meters()}
        products = {product.id: product for product in self._products(plans)}
        problems = [*_meter_problems(meters), *_product_problems(products)]
        if problems:
            raise PublishError(problems)
        ids = {name: meter.id for name, meter in meters.items()}
        for name in METERS:
            if name not in ids:
                yield Action("create_meter", name, "sum of values")
                ids[name] = self._create_meter(name)
        for plan in plans.plans:
            if product_id(plan) not in products:
                yield Action("create_product", product_id(plan), plan)
                self._create_product(plan)
        found = _by_lookup_key(self._client, wanted)
        for price in wanted:
            yield from self._publish_price(price, found.get(price.lookup_key), ids)
        yield from self._close_others(products, {price.lookup_key for price in wanted})

    def _publish_price(self, wanted: WantedPrice, found: Any, meters: Mapping[str, str]) -> Iterator[Action]:
        if found is not None and _same(wanted, found, meters):
            if {name: _metadata(found).get(name) for name in wanted.label} != wanted.label:
                yield Action("label_price", wanted.lookup_key, found.id)
                if not self._dry_run:
                    self._client.v1.prices.update(found.id, {"metadata": wanted.label})
            return
        detail = f"{wanted.cents} cents"
        if found is None:
            yield Action("create_price", wanted.lookup_key, detail)
        else:
            yield Action("replace_price", wanted.lookup_key, f"{detail}, instead of {found.id}")
        if not self._dry_run:
            self._create_price(wanted, meters)

    def _close_others(self, products: Mapping[str, Any], keys: set[str]) -> Iterator[Action]:
        """Active prices of our products that no lookup key of the plans names: replaced, or of no plan."""
        for product in products:
            params: Any = {"product": product, "active": True, "limit": _PAGE}
            for price in self._client.v1.prices.list(params).auto_paging_iter():
                if price.lookup_key not in keys:
                    yield Action("close_price", price.lookup_key or price.id, price.id)
                    if not self._dry_run:
                        self._client.v1.prices.update(price.id, {"active": False})

    def _meters(self) -> Sequence[Any]:
        """Meters of our names: the active one of each, else one that is not."""
        listed = list(self._client.v1.billing.meters.list({"limit": _PAGE}).auto_paging_iter())
        ours = [meter for meter in listed if meter.event_name in METERS]
        return sorted(ours, key=lambda meter: meter.status == "active")

    def _products(self, plans: Plans) -> Sequence[Any]:
        ids = [product_id(plan) for plan in plans.plans]
        return list(self._client.v1.products.list({"ids": ids, "limit": _PAGE}).auto_paging_iter())

    def _create_meter(self, name: str) -> str:
        if self._dry_run:
            return ""
        made = self._client.v1.billing.meters.create(
            {
                "event_name": name,
                "display_name": name,
                "default_aggregation": {"formula": "sum"},
                "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                "value_settings": {"event_payload_key": "value"},
            }
        )
        return made.id

    def _create_product(self, plan: str) -> None:
        if not self._dry_run:
            params: Any = {"id": product_id(plan), "name": f"Tallygate {plan}", "metadata": {PLAN_KEY: plan}}
            self._client.v1.products.create(params)

    def _create_price(self, wanted: WantedPrice, meters: Mapping[str, str]) -> None:
        recurring: dict[str, Any] = {"interval": "month"}
        if wanted.is_metered:
            recurring |= {"usage_type": "metered", "meter": meters[wanted.kind]}
        params: Any = {
            "product": wanted.product,
            "currency": "usd",
            "unit_amount_decimal": wanted.cents,
            "recurring": recurring,
            "lookup_key": wanted.lookup_key,
            "transfer_lookup_key": True,
            "nickname": wanted.lookup_key,
            "metadata": wanted.label,
        }
        self._client.v1.prices.create(params)


def _by_lookup_key(client: stripe.StripeClient, wanted: Sequence[WantedPrice]) -> dict[str, Any]:
    found = {}
    keys = [price.lookup_key for price in wanted]
    for start in range(0, len(keys), _KEYS_PER_LIST):
        params: Any = {"lookup_keys": keys[start : start + _KEYS_PER_LIST], "limit": _PAGE}
        for price in client.v1.prices.list(params).auto_paging_iter():
            found[price.lookup_key or ""] = price
    return found


def _same(wanted: WantedPrice, found: Any, meters: Mapping[str, str]) -> bool:
    recurring = found.recurring
    return (
        found.active
        and found.currency == "usd"
        and Decimal(found.unit_amount_decimal) == wanted.cents
        and found.product == wanted.product
        and recurring is not None
        and (recurring.interval, recurring.interval_count) == ("month", 1)
        and (recurring.usage_type == "metered") == wanted.is_metered
        and (recurring.meter or None) == (meters[wanted.kind] if wanted.is_metered else None)
    )


def _meter_problems(meters: Mapping[str, Any]) -> Iterator[str]:
    for name, meter in meters.items():
        if meter.status != "active":
            yield f"meter {name} ({meter.id}) is deactivated: reactivate it in the Dashboard"
        elif (
            meter.default_aggregation.formula != "sum"
            or getattr(meter, "event_time_window", None) is not None
            or meter.customer_mapping.event_payload_key != "stripe_customer_id"
            or meter.value_settings.event_payload_key != "value"
        ):
            yield (
                f"meter {name} ({meter.id}) does not sum `value` by `stripe_customer_id`: meters can't be "
                "changed, so deactivate it while no subscription uses it, and run this again"
            )


def _product_problems(products: Mapping[str, Any]) -> Iterator[str]:
    for name, product in products.items():
        if not product.active:
            yield f"product {name} is archived: unarchive it in the Dashboard"


def _metadata(found: Any) -> dict[str, str]:
    return {} if found.metadata is None else dict(found.metadata.to_dict())
