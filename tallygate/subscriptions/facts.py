"""What Stripe says of a customer, as far as it decides anything here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

SubscriptionStatus = Literal[
    "active", "trialing", "past_due", "incomplete", "incomplete_expired", "unpaid", "canceled", "paused"
]

LIVE: Final[frozenset[SubscriptionStatus]] = frozenset({"active", "trialing", "past_due", "unpaid"})
"""A subscription of these takes usage: Stripe counts it for the period that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A subscription item."""

    item_id: str
    price: str
    plan: str | None
    """The plan in plans.json that the price was made for; None: made by somebody else."""
    kind: str | None
    """``flat``, ``seat`` or a meter, as the price was made for."""
    meter: str | None
    """Event name of the meter that its price counts by; None: a licensed price."""
    quantity: int
    created: datetime
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription with its items."""

    subscription_id: str
    status: SubscriptionStatus
    created: datetime
    ended_at: datetime | None
    """When it ended, if it has."""
    cancel_at: datetime | None
    """When it will end, if that is decided."""
    unpaid_since: datetime | None
    """When the oldest invoice that is open was finalized."""
    items: tuple[Item, ...]
    move_to_settle: bool = False
    """Whether a move of ours to another price is over, or would set back seats that have changed since."""

    @property
    def live(self) -> bool:
        """Whether it takes usage."""
        return self.status in LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer with all subscriptions, ended ones too."""

    customer_id: str
    deleted: bool
    subscriptions: tuple[Subscription, ...]

    def live_items(self) -> Iterator[Item]:
        """The items of all subscriptions that take usage."""
        for subscription in self.subscriptions:
            if subscription.live:
                yield from subscription.items


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    """A finished Checkout session."""

    session_id: str
    tenant_id: str | None
    """The tenant that it was made for; None: not made by this gateway."""
    customer: str | None


@dataclass(frozen=True, slots=True)
class RefusedSample:
    """A meter event that was refused after it had been accepted."""

    key: str
    """Idempotency key of the request that sent it."""
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReport:
    """Stripe's report of refused meter events."""

    error_count: int
    """May exceed the samples."""
    samples: tuple[RefusedSample, ...]
    validation_start: str
    validation_end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice, as far as holding it needs."""

    invoice_id: str
    is_draft: bool
    customer: str
    subscription: str | None
    """None: a one-off invoice."""
    created: datetime
    period_start: datetime
    period_end: datetime
    finalizes_at: datetime | None
