"""The warehouse as the functions that follow Stripe use it: segments, and the standing of a period."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from google.cloud import bigquery

from tallygate.clock import Clock
from tallygate.metering.seal import due_parameters
from tallygate.metering.warehouse import Value, Warehouse
from tallygate.subscriptions.mirror import MirrorError
from tallygate.subscriptions.period_end import MeterStanding

_NEVER: Final = timedelta(days=400)
"""The period that is looked at is open: its draft is held."""


_CALL_SECONDS: Final = 30.0
_RETRY: Final = bigquery.DEFAULT_RETRY.with_timeout(60.0)


@dataclass(frozen=True, slots=True)
class Ledger:
    """One warehouse, opened when it is first used in a run."""

    open: Callable[[], Warehouse]
    clock: Clock

    def append(self, rows: Sequence[Mapping[str, Any]], row_ids: Sequence[str]) -> None:
        """Append rows to ``billing_segments``.

        Raises:
            MirrorError: when the warehouse refuses some.
            GoogleAPIError: when it can't be reached.
        """
        warehouse = self.open()
        client = warehouse.client
        table = client.get_table(
            f"{client.project}.{warehouse.ledger}.billing_segments", retry=_RETRY, timeout=_CALL_SECONDS
        )
        errors = client.insert_rows_json(table, rows, row_ids=row_ids, retry=_RETRY, timeout=_CALL_SECONDS)
        if errors:
            raise MirrorError(f"billing segments were refused: {errors}")

    def standing(
        self,
        tenant_id: str,
        customer: str,
        meters: Sequence[str],
        span: tuple[datetime, datetime],
        period_end: datetime,
    ) -> Mapping[str, MeterStanding]:
        """What is booked within the span, by meter.

        Raises:
            GoogleAPIError: when the warehouse can't be reached.
        """
        parameters: dict[str, Value] = {
            "stripe_customer": customer,
            "meters": list(meters),
            "span_start": span[0],
            "span_end": span[1],
            **due_parameters(
                start=span[0], end=period_end, tenant_id=tenant_id, now=self.clock.now(), closes_after=_NEVER
            ),
        }
        rows = self.open().read("period_standing", parameters)
        return {row["meter"]: MeterStanding(row["sent"], row["unsent"], row["unsealed"]) for row in rows}
