"""Compares final invoices with the ledger, line by line, each invoice once.

A line is right when its quantity is what the ledger sent for its customer, meter and period. Where it is not,
that is told, and what is to be credited or charged is proposed. A line whose period has rows on their way
waits for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.reconciliation.books import MeteredLine
from tallygate.reconciliation.remedies import Booked, Workshop, subject_of
from tallygate.reconciliation.results import Comparison, append
from tallygate.subscriptions.binding import tenant_of

SETTLED_AFTER: Final = timedelta(hours=1)
"""An invoice that is final for so long: what the reporter sent meanwhile is noted by then."""
FIRST_LOOK: Final = timedelta(days=3)
LONGEST_LOOK: Final = timedelta(days=35)
LONGEST_DRAFT: Final = timedelta(days=35)
"""A draft is held for three days at most by us; a person may have kept it longer."""
_MARK: Final = "invoices"
_CHUNK: Final = 500
NO_TENANT: Final = "unknown"
"""Stands for the tenant where neither the ledger nor the app database names one."""


@dataclass(frozen=True, slots=True)
class InvoicesCompared:
    """What comparing invoices did."""

    invoices: int = 0
    """Final invoices looked at."""
    invoice_lines: int = 0
    """Metered lines compared."""
    invoice_differences: int = 0
    """Lines that differ from the ledger."""
    invoices_waiting: int = 0
    """Lines whose period has rows on their way: the next run looks again."""


def compare_invoices(shop: Workshop, now: datetime) -> InvoicesCompared:
    """Compare the invoices that became final since the last look.

    Raises:
        StripeReadError, GoogleAPIError, JobRunningError, LedgerWriteError, DatabaseUnavailableError: when
            something can't be read or written; the next run looks at the same invoices.
    """
    end = now - SETTLED_AFTER
    mark = shop.database.get("watermarks", _MARK)
    start = max(end - FIRST_LOOK if mark is None else parse_rfc3339(mark["until"]), now - LONGEST_LOOK)
    if start >= end:
        return InvoicesCompared()
    final = {
        invoice.invoice_id: invoice.finalized_at
        for invoice in shop.books.finalized(start - LONGEST_DRAFT)
        if start < invoice.finalized_at <= end
    }
    lines = [line for invoice_id in final for line in shop.books.metered_lines(invoice_id)]
    results: list[Comparison] = []
    waiting: list[MeteredLine] = []
    for chunk in (lines[at : at + _CHUNK] for at in range(0, len(lines), _CHUNK)):
        booked = shop.booked(chunk)
        for line in chunk:
            held = booked[line.invoice_id, line.number]
            if held.under_way:
                waiting.append(line)
            else:
                results.append(_compared(shop, line, held))
    append(shop.warehouse, shop.run_id, now, "invoice", results)
    until = min((final[line.invoice_id] - timedelta(seconds=1) for line in waiting), default=end)
    shop.database.put("watermarks", _MARK, {"until": rfc3339(max(until, start))})
    differing = sum(result.ledger_value != result.witness_value for result in results)
    return InvoicesCompared(len(final), len(results), differing, len(waiting))


def _compared(shop: Workshop, line: MeteredLine, held: Booked) -> Comparison:
    tenant_id = held.tenant_id or tenant_of(shop.database, line.customer) or NO_TENANT
    repair = shop.proposed_for(line, tenant_id, held.value)
    waits = repair is not None and repair.undone
    if repair is not None and waits:
        shop.tell(repair)
    action = "none" if repair is None else "proposed" if waits else "settled"
    said = f"; {repair.repair_id}" if repair else ""
    where = f"{line.invoice_id} line {line.number}"
    return Comparison.of(subject_of(line, tenant_id, held.value), action, where + said)
