"""One-off invoices by version 1 of Stripe's API: a draft that stands, an item for each row, then it advances.

Items are put on a draft of their own, so that nothing else comes along that waits for the customer's next
invoice. Version 1 keeps the answer to an idempotency key for a day at least, a 500 too: whether the work was
done only the list of items says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

import stripe

from tallygate.metering.one_off import NoCustomerError, OneOffError, OneOffItem, Placed
from tallygate.metering.sinks import Answer, Verdict
from tallygate.metering.sinks.stripe import classify

IDENTIFIER_KEY: Final = "tallygate_delta"
"""Metadata of an invoice item: the identifier of the sealed row that it charges."""
METER_KEY: Final = "tallygate_meter"
DRAFT_KEY: Final = "tallygate_one_off"
"""Metadata of an invoice that was made for such items."""
_TIMEOUT_SECONDS: Final = (3.0, 20.0)
_PAGE: Final = 100
_HOUR: Final = timedelta(hours=1)

T = TypeVar("T")


class StripeInvoices:
    """One-off invoices of one Stripe account, in US dollars."""

    def __init__(self, api_key: str, *, api_base: str | None = None) -> None:
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else None,
            max_network_retries=2,
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
        )
        self._once = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else None,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
        )

    def unit_cents(self, price: str) -> Decimal | None:
        """Cents for one unit; None: the price has none (tiers), or is not in US dollars.

        Raises:
            OneOffError: when Stripe gives no usable answer.
        """
        try:
            found = _asked(lambda: self._client.v1.prices.retrieve(price))
        except _MissingError:
            return None
        unit = found.unit_amount_decimal
        return None if unit is None or found.currency != "usd" else Decimal(unit)

    def items(self, customer: str) -> Mapping[str, Placed]:
        """Items of ours by the identifier that they carry.

        Raises:
            OneOffError: when Stripe gives no usable answer.
        """
        params: Any = {"customer": customer, "limit": _PAGE}
        listed = _asked(lambda: list(self._client.v1.invoice_items.list(params).auto_paging_iter()))
        invoices: dict[str | None, Placed] = {None: Placed(None, is_final=False, advances=False)}
        found = {}
        for item in listed:
            identifier = (item.metadata.to_dict() if item.metadata else {}).get(IDENTIFIER_KEY)
            if identifier is None:
                continue
            invoice = None if item.invoice is None else _id(item.invoice)
            if invoice not in invoices:
                invoices[invoice] = self._placed(str(invoice))
            found[identifier] = invoices[invoice]
        return found

    def _placed(self, invoice: str) -> Placed:
        found = _asked(lambda: self._client.v1.invoices.retrieve(invoice))
        return Placed(invoice, is_final=found.status != "draft", advances=bool(found.auto_advance))

    def draft(self, customer: str, key: str) -> str:
        """An empty draft of ours: one that is there, else a new one; the same key makes one once.

        Raises:
            NoCustomerError: when Stripe does not know the customer.
            OneOffError: when Stripe gives no usable answer.
        """
        wanted: Any = {"customer": customer, "status": "draft", "limit": _PAGE}
        for there in _asked(lambda: list(self._client.v1.invoices.list(wanted).auto_paging_iter())):
            ours = DRAFT_KEY in (there.metadata.to_dict() if there.metadata else {})
            if ours and not there.auto_advance and not there.lines.data:
                return str(there.id)
        params: Any = {
            "customer": customer,
            "currency": "usd",
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "description": "Usage that became known after the last invoice.",
            "metadata": {DRAFT_KEY: key},
        }
        try:
            made = _asked(lambda: self._client.v1.invoices.create(params, {"idempotency_key": key}))
        except _MissingError as error:
            raise NoCustomerError(str(error)) from error
        return str(made.id)

    def add(self, invoice: str, item: OneOffItem, idempotency_key: str) -> Answer:
        """Put an item on a draft: one call; every error becomes an answer."""
        start = int(item.usage_hour.timestamp())
        params: Any = {
            "customer": item.customer,
            "invoice": invoice,
            "currency": "usd",
            "quantity": item.quantity,
            "unit_amount_decimal": item.unit_cents,
            "description": f"{item.meter}, {item.usage_hour:%Y-%m-%d %H}:00 UTC, after the last invoice",
            "period": {"start": start, "end": start + int(_HOUR.total_seconds())},
            "metadata": {IDENTIFIER_KEY: item.identifier, METER_KEY: item.meter},
        }
        try:
            self._once.v1.invoice_items.create(params, {"idempotency_key": idempotency_key})
        except stripe.IdempotencyError:
            # the key was used for another draft: whether its work was done only the list says
            return Answer(Verdict.UNKNOWN, "idempotency_error")
        except stripe.StripeError as error:
            if error.http_status == 409:  # an earlier call under this key may still be at work
                return Answer(Verdict.UNKNOWN, "conflict")
            return classify(error)
        return Answer(Verdict.ACCEPTED)

    def release(self, invoice: str) -> None:
        """Let a draft finalize itself.

        Raises:
            OneOffError: when Stripe gives no usable answer.
        """
        params: Any = {"auto_advance": True}
        _asked(lambda: self._client.v1.invoices.update(invoice, params))


class _MissingError(OneOffError):
    """The object does not exist."""


def _asked(call: Callable[[], T]) -> T:
    try:
        return call()
    except stripe.StripeError as error:
        text = f"{type(error).__name__} {error.http_status} {error.code or ''}".strip()
        if error.code == "resource_missing":
            raise _MissingError(text) from error
        raise OneOffError(text, denied=error.http_status in (401, 403)) from error


def _id(value: Any) -> str:
    """The id of an object, expanded or not."""
    return value if isinstance(value, str) else str(value.id)
