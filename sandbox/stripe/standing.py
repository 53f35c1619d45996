"""How a subscription stands: its status, how it is shown, and who is told of a change."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sandbox.stripe.announcements import announce, announce_thin, is_thin_type
from sandbox.stripe.calls import first_page
from sandbox.stripe.errors import StripeRefusalError
from sandbox.stripe.store import Document, Store

SUBSCRIPTION: Final = "subscription"
ENDED: Final = ("canceled", "incomplete_expired")


def show(subscription: Document) -> Document:
    """A subscription as the API shows it: with its items as a list."""
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    return {**subscription, "items": first_page(url, subscription["items"])}


def running(store: Store, subscription_id: str, param: str = "id") -> Document:
    """A subscription that has not ended.

    Raises:
        StripeRefusalError: 404 for one that has, or that never was.
    """
    subscription = store.get(SUBSCRIPTION, subscription_id, param=param)
    if subscription["status"] in ENDED:
        raise StripeRefusalError(404, f"No such subscription: '{subscription_id}'", "resource_missing")
    return subscription


def change_status(
    store: Store, now: datetime, subscription: Document, status: str, *told: str, **fields: Any
) -> Document:
    """Give a subscription another status and tell of it; ``told`` are events beside ``updated``."""
    subscription |= {"status": status, **fields}
    store.save(subscription)
    announce(store, now, "customer.subscription.updated", show(subscription))
    for kind in told:
        announce(store, now, kind, show(subscription))
    announce_status(store, now, subscription)
    return subscription


def announce_status(store: Store, now: datetime, subscription: Document) -> None:
    """The thin event that names the status a subscription has taken, where there is one."""
    kind = f"v1.customer.subscription.{subscription['status']}"
    if kind != "v1.customer.subscription.paused" and is_thin_type(kind):
        url = f"/v1/subscriptions/{subscription['id']}"
        announce_thin(store, now, kind, (subscription["id"], "subscription", url), None)
