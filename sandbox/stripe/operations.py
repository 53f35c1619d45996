"""All operations of the API, and how ids are found for ``expand``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sandbox.stripe import (
    catalog,
    checkout,
    credit_notes,
    customers,
    endpoints,
    events,
    invoice_items,
    invoice_operations,
    invoices,
    meter_events,
    meters,
    phases,
    portal,
    standing,
    subscription_items,
    subscription_schedules,
    subscriptions,
    summaries,
)
from sandbox.stripe.calls import Operation
from sandbox.stripe.expand import Find
from sandbox.stripe.store import Document, Store

OPERATIONS: Final[tuple[Operation, ...]] = (
    *meters.OPERATIONS,
    *meter_events.OPERATIONS,
    *summaries.OPERATIONS,
    *customers.OPERATIONS,
    *catalog.OPERATIONS,
    *subscriptions.OPERATIONS,
    *subscription_items.OPERATIONS,
    *subscription_schedules.OPERATIONS,
    *checkout.OPERATIONS,
    *portal.OPERATIONS,
    *invoice_operations.OPERATIONS,
    *invoice_items.OPERATIONS,
    *credit_notes.OPERATIONS,
    *events.OPERATIONS,
    *endpoints.OPERATIONS,
)


def find_operation(method: str, path: str) -> tuple[Operation, Mapping[str, str]] | None:
    """The operation of a request, with the variable parts of its path."""
    for operation in OPERATIONS:
        place = operation.match(method, path)
        if place is not None:
            return operation, place
    return None


def finders(store: Store) -> Mapping[str, Find]:
    """How the object of an id is found, by the id's prefix."""
    return {
        "cus": lambda one: store.get("customer", one),
        "prod": lambda one: store.get("product", one),
        "price": lambda one: store.get("price", one),
        "mtr": lambda one: store.get(meters.METER, one),
        "sub": lambda one: _subscription_or_schedule(store, one),
        "cs": lambda one: checkout.show(store.get(checkout.SESSION, one)),
        "in": lambda one: invoices.show(store, store.get(invoices.INVOICE, one)),
    }


def _subscription_or_schedule(store: Store, object_id: str) -> Document:
    """Schedules have ids that begin like those of subscriptions: ``sub_sched_…``."""
    if object_id.startswith("sub_sched_"):
        return store.get(phases.SCHEDULE, object_id)
    return standing.show(store.get(standing.SUBSCRIPTION, object_id))
