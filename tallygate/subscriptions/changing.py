"""Changes of a running subscription that an operator makes: seats, and leaving."""

from __future__ import annotations

from typing import Any

import stripe

from tallygate.subscriptions import moving
from tallygate.subscriptions.account import KIND_KEY
from tallygate.subscriptions.facts import LIVE
from tallygate.subscriptions.prices import SEAT

_PAGE = 100


class ChangeError(Exception):
    """The subscription is not one that this can be done to; the message says why."""


def running_subscriptions(client: stripe.StripeClient, customer: str) -> list[stripe.Subscription]:
    """A customer's subscriptions that take usage, with their schedules.

    Raises:
        stripe.StripeError: when Stripe does not answer.
    """
    params: Any = {"customer": customer, "limit": _PAGE, "expand": ["data.schedule"]}
    listed = client.v1.subscriptions.list(params).auto_paging_iter()
    return [one for one in listed if one.status in LIVE]


def set_seats(client: stripe.StripeClient, customer: str, seats: int) -> str:
    """Give the subscription so many seats at once, prorated; its id. A planned move gives them too.

    Raises:
        ChangeError: unless the customer has exactly one item of seats.
        stripe.StripeError: when Stripe does not answer; run it again.
    """
    found = [
        (subscription, item)
        for subscription in running_subscriptions(client, customer)
        for item in subscription["items"].auto_paging_iter()
        if item.price.metadata is not None and item.price.metadata.to_dict().get(KIND_KEY) == SEAT
    ]
    if len(found) != 1:
        raise ChangeError(f"customer {customer} has {len(found)} items of seats, not one")
    ((subscription, item),) = found
    if item.quantity != seats:
        params: Any = {"quantity": seats, "proration_behavior": "create_prorations"}
        client.v1.subscription_items.update(item.id, params)
    changed = client.v1.subscriptions.retrieve(subscription.id, {"expand": ["schedule"]})
    if moving.is_to_settle(changed):
        moving.settle(client, changed)
    return subscription.id


def cancel(client: stripe.StripeClient, customer: str, *, at_once: bool) -> list[str]:
    """End a customer's subscriptions, by default with their periods; their ids.

    ``at_once``: a last invoice is made now with what was used; what was paid ahead is not given back.

    Raises:
        stripe.StripeError: when Stripe does not answer, or a schedule of somebody else stands in the way.
    """
    ended = []
    for found in running_subscriptions(client, customer):
        if at_once:
            client.v1.subscriptions.cancel(found.id, {"invoice_now": True})
        else:
            moving.abandon(client, found)
            client.v1.subscriptions.update(found.id, {"cancel_at_period_end": True})
        ended.append(found.id)
    return ended
