"""Plans as code: brings Stripe's meters, products, prices and portal to what ``plans.json`` says.

Everything is found by a name of ours (a meter by its event name, a product by its id, a price by its lookup
key), so a second run finds what the first one made and does nothing. A price is never edited: a new one takes
over its lookup key. Who has the old one keeps it, if it is a flat fee's or a seat's; subscribers of a metered
one are moved when their period ends. An old price is closed once nobody has it. Meters are never deactivated:
Stripe would refuse their usage.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import stripe

from tallygate.clock import rfc3339
from tallygate.plans import Plans
from tallygate.records import METERS
from tallygate.subscriptions import moving, portal
from tallygate.subscriptions.account import KIND_KEY, PLAN_KEY
from tallygate.subscriptions.prices import SEAT, WantedPrice, by_lookup_key, product_id, wanted_prices

_PAGE: Final = 100

Change = Literal[
    "create_meter", "reactivate_meter", "create_product", "unarchive_product", "create_price",
    "replace_price", "label_price", "create_portal", "update_portal", "move_subscriber", "cannot_move",
    "close_price",
]  # fmt: skip

FELT: Final[frozenset[Change]] = frozenset(
    {"replace_price", "close_price", "update_portal", "move_subscriber"}
)
"""Changes that reach those who have subscribed, or who are about to."""


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
    """Event name, product id, lookup key or subscription."""
    detail: str


def publish(client: stripe.StripeClient, plans: Plans, *, dry_run: bool) -> list[Action]:
    """Make the changes that are needed, or only tell them; the changes, in their order.

    Raises:
        PublishError: when a meter or a product of ours is there in a form that can't be used.
        stripe.StripeError: when Stripe does not answer; what was done stays, and the next run does the rest.
    """
    return list(_Publisher(client, dry_run).run(plans))


class _Publisher:
    def __init__(self, client: stripe.StripeClient, dry_run: bool) -> None:
        self._client = client
        self._dry_run = dry_run

    def run(self, plans: Plans) -> Iterator[Action]:
        wanted = [price for plan in plans.plans.values() for price in wanted_prices(plan)]
        meters = _best_meters(self._meters())
        products = {product.id: product for product in self._products(plans)}
        problems = [*_meter_problems(meters), *_portal_problems(wanted)]
        if problems:
            raise PublishError(problems)
        ids = {name: meter.id for name, meter in meters.items()}
        for name in METERS:
            if name not in ids:
                yield Action("create_meter", name, "sum of values")
                ids[name] = self._create_meter(name)
            elif meters[name].status != "active":
                yield Action("reactivate_meter", name, ids[name])
                if not self._dry_run:
                    self._client.v1.billing.meters.reactivate(ids[name])
        for plan in plans.plans:
            if product_id(plan) not in products:
                yield Action("create_product", product_id(plan), plan)
                self._create_product(plan)
            elif not products[product_id(plan)].active:
                yield Action("unarchive_product", product_id(plan), plan)
                if not self._dry_run:
                    self._client.v1.products.update(product_id(plan), {"active": True})
        found = by_lookup_key(self._client, wanted)
        current: dict[str, str] = {}
        for price in wanted:
            current[price.lookup_key] = yield from self._publish_price(
                price, found.get(price.lookup_key), ids
            )
        yield from self._publish_portal(wanted, current)
        listed = [price for product in products for price in self._prices_of(product)]
        others = [price for price in listed if price.id not in current.values()]
        yield from self._move_subscribers(others, wanted, current)
        yield from self._close_unused(others)

    def _publish_price(
        self, wanted: WantedPrice, found: Any, meters: Mapping[str, str]
    ) -> Generator[Action, None, str]:
        """The id of the price that is right now."""
        if found is not None and _same(wanted, found, meters):
            if {name: _metadata(found).get(name) for name in wanted.label} != wanted.label:
                yield Action("label_price", wanted.lookup_key, found.id)
                if not self._dry_run:
                    self._client.v1.prices.update(found.id, {"metadata": wanted.label})
            return str(found.id)
        detail = f"{wanted.cents} cents"
        if found is None:
            yield Action("create_price", wanted.lookup_key, detail)
        else:
            yield Action("replace_price", wanted.lookup_key, f"{detail}, instead of {found.id}")
        return moving.TO_BE_MADE if self._dry_run else self._create_price(wanted, meters)

    def _publish_portal(self, wanted: Sequence[WantedPrice], current: Mapping[str, str]) -> Iterator[Action]:
        ids = {price.product: current[price.lookup_key] for price in wanted if price.kind == SEAT}
        features = portal.wanted_features(ids)
        found = portal.find_configuration(self._client)
        detail = "seats, payment method, invoices, cancel at the period's end"
        if found is None:
            yield Action("create_portal", "customer portal", detail)
            if not self._dry_run:
                portal.create_configuration(self._client, features)
        elif not portal.allows(found, features):
            yield Action("update_portal", "customer portal", f"{detail}: {found.id}")
            if not self._dry_run:
                portal.update_configuration(self._client, found, features)

    def _prices_of(self, product: str) -> Iterator[Any]:
        params: Any = {"product": product, "limit": _PAGE}
        yield from self._client.v1.prices.list(params).auto_paging_iter()

    def _move_subscribers(
        self, others: Sequence[Any], wanted: Sequence[WantedPrice], current: Mapping[str, str]
    ) -> Iterator[Action]:
        """From metered prices that were replaced to those that replaced them, when their periods end."""
        by_label = {(w.plan, w.kind): current[w.lookup_key] for w in wanted if w.is_metered}
        labels = {price.id: _metadata(price) for price in others}
        successors = {
            price: by_label[label.get(PLAN_KEY, ""), label.get(KIND_KEY, "")]
            for price, label in labels.items()
            if (label.get(PLAN_KEY, ""), label.get(KIND_KEY, "")) in by_label
        }
        for move in moving.moves(self._client, successors):
            if move.state == "blocked":
                yield Action("cannot_move", move.subscription, f"{move.customer} {move.reason}")
            elif move.state == "due":
                yield Action("move_subscriber", move.subscription, f"{move.customer} at {rfc3339(move.at)}")
                if not self._dry_run:
                    for price in move.closed:
                        self._client.v1.prices.update(price, {"active": True})
                    moving.carry_out(self._client, move)

    def _close_unused(self, others: Sequence[Any]) -> Iterator[Action]:
        """Active prices of our products that are replaced, or of no plan, and that no subscription has."""
        for price in others:
            if price.active and not self._has_subscribers(price.id):
                yield Action("close_price", price.lookup_key or price.id, price.id)
                if not self._dry_run:
                    self._client.v1.prices.update(price.id, {"active": False})

    def _has_subscribers(self, price: str) -> bool:
        """Whether some subscription has a price, or may have it again."""
        found = self._client.v1.subscriptions.list({"price": price, "limit": _PAGE}).auto_paging_iter()
        return any(one.status not in ("canceled", "incomplete_expired") for one in found)

    def _meters(self) -> list[Any]:
        """Meters of our names, deactivated ones too."""
        listed = self._client.v1.billing.meters.list({"limit": _PAGE}).auto_paging_iter()
        return [meter for meter in listed if meter.event_name in METERS]

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

    def _create_price(self, wanted: WantedPrice, meters: Mapping[str, str]) -> str:
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
        return self._client.v1.prices.create(params).id


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


def _best_meters(listed: Sequence[Any]) -> dict[str, Any]:
    """By name the active one, else the newest that was deactivated and counts as ours do."""
    usable = [meter for meter in listed if meter.status == "active" or _counts_right(meter)]
    ordered = sorted(usable, key=lambda meter: (meter.status == "active", meter.created))
    return {meter.event_name: meter for meter in ordered}


def _counts_right(meter: Any) -> bool:
    return bool(
        meter.default_aggregation.formula == "sum"
        and getattr(meter, "event_time_window", None) is None
        and meter.customer_mapping.event_payload_key == "stripe_customer_id"
        and meter.value_settings.event_payload_key == "value"
    )


def _meter_problems(meters: Mapping[str, Any]) -> Iterator[str]:
    for name, meter in meters.items():
        if not _counts_right(meter):
            yield (
                f"meter {name} ({meter.id}) does not sum `value` by `stripe_customer_id`: meters can't be "
                "changed, so deactivate it while no subscription uses it, and run this again"
            )


def _portal_problems(wanted: Sequence[WantedPrice]) -> Iterator[str]:
    seats = [price.plan for price in wanted if price.kind == SEAT]
    if len(seats) > portal.MOST_PRODUCTS:
        yield (
            f"{len(seats)} plans have seats and Stripe's portal offers those of {portal.MOST_PRODUCTS}: "
            "take seat_cents from some"
        )


def _metadata(found: Any) -> dict[str, str]:
    return {} if found.metadata is None else dict(found.metadata.to_dict())
