"""Stripe's side of a simulation: what is true at each moment, and the events that tell of it."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tallygate.subscriptions.account import NotThereError
from tallygate.subscriptions.facts import CheckoutSession, Customer, Subscription


@dataclass
class Truth:
    """One account. Everything is kept with its past, so that a stale read can be answered."""

    past: dict[str, list[tuple[datetime, Subscription]]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, datetime] = field(default_factory=dict)
    sessions: dict[str, CheckoutSession] = field(default_factory=dict)
    events: list[tuple[dict[str, Any], Subscription | None]] = field(default_factory=list)
    """As posted, and for a control that applies payloads, the subscription as it was then."""

    def put(self, customer: str, subscription: Subscription, now: datetime) -> None:
        """Change a subscription, or add one."""
        self.owners[subscription.subscription_id] = customer
        self.past.setdefault(subscription.subscription_id, []).append((now, subscription))

    def at(self, subscription_id: str, moment: datetime) -> Subscription | None:
        """A subscription as it was."""
        past = self.past.get(subscription_id, [])
        place = bisect_right(past, moment, key=lambda version: version[0])
        return None if place == 0 else past[place - 1][1]

    def customer(self, customer: str, moment: datetime) -> Customer:
        """A customer as it was."""
        known = [self.at(name, moment) for name, owner in self.owners.items() if owner == customer]
        deleted = self.deleted.get(customer)
        return Customer(
            customer_id=customer,
            deleted=deleted is not None and deleted <= moment,
            subscriptions=tuple(one for one in known if one is not None),
        )

    def customers(self, moment: datetime) -> Iterator[Customer]:
        """All customers with a subscription."""
        for customer in dict.fromkeys(self.owners.values()):
            yield self.customer(customer, moment)

    def session(self, session_id: str) -> CheckoutSession:
        """A Checkout session."""
        if session_id not in self.sessions:
            raise NotThereError(session_id)
        return self.sessions[session_id]

    def tell(
        self, kind: str, object_type: str, object_id: str, customer: str, now: datetime, *, thin: bool
    ) -> int:
        """Make an event; its number."""
        number = len(self.events)
        content: dict[str, Any]
        if thin:
            content = {
                "id": f"evt_test_{number}",
                "object": "v2.core.event",
                "type": f"v1.{kind}",
                "created": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                "livemode": False,
                "related_object": {"id": object_id, "type": object_type, "url": "/"},
            }
        else:
            about = {"id": object_id, "object": object_type}
            if object_type != "customer":
                about["customer"] = customer
            content = {
                "id": f"evt_{number}",
                "object": "event",
                "type": kind,
                "created": int(now.timestamp()),
                "livemode": False,
                "data": {"object": about},
            }
        payload = self.at(object_id, now) if object_type == "subscription" else None
        self.events.append((content, payload))
        return number

    def again(self, number: int) -> int:
        """A second event object of the same change, as Stripe makes now and then."""
        content, payload = self.events[number]
        twin = {**content, "id": f"{content['id']}b"}
        self.events.append((twin, payload))
        return len(self.events) - 1

    def body(self, number: int) -> bytes:
        """An event as it is posted."""
        return json.dumps(self.events[number][0]).encode()


def with_items(subscription: Subscription, **changes: Any) -> Subscription:
    """A subscription whose items all have the changes."""
    return replace(subscription, items=tuple(replace(item, **changes) for item in subscription.items))
