"""What is read of and changed in one Stripe account, in the terms of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import stripe

from tallygate.subscriptions import moving
from tallygate.subscriptions.events import (
    SNAPSHOT_EVENTS,
    THIN_EVENTS,
    StripeEvent,
    UnreadableEventError,
    event_from,
)
from tallygate.subscriptions.facts import (
    CheckoutSession,
    Customer,
    Invoice,
    Item,
    MeterReport,
    RefusedSample,
    Subscription,
)

T = TypeVar("T")

PLAN_KEY: Final = "tallygate_plan"
KIND_KEY: Final = "tallygate_kind"
"""Metadata of a price: the plan that it belongs to, and what of it (``flat``, ``seat`` or a meter)."""
TENANT_KEY: Final = "tallygate_tenant"
"""Metadata of a Checkout session: only a holder of the account's secret key can set it, unlike
``client_reference_id``, which anybody can add to the address of a payment link."""

_TYPES_PER_LIST: Final = 20
"""The event lists take so many types at most."""
_PAGE: Final = 100


class AccountError(Exception):
    """A call to Stripe that gave no usable answer; trying again may help."""


class AccountAccessError(AccountError):
    """The key is refused: nothing will work until somebody changes it."""


class NotThereError(AccountError):
    """The object does not exist."""


class NoPermitError(AccountError):
    """Stripe may not be asked now."""


class StripeAccount:
    """One account, through the SDK. Safe to share between threads."""

    def __init__(self, client: stripe.StripeClient, permit: Callable[[], None]) -> None:
        """``permit`` returns when Stripe may be asked once, or raises NoPermitError."""
        self._client = client
        self._permit = permit
        self._meters: dict[str, str] = {}

    def customer(self, customer_id: str) -> Customer:
        """A customer with all subscriptions: one call, and one more if something is unpaid.

        Raises:
            AccountError: when Stripe does not answer, or with something that can't be used.
        """
        params: Any = {
            "customer": customer_id,
            "status": "all",
            "limit": _PAGE,
            "expand": ["data.customer", "data.schedule"],
        }
        try:
            found = self._asked(lambda: list(self._client.v1.subscriptions.list(params).auto_paging_iter()))
        except NotThereError:
            return Customer(customer_id=customer_id, deleted=True, subscriptions=())
        deleted = any(getattr(one.customer, "deleted", False) for one in found)
        return self._customer(customer_id, found, deleted=deleted)

    def settle_move(self, subscription_id: str) -> None:
        """End a planned move that is over, or let it give the seats that there are now; twice does no harm.

        Raises:
            AccountError: when Stripe does not answer.
        """
        params: Any = {"expand": ["schedule"]}
        found = self._asked(lambda: self._client.v1.subscriptions.retrieve(subscription_id, params))
        if moving.is_to_settle(found):
            self._asked(lambda: moving.settle(self._client, found))

    def customers(self) -> Iterator[Customer]:
        """All customers that have or had a subscription.

        Raises:
            AccountError: when Stripe does not answer, or with something that can't be used.
        """
        params: Any = {"status": "all", "limit": _PAGE, "expand": ["data.customer"]}
        found = self._asked(lambda: list(self._client.v1.subscriptions.list(params).auto_paging_iter()))
        by_customer: dict[str, list[Any]] = {}
        for one in found:
            by_customer.setdefault(_id(one.customer), []).append(one)
        for customer_id, subscriptions in by_customer.items():
            deleted = any(getattr(one.customer, "deleted", False) for one in subscriptions)
            yield self._customer(customer_id, subscriptions, deleted=deleted)

    def checkout_session(self, session_id: str) -> CheckoutSession:
        """A Checkout session.

        Raises:
            AccountError: when Stripe does not answer, or has no such session.
        """
        found = self._asked(lambda: self._client.v1.checkout.sessions.retrieve(session_id))
        metadata = _metadata(found)
        ours = metadata.get(TENANT_KEY)
        return CheckoutSession(
            session_id=found.id,
            tenant_id=ours if ours == found.client_reference_id else None,
            customer=None if found.customer is None else _id(found.customer),
        )

    def customer_behind(self, object_id: str) -> str | None:
        """The customer that a subscription or an invoice is of; None: it is of none, or gone.

        Raises:
            AccountError: when Stripe does not answer.
        """
        try:
            if object_id.startswith("sub_"):
                return _id(self._asked(lambda: self._client.v1.subscriptions.retrieve(object_id)).customer)
            if object_id.startswith("in_"):
                customer = self._asked(lambda: self._client.v1.invoices.retrieve(object_id)).customer
                return None if customer is None else _id(customer)
        except NotThereError:
            return None
        return None

    def invoice(self, invoice_id: str) -> Invoice:
        """An invoice.

        Raises:
            AccountError: when Stripe does not answer, or has no such invoice.
        """
        found = self._asked(lambda: self._client.v1.invoices.retrieve(invoice_id))
        details = found.parent.subscription_details if found.parent else None
        finalizes_at = found.automatically_finalizes_at
        return Invoice(
            invoice_id=invoice_id,
            is_draft=found.status == "draft",
            customer="" if found.customer is None else _id(found.customer),
            subscription=None if details is None else _id(details.subscription),
            created=_moment(found.created),
            period_start=_moment(found.period_start),
            period_end=_moment(found.period_end),
            finalizes_at=None if finalizes_at is None else _moment(finalizes_at),
        )

    def finalize_at(self, invoice_id: str, moment: datetime) -> None:
        """Move the moment, a whole second, at which a draft finalizes itself; a repeat changes nothing.

        Raises:
            AccountError: when Stripe does not answer, or the invoice is no draft any more.
        """
        params: Any = {"auto_advance": True, "automatically_finalizes_at": int(moment.timestamp())}
        self._asked(lambda: self._client.v1.invoices.update(invoice_id, params))

    def metered(self, meter: str, customer: str, start: datetime, end: datetime) -> int:
        """What Stripe counted of a meter, by its event name; whole minutes, the end exclusive.

        Raises:
            AccountError: when Stripe does not answer, or has no active meter of that name.
        """
        meter_id = self._meter_id(meter)
        params: Any = {
            "customer": customer,
            "start_time": int(start.timestamp()),
            "end_time": int(end.timestamp()),
        }
        found = self._asked(lambda: self._client.v1.billing.meters.event_summaries.list(meter_id, params))
        return sum(int(row.aggregated_value) for row in found.data)

    def meter_report(self, event_id: str) -> MeterReport:
        """The report in a thin event of refused meter events.

        Raises:
            AccountError: when Stripe does not answer, or has no such event.
        """
        data: Any = self._asked(lambda: self._client.v2.core.events.retrieve(event_id)).to_dict().get("data")
        try:
            reason = data["reason"]
            return MeterReport(
                error_count=reason["error_count"],
                samples=tuple(
                    RefusedSample(sample["request"]["identifier"], kind["code"])
                    for kind in reason["error_types"]
                    for sample in kind["sample_errors"]
                ),
                validation_start=data["validation_start"],
                validation_end=data["validation_end"],
            )
        except (KeyError, TypeError) as error:
            raise AccountError(f"the report {event_id} lacks a field: {error}") from error

    def events_since(self, moment: datetime) -> Iterator[StripeEvent]:
        """Stripe's own lists of the events that matter here: thin ones, and snapshots that nobody took.

        What the first lists is what the event destination is sent, under the same ids. The second is empty
        unless an endpoint takes snapshots and has missed some.

        Raises:
            AccountError: when Stripe does not answer.
        """
        since = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for kinds in _chunks(THIN_EVENTS):
            params: Any = {"created": {"gte": since}, "types": kinds, "limit": _PAGE}
            listed = self._client.v2.core.events
            yield from self._read(self._asked(lambda: list(listed.list(params).auto_paging_iter())))  # noqa: B023
        missed: Any = {
            "created": {"gte": int(moment.timestamp())},
            "types": list(SNAPSHOT_EVENTS),
            "delivery_success": False,
            "limit": _PAGE,
        }
        yield from self._read(
            self._asked(lambda: list(self._client.v1.events.list(missed).auto_paging_iter()))
        )

    @staticmethod
    def _read(listed: list[Any]) -> Iterator[StripeEvent]:
        for event in listed:
            try:
                yield event_from(event.to_dict())
            except UnreadableEventError as error:
                raise AccountError(str(error)) from error

    def _asked(self, call: Callable[[], T]) -> T:
        """A call's result, once it is permitted.

        Raises:
            AccountAccessError, NotThereError, NoPermitError, AccountError: for whatever the SDK raises.
        """
        self._permit()
        try:
            return call()
        except stripe.StripeError as error:
            text = f"{type(error).__name__} {error.http_status} {error.code or ''}".strip()
            if error.http_status in (401, 403):
                raise AccountAccessError(text) from error
            if error.code == "resource_missing" or error.http_status == 404:
                raise NotThereError(text) from error
            raise AccountError(text) from error

    def _customer(self, customer_id: str, found: list[Any], *, deleted: bool) -> Customer:
        unpaid = {}
        if any(one.status in ("past_due", "unpaid") for one in found):
            unpaid = self._unpaid_since(customer_id)
        try:
            subscriptions = tuple(self._subscription(one, unpaid.get(one.id)) for one in found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AccountError(f"a subscription of {customer_id} lacks a field: {error}") from error
        return Customer(customer_id=customer_id, deleted=deleted, subscriptions=subscriptions)

    def _unpaid_since(self, customer_id: str) -> dict[str, datetime]:
        """When the oldest open invoice of each subscription was finalized."""
        params: Any = {"customer": customer_id, "status": "open", "limit": _PAGE}
        oldest: dict[str, datetime] = {}
        for invoice in self._asked(lambda: list(self._client.v1.invoices.list(params).auto_paging_iter())):
            details = invoice.parent.subscription_details if invoice.parent else None
            finalized = invoice.status_transitions.finalized_at
            if details is None or finalized is None:
                continue
            at, subscription = _moment(finalized), _id(details.subscription)
            oldest[subscription] = min(at, oldest.get(subscription, at))
        return oldest

    def _subscription(self, found: Any, unpaid_since: datetime | None) -> Subscription:
        return Subscription(
            subscription_id=found.id,
            status=found.status,
            created=_moment(found.created),
            ended_at=None if found.ended_at is None else _moment(found.ended_at),
            cancel_at=None if found.cancel_at is None else _moment(found.cancel_at),
            unpaid_since=unpaid_since,
            items=tuple(self._item(item) for item in found["items"].auto_paging_iter()),
            move_to_settle=moving.is_to_settle(found),
        )

    def _item(self, item: Any) -> Item:
        metadata = _metadata(item.price)
        recurring = item.price.recurring
        meter_id = None if recurring is None else getattr(recurring, "meter", None)
        return Item(
            item_id=item.id,
            price=item.price.id,
            plan=metadata.get(PLAN_KEY),
            kind=metadata.get(KIND_KEY),
            meter=None if meter_id is None else self._meter(meter_id),
            quantity=getattr(item, "quantity", None) or 0,
            created=_moment(item.created),
            period_start=_moment(item.current_period_start),
            period_end=_moment(item.current_period_end),
        )

    def _meter_id(self, event_name: str) -> str:
        if event_name not in self._meters.values():
            self._list_meters()
        for meter_id, name in self._meters.items():
            if name == event_name:
                return meter_id
        raise NotThereError(f"no active meter {event_name}")

    def _meter(self, meter_id: str) -> str:
        """The event name of a meter: meters never change it, so it is asked for once, for all of them."""
        if meter_id not in self._meters:
            self._list_meters()
        if meter_id not in self._meters:
            self._meters[meter_id] = self._asked(
                lambda: self._client.v1.billing.meters.retrieve(meter_id)
            ).event_name
        return self._meters[meter_id]

    def _list_meters(self) -> None:
        params: Any = {"status": "active", "limit": _PAGE}
        listed = self._asked(lambda: list(self._client.v1.billing.meters.list(params).auto_paging_iter()))
        self._meters |= {meter.id: meter.event_name for meter in listed}


def _chunks(kinds: tuple[str, ...]) -> Iterator[list[str]]:
    for start in range(0, len(kinds), _TYPES_PER_LIST):
        yield list(kinds[start : start + _TYPES_PER_LIST])


def _id(value: Any) -> str:
    """The id of an object, expanded or not."""
    found: str = value if isinstance(value, str) else value.id
    return found


def _metadata(found: Any) -> dict[str, str]:
    metadata = getattr(found, "metadata", None)
    return {} if metadata is None else dict(metadata.to_dict())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
