"""Stripe's sums of meter events, as far as reconciliation reads them, and the one repair that it makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import stripe

_TIMEOUT_SECONDS: Final = (3.0, 20.0)
READ_HOURS: Final = 96
"""Hours of one read: an answer holds a hundred sums at most."""
_PAGE: Final = 100
_HOUR: Final = timedelta(hours=1)


class StripeReadError(Exception):
    """Stripe gave no usable answer; trying again later may help. Names what was asked, never a key."""


class StripeSummaries:
    """One account. Safe to share between threads."""

    def __init__(self, api_key: str, *, api_base: str | None = None) -> None:
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base, "meter_events": api_base} if api_base else None,
            max_network_retries=2,
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
        )

    def meter_ids(self) -> dict[str, str]:
        """Ids of all meters by event name, an active one before one that was deactivated; one read.

        Raises:
            StripeReadError: when Stripe does not answer.
        """
        try:
            meters = list(self._client.v1.billing.meters.list({"limit": _PAGE}).auto_paging_iter())
        except stripe.StripeError as error:
            raise StripeReadError(f"meters: {_what(error)}") from error
        inactive_first = sorted(meters, key=lambda meter: meter.status == "active")
        return {meter.event_name: meter.id for meter in inactive_first}

    def by_hour(self, meter_id: str, customer: str, start: datetime, end: datetime) -> dict[datetime, int]:
        """What Stripe has summed for each hour from ``start`` to ``end``; one read.

        An hour without events is absent. Both ends are whole hours, at most :data:`READ_HOURS` apart.

        Raises:
            StripeReadError: when Stripe does not answer, or with a sum that is no whole number.
        """
        assert end - start <= READ_HOURS * _HOUR
        params: Any = {
            "customer": customer,
            "start_time": int(start.timestamp()),
            "end_time": int(end.timestamp()),
            "value_grouping_window": "hour",
            "limit": _PAGE,
        }
        try:
            found = self._client.v1.billing.meters.event_summaries.list(meter_id, params)
        except stripe.StripeError as error:
            raise StripeReadError(f"summaries of {customer}: {_what(error)}") from error
        return {
            datetime.fromtimestamp(row.start_time, UTC): _whole(row.aggregated_value) for row in found.data
        }

    def total(self, meter_id: str, customer: str, start: datetime, end: datetime) -> int:
        """What Stripe has summed from ``start`` to ``end``, cut to whole minutes; one read.

        Raises:
            StripeReadError: when Stripe does not answer, or with a sum that is no whole number.
        """
        first, last = (int(at.timestamp()) // 60 * 60 for at in (start, end))
        params: Any = {"customer": customer, "start_time": first, "end_time": last}
        try:
            found = self._client.v1.billing.meters.event_summaries.list(meter_id, params)
        except stripe.StripeError as error:
            raise StripeReadError(f"summaries of {customer}: {_what(error)}") from error
        return sum(_whole(row.aggregated_value) for row in found.data)

    def cancel(self, meter: str, identifier: str) -> bool:
        """Cancel a meter event that Stripe received within 24 hours; False when it does not.

        Raises:
            StripeReadError: when Stripe does not answer.
        """
        try:
            self._client.v1.billing.meter_event_adjustments.create(
                {"type": "cancel", "event_name": meter, "cancel": {"identifier": identifier}}
            )
        except stripe.InvalidRequestError:
            return False
        except stripe.StripeError as error:
            raise StripeReadError(f"cancelling {identifier}: {_what(error)}") from error
        return True


def _whole(value: float) -> int:
    """A sum travels as a float; nothing here is ever a fraction."""
    exact = Decimal(str(value))
    if exact != exact.to_integral_value():
        raise StripeReadError(f"a sum of {value} is no whole number")
    return int(exact)


def _what(error: stripe.StripeError) -> str:
    return f"{type(error).__name__}, status {error.http_status}"
