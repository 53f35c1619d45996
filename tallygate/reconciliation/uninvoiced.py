"""Finds usage that was sent for a billing period which no invoice covers.

Stripe drafts an invoice when a period closes. A subscription that is ended at once without asking for a last
invoice has none, and a void one bills nothing: what was sent for the period would be on no invoice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

from tallygate.reconciliation.invoices import LONGEST_LOOK
from tallygate.reconciliation.remedies import Workshop
from tallygate.reconciliation.repairs import Subject
from tallygate.reconciliation.results import Comparison, append

DRAFTED_AFTER: Final = timedelta(hours=3)
"""A period that has been closed for so long has a draft: Stripe makes it within about an hour."""
_WHY: Final = (
    "no invoice covers this period of {subscription}: it was ended without a last invoice, or the invoice is "
    "void. Charge the customer in Stripe by hand, at the prices of that subscription, or decide not to"
)


def find_uninvoiced(shop: Workshop, now: datetime) -> int:
    """Tell of the meters of closed periods with usage and no invoice, each once; how many.

    Only periods for which no invoice's line was compared yet are asked about at Stripe.

    Raises:
        StripeReadError, GoogleAPIError, JobRunningError, LedgerWriteError, DatabaseUnavailableError: when
            something can't be read or written; the next run looks at the same periods.
    """
    parameters = {"closed_since": now - LONGEST_LOOK, "closed_before": now - DRAFTED_AFTER}
    found = shop.warehouse.read("uninvoiced", parameters)
    results: list[Comparison] = []
    for customer, rows in groupby(found, key=lambda row: row["stripe_customer"]):
        results += _of_customer(shop, customer, list(rows))
    append(shop.warehouse, shop.run_id, now, "uninvoiced", results)
    return len(results)


def _of_customer(shop: Workshop, customer: str, rows: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    lines = list(shop.books.lines_since(customer, min(row["booked_at"] for row in rows)))
    return [
        _missing(shop, row)
        for row in rows
        if not any(line.bills(row["meter"], row["booked_at"]) for line in lines)
    ]


def _missing(shop: Workshop, row: Mapping[str, Any]) -> Comparison:
    subject = Subject(
        kind="invoice",
        tenant_id=row["tenant_id"],
        stripe_customer=row["stripe_customer"],
        meter=row["meter"],
        window_start=row["period_start"],
        window_end=row["closes_at"],
        ledger_value=row["ledger_value"],
        witness_value=0,
    )
    why = _WHY.format(subscription=row["subscription_id"])
    repair = shop.proposed_by_hand(subject, row["booked_at"], why)
    if repair.undone:
        shop.tell(repair)
    action = "proposed" if repair.undone else "settled"
    return Comparison.of(subject, action, f"no invoice; {repair.repair_id}")
