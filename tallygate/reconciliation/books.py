"""Stripe's invoices as reconciliation uses them: metered lines, and what a repair credits or charges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import stripe

from tallygate.metering.sinks.stripe_invoices import IDENTIFIER_KEY, METER_KEY
from tallygate.reconciliation.summaries import StripeReadError

_TIMEOUT_SECONDS: Final = (3.0, 20.0)
_PAGE: Final = 100
_OWED: Final = frozenset({"open", "paid", "uncollectible"})
_MARK: Final = "repair_id"
"""Metadata by which a credit note or an invoice item says which repair made it."""


class StripeRefusedError(Exception):
    """Stripe has certainly not done what was asked, and says why."""


@dataclass(frozen=True, slots=True)
class FinalInvoice:
    """An invoice that is final and owed, or was paid."""

    invoice_id: str
    customer: str
    status: str
    finalized_at: datetime


@dataclass(frozen=True, slots=True)
class MeteredLine:
    """A line of an invoice that bills a meter: of a subscription, or of a one-off invoice."""

    number: int
    """Among all lines of the invoice, from 1."""
    line_id: str
    invoice_id: str
    invoice_status: str
    customer: str
    meter: str
    quantity: int
    amount: int
    """Cents."""
    start: datetime
    end: datetime
    """Exclusive."""
    identifier: str | None = None
    """Of the sealed row that an item of a one-off invoice charges; None: a subscription's line."""

    def bills(self, meter: str, moment: datetime) -> bool:
        """Whether it is a subscription's line for what is booked for a meter at a moment."""
        return self.identifier is None and self.meter == meter and self.start <= moment < self.end

    def share(self, quantity: int) -> int:
        """What a part of the line's quantity costs, in cents, half up; 0 where the line costs nothing."""
        if self.quantity == 0:
            return 0
        exact = Decimal(self.amount) * quantity / self.quantity
        return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


@dataclass(slots=True)
class StripeBooks:
    """One account's invoices. Not to be shared between threads."""

    client: stripe.StripeClient
    _meters: dict[str, str] = field(default_factory=dict)
    """Meter's id → event name."""
    _meter_of_price: dict[str, str | None] = field(default_factory=dict)

    def finalized(self, created_since: datetime) -> Iterator[FinalInvoice]:
        """Final invoices that were made (not: finalized) since a moment, newest first.

        Raises:
            StripeReadError: when Stripe does not answer.
        """
        params: Any = {"created": {"gte": int(created_since.timestamp())}, "limit": _PAGE}
        try:
            for invoice in self.client.v1.invoices.list(params).auto_paging_iter():
                found = _final(invoice)
                if found is not None:
                    yield found
        except stripe.StripeError as error:
            raise StripeReadError(f"invoices: {_what(error)}") from error

    def metered_lines(self, invoice_id: str) -> list[MeteredLine]:
        """An invoice's lines that bill a meter.

        Raises:
            StripeReadError: when Stripe does not answer.
        """
        try:
            return self._lines(self.client.v1.invoices.retrieve(invoice_id))
        except stripe.StripeError as error:
            raise StripeReadError(f"invoice {invoice_id}: {_what(error)}") from error

    def line_at(self, customer: str, meter: str, moment: datetime) -> MeteredLine | None:
        """The subscription's line in whose period a moment lies, a draft's too; None while there is none.

        Raises:
            StripeReadError: when Stripe does not answer.
        """
        return next((line for line in self.lines_since(customer, moment) if line.bills(meter, moment)), None)

    def lines_since(self, customer: str, moment: datetime) -> Iterator[MeteredLine]:
        """The metered lines of a customer's invoices made since a moment: of drafts too, not of void ones.

        Raises:
            StripeReadError: when Stripe does not answer.
        """
        params: Any = {"customer": customer, "created": {"gte": int(moment.timestamp())}, "limit": _PAGE}
        try:
            for invoice in self.client.v1.invoices.list(params).auto_paging_iter():
                if invoice.status != "void":
                    yield from self._lines(invoice)
        except stripe.StripeError as error:
            raise StripeReadError(f"invoices of {customer}: {_what(error)}") from error

    def credit(self, line: MeteredLine, amount: int, repair_id: str, attempt: int) -> str:
        """Credit a part of a line, in cents, once for a repair; the credit note's id.

        What was paid goes to the customer's balance, for its next invoice.

        Raises:
            StripeRefusedError: when Stripe does not allow it.
            StripeReadError: when it is not known what Stripe has done: ask again.
        """
        params: Any = {
            "invoice": line.invoice_id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.line_id, "amount": amount}],
            "memo": f"Correction {repair_id}",
            "metadata": {_MARK: repair_id},
        }
        if line.invoice_status == "paid":
            params["credit_amount"] = amount
        try:
            notes = self.client.v1.credit_notes.list({"invoice": line.invoice_id, "limit": _PAGE})
            made = _marked(notes.auto_paging_iter(), repair_id)
            if made is None:
                key = f"repair:{repair_id}:a{attempt}"
                made = self.client.v1.credit_notes.create(params, {"idempotency_key": key}).id
        except stripe.StripeError as error:
            raise _refused(error) from error
        return made

    def charge(self, customer: str, amount: int, text: str, repair_id: str, attempt: int) -> str:
        """Put an amount in cents on the customer's next invoice, once for a repair; the invoice item's id.

        Raises:
            StripeRefusedError: when Stripe does not allow it.
            StripeReadError: when it is not known what Stripe has done: ask again.
        """
        params: Any = {
            "customer": customer,
            "currency": "usd",
            "amount": amount,
            "description": text,
            "metadata": {_MARK: repair_id},
        }
        try:
            items = self.client.v1.invoice_items.list({"customer": customer, "limit": _PAGE})
            made = _marked(items.auto_paging_iter(), repair_id)
            if made is None:
                key = f"repair:{repair_id}:a{attempt}"
                made = self.client.v1.invoice_items.create(params, {"idempotency_key": key}).id
        except stripe.StripeError as error:
            raise _refused(error) from error
        return made

    def _lines(self, invoice: stripe.Invoice) -> list[MeteredLine]:
        lines = []
        assert invoice.id is not None
        customer = invoice.customer if isinstance(invoice.customer, str) else None
        every = self.client.v1.invoices.line_items.list(invoice.id, {"limit": _PAGE}).auto_paging_iter()
        for number, line in enumerate(every, 1):
            marks = line.metadata.to_dict()
            identifier = marks.get(IDENTIFIER_KEY)
            meter = self._meter(line) if identifier is None else marks[METER_KEY]
            if meter is None or customer is None:
                continue
            start, end = (datetime.fromtimestamp(at, UTC) for at in (line.period.start, line.period.end))
            lines.append(
                MeteredLine(
                    number=number,
                    line_id=line.id,
                    invoice_id=invoice.id,
                    invoice_status=invoice.status or "draft",
                    customer=customer,
                    meter=meter,
                    quantity=line.quantity or 0,
                    amount=line.amount,
                    start=start,
                    end=end,
                    identifier=identifier,
                )
            )
        return lines

    def _meter(self, line: stripe.InvoiceLineItem) -> str | None:
        """The meter that a subscription's line bills; None for any other line."""
        if line.parent is None or line.parent.type != "subscription_item_details":
            return None
        details = line.pricing.price_details if line.pricing else None
        if details is None:
            return None
        price_id = details.price if isinstance(details.price, str) else details.price.id
        if price_id not in self._meter_of_price:
            recurring = self.client.v1.prices.retrieve(price_id).recurring
            self._meter_of_price[price_id] = recurring.meter if recurring else None
        meter_id = self._meter_of_price[price_id]
        if meter_id is None:
            return None
        if not self._meters:
            meters = self.client.v1.billing.meters.list({"limit": _PAGE}).auto_paging_iter()
            self._meters = {meter.id: meter.event_name for meter in meters}
        return self._meters[meter_id]


def open_books(api_key: str, *, api_base: str | None = None) -> StripeBooks:
    """The books of an account."""
    return StripeBooks(
        stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else None,
            max_network_retries=2,
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
        )
    )


def _final(invoice: stripe.Invoice) -> FinalInvoice | None:
    at = invoice.status_transitions.finalized_at
    if invoice.status not in _OWED or at is None or not isinstance(invoice.customer, str):
        return None
    assert invoice.id is not None
    return FinalInvoice(invoice.id, invoice.customer, invoice.status, datetime.fromtimestamp(at, UTC))


def _marked(made: Iterator[Any], repair_id: str) -> str | None:
    """The id of what a repair has made already, as its answer may have been lost."""
    for one in made:
        marks = one.metadata.to_dict() if one.metadata else {}
        if marks.get(_MARK) == repair_id and getattr(one, "status", None) != "void":
            found: str = one.id
            return found
    return None


def _refused(error: stripe.StripeError) -> StripeRefusedError | StripeReadError:
    if error.http_status in (400, 401, 402, 403, 404):
        return StripeRefusedError(str(error.user_message or error))
    return StripeReadError(_what(error))


def _what(error: stripe.StripeError) -> str:
    return f"{type(error).__name__}, status {error.http_status}"
