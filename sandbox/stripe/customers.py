"""Customers: who is billed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stripe import params as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, in_range, names, page
from sandbox.stripe.errors import StripeRefusalError
from sandbox.stripe.store import Document, merge_metadata
from sandbox.stripe.subscriptions import close_all
from sandbox.stripe.wire import new_id


def new_customer(seconds: int, params: Mapping[str, Any]) -> Document:
    """A customer as it is made, not yet kept."""
    fields = ("name", "email", "description", "phone", "address")
    document: Document = {
        "id": new_id("cus"),
        "object": "customer",
        "created": seconds,
        "livemode": False,
        "currency": None,
        "balance": 0,
        "delinquent": False,
        "default_source": None,
        **{name: params.get(name) or None for name in fields},
        "invoice_settings": {"default_payment_method": None, "custom_fields": None, "footer": None},
        "metadata": {},
    }
    merge_metadata(document, params)
    return document


def _create_customer(call: Call) -> Document:
    document = new_customer(call.seconds, call.params)
    call.store.add("customer", document)
    announce(call.store, call.now, "customer.created", document)
    return document


def _update_customer(call: Call) -> Document:
    document = _live_customer(call)
    for name in ("name", "email", "description", "phone", "address"):
        if name in call.params:
            document[name] = call.params[name] or None
    merge_metadata(document, call.params)
    announce(call.store, call.now, "customer.updated", document)
    return call.store.save(document)


def _live_customer(call: Call) -> Document:
    document = call.store.get("customer", call.id, stale=call.stale)
    if document.get("deleted"):
        raise StripeRefusalError(404, f"No such customer: '{call.id}'", "resource_missing", param="id")
    return document


def _retrieve_customer(call: Call) -> Document:
    return call.store.get("customer", call.id, stale=call.stale)


def _list_customers(call: Call) -> Document:
    every = call.store.every("customer", newest_first=True, stale=call.stale)
    email = call.params.get("email")
    return page(
        call,
        [
            customer
            for customer in every
            if not customer.get("deleted")
            and (email is None or customer["email"] == email)
            and in_range(customer["created"], call.params.get("created"))
        ],
    )


def _delete_customer(call: Call) -> Document:
    """What is left of a deleted customer says so; its subscriptions end at once."""
    document = _live_customer(call)
    close_all(call.store, call.now, call.id)
    announce(call.store, call.now, "customer.deleted", document)
    return call.store.save({"id": call.id, "object": "customer", "deleted": True})


_FIELDS: Final = names("name email description phone address metadata")
_LISTED: Final = names("email created limit starting_after ending_before")
OPERATIONS: Final = (
    Operation("POST", "/v1/customers", sdk.CustomerCreateParams, _create_customer, _FIELDS),
    Operation("GET", "/v1/customers", sdk.CustomerListParams, _list_customers, _LISTED),
    Operation("GET", "/v1/customers/{id}", sdk.CustomerRetrieveParams, _retrieve_customer),
    Operation("POST", "/v1/customers/{id}", sdk.CustomerUpdateParams, _update_customer, _FIELDS),
    Operation("DELETE", "/v1/customers/{id}", sdk.CustomerDeleteParams, _delete_customer),
)
