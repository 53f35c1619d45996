"""What a customer's subscriptions make of a tenant. Pure: same facts and time, same result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from tallygate.plans import Plan
from tallygate.records import BASIS_METERS, SegmentItem
from tallygate.subscriptions.facts import Customer, Item, Subscription, SubscriptionStatus
from tallygate.tenants import TenantStatus

STATUS: Final[Mapping[SubscriptionStatus, TenantStatus]] = {
    "active": "active",
    "trialing": "active",
    "past_due": "grace",
    "incomplete": "pending",
    "unpaid": "suspended",
    "paused": "suspended",
    "canceled": "closed",
    "incomplete_expired": "closed",
}
_RANK: Final[tuple[TenantStatus, ...]] = ("active", "grace", "suspended", "pending", "closed")
"""Of several subscriptions the one that gives most decides."""

FindingKind = Literal[
    "two_items", "item_missing", "plan_unknown", "price_changed", "subscriptions_of_two_plans"
]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in Stripe that leaves usage unbilled, or that nobody meant."""

    kind: FindingKind
    detail: str
    """Ids and meters, for a log line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How usage is billed from a moment on: what a billing segment is made of."""

    subscription_id: str
    plan: Plan
    items: tuple[SegmentItem, ...]
    period_start: datetime
    period_end: datetime
    changed_at: datetime
    """When the newest of its items was made."""
    ends_at: datetime | None
    """When it is known to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a tenant is given."""

    status: TenantStatus
    grace_until: datetime | None
    plan: Plan
    seats: int
    span: Span | None
    """None: nothing takes usage now."""
    ended: Mapping[str, datetime]
    """When subscriptions ended, those that have."""
    findings: tuple[Finding, ...]


def standing(
    customer: Customer, plans: Mapping[str, Plan], current: Plan, now: datetime, grace: timedelta
) -> Standing:
    """What the facts give at a moment.

    ``current``: the tenant's plan so far, which holds where no subscription names one.
    """
    if customer.deleted or not customer.subscriptions:
        return Standing(
            status="closed" if customer.deleted else "pending",
            grace_until=None,
            plan=current,
            seats=0,
            span=None,
            ended=_ended(customer),
            findings=(),
        )
    ordered = sorted(customer.subscriptions, key=lambda one: _order(one, now, grace))
    leading = ordered[0]
    status, grace_until = _status(leading, now, grace)
    plan, unknown = _plan(ordered, plans, current)
    findings = [*unknown]
    span = _span(customer, ordered, plan, now, findings)
    return Standing(
        status=status,
        grace_until=grace_until,
        plan=plan,
        seats=sum(item.quantity for item in customer.live_items() if item.kind == "seat"),
        span=span,
        ended=_ended(customer),
        findings=tuple(findings),
    )


def _order(subscription: Subscription, now: datetime, grace: timedelta) -> tuple[int, float, str]:
    """The one that gives most first, then the newest."""
    status, _ = _status(subscription, now, grace)
    return _RANK.index(status), -subscription.created.timestamp(), subscription.subscription_id


def _status(
    subscription: Subscription, now: datetime, grace: timedelta
) -> tuple[TenantStatus, datetime | None]:
    status = STATUS[subscription.status]
    if status != "grace":
        return status, None
    starts = [item.period_start for item in subscription.items]
    since = subscription.unpaid_since or min(starts, default=subscription.created)
    until = since + grace
    return ("grace", until) if now < until else ("suspended", None)


def _plan(
    ordered: Sequence[Subscription], plans: Mapping[str, Plan], current: Plan
) -> tuple[Plan, list[Finding]]:
    """The plan of the first subscription, among those that take usage if there are any."""
    candidates = [one for one in ordered if one.live] or list(ordered[:1])
    findings = []
    for subscription in candidates:
        for item in subscription.items:
            if subscription.live and (item.plan is None or item.plan not in plans):
                findings.append(
                    Finding("plan_unknown", f"{subscription.subscription_id} {item.item_id} {item.price}")
                )
    named = [
        plan
        for subscription in candidates
        for plan in dict.fromkeys(item.plan for item in subscription.items)
        if plan is not None and plan in plans
    ]
    several = list(dict.fromkeys(named))
    if len(several) > 1:
        findings.append(Finding("subscriptions_of_two_plans", " ".join(several)))
    return (plans[named[0]] if named else current), findings


def _span(
    customer: Customer,
    ordered: Sequence[Subscription],
    plan: Plan,
    now: datetime,
    findings: list[Finding],
) -> Span | None:
    live = [subscription for subscription in ordered if subscription.live and subscription.items]
    if not live:
        return None
    metered = [item for item in customer.live_items() if item.meter is not None]
    _look_for_doubles(metered, findings)
    missing = sorted(set(BASIS_METERS[plan.charge_basis]) - {item.meter for item in metered})
    if missing:
        findings.append(Finding("item_missing", f"{customer.customer_id} {plan.name} {' '.join(missing)}"))
    # the period in which metered usage is invoiced decides; without any, the plan's
    with_meters = [one for one in live if any(item.meter for item in one.items)]
    timing = (with_meters or live)[0]
    # an end that has passed though the subscription lives is no end yet
    ends = [one.cancel_at if one.cancel_at is not None and one.cancel_at > now else None for one in live]
    return Span(
        subscription_id=timing.subscription_id,
        plan=plan,
        items=tuple(
            SegmentItem(meter=item.meter, subscription_item=item.item_id, price=item.price)
            for item in sorted(metered, key=lambda item: (item.meter or "", item.item_id))
            if item.meter is not None
        ),
        period_start=max(item.period_start for item in timing.items),
        period_end=min(item.period_end for item in timing.items),
        changed_at=max((item.created for item in metered), default=timing.created),
        ends_at=max(end for end in ends if end is not None) if None not in ends else None,
    )


def _look_for_doubles(metered: Sequence[Item], findings: list[Finding]) -> None:
    counted = Counter(item.meter for item in metered)
    for meter, count in sorted((meter, count) for meter, count in counted.items() if meter is not None):
        if count > 1:
            items = " ".join(sorted(item.item_id for item in metered if item.meter == meter))
            findings.append(Finding("two_items", f"{meter} {items}"))


def _ended(customer: Customer) -> dict[str, datetime]:
    return {one.subscription_id: one.ended_at for one in customer.subscriptions if one.ended_at is not None}
