"""Which tenant a Stripe customer is: one tenant for a customer, one customer for a tenant, for good."""

from __future__ import annotations

from dataclasses import replace

from tallygate.appdb import Condition, Database, Transaction
from tallygate.tenants import tenant_document, tenant_from


class BindingError(Exception):
    """A binding that must not be; ``reason`` is one word for logs and the inbox."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def tenant_of(database: Database, customer: str) -> str | None:
    """The tenant that a customer is bound to, or None."""
    document = database.get("customers", customer)
    if document is not None:
        tenant_id: str = document["tenant_id"]
        return tenant_id
    # a tenant that was made with its customer
    found = database.query("tenants", [Condition("stripe_customer", "==", customer)], limit=2)
    return found[0][0] if len(found) == 1 else None


def bind(database: Database, tenant_id: str, customer: str) -> None:
    """Bind a tenant and a customer; binding them again changes nothing.

    Raises:
        BindingError: ``unknown_tenant``, ``tenant_bound`` (to another customer) or ``customer_bound`` (to
            another tenant).
    """
    claimed = tenant_of(database, customer)
    if claimed not in (None, tenant_id):
        raise BindingError("customer_bound")

    def write(transaction: Transaction) -> None:
        document = transaction.get("tenants", tenant_id)
        if document is None:
            raise BindingError("unknown_tenant")
        held = transaction.get("customers", customer)
        tenant = tenant_from(document)
        if tenant.stripe_customer not in (None, customer):
            raise BindingError("tenant_bound")
        if held is not None and held["tenant_id"] != tenant_id:
            raise BindingError("customer_bound")
        transaction.put("tenants", tenant_id, tenant_document(replace(tenant, stripe_customer=customer)))
        transaction.put("customers", customer, {"tenant_id": tenant_id})

    database.transact(write)
