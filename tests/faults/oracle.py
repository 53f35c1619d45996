"""What must come of a month, computed from its script alone. Shares no code with the product."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tests.faults.script import (
    CLOSES_AFTER,
    COST,
    ONE_OFF_MINIMUM_CENTS,
    TOKENS,
    UNIT_CENTS,
    Account,
    Foreign,
    Request,
    Script,
    Span,
)

Class = Literal["billed", "one_off", "included", "waived", "parked", "rejected"]
"""rejected: refused for good, and someone is paged: here, because the identifier was another's."""
Bucket = tuple[str, str, datetime, Class]
"""Tenant, meter, hour of usage, and where it ends."""


@dataclass(slots=True)
class Books:
    """Where every quantity of a month has ended, and which requests are known without their counts."""

    buckets: Counter[Bucket] = field(default_factory=Counter)
    unrecorded: set[tuple[str, str]] = field(default_factory=set)
    """Tenant and request id."""
    rejected_lines: int = 0

    def total(self, wanted: Class) -> int:
        """Units of one class, over all meters: for a summary only."""
        return sum(value for (_, _, _, class_), value in self.buckets.items() if class_ == wanted)


def expected(script: Script) -> Books:
    """The books that a month must close with."""
    accounts = {account.tenant_id: account for account in script.accounts}
    after_close = {account.tenant_id: _after_close(account, script) for account in script.accounts}
    books = Books()
    for request in script.requests:
        if request.fate != "recorded":
            books.unrecorded.add((request.tenant_id, request.request_id))
            books.rejected_lines += request.fate == "broken"
            continue
        span = _span_at(accounts[request.tenant_id], request.ended_at)
        hour = request.ended_at.replace(minute=0, second=0, microsecond=0)
        for meter, value in {**request.tokens, COST: request.nano_usd}.items():
            if value:
                class_ = _class_of(request, span, meter)
                if class_ == "billed" and _is_late(request, accounts[request.tenant_id]):
                    class_ = after_close[request.tenant_id]
                if class_ == "billed" and Foreign(request.tenant_id, meter, hour) in script.foreign:
                    class_ = "rejected"
                books.buckets[request.tenant_id, meter, hour, class_] += value
    return books


def _is_late(request: Request, account: Account) -> bool:
    """It arrives when the tenant's last invoice is closed."""
    return account.leaves is not None and min(request.usage_arrives) > account.leaves + CLOSES_AFTER


def _after_close(account: Account, script: Script) -> Class:
    """What becomes of all that a tenant's usage of which no invoice is open: its price decides."""
    units = sum(
        value
        for request in script.requests
        if request.tenant_id == account.tenant_id and _is_late(request, account)
        for meter, value in request.tokens.items()
        if meter in TOKENS
    )
    return "one_off" if units * UNIT_CENTS >= ONE_OFF_MINIMUM_CENTS else "waived"


def _span_at(account: Account, moment: datetime) -> Span | None:
    for span in account.spans:
        if span.start <= moment and (span.end is None or moment < span.end):
            return span
    return None


def _class_of(request: Request, span: Span | None, meter: str) -> Class:
    if not request.billable:
        return "waived"
    if span is None:
        return "parked"
    if span.basis == "none":
        return "included"
    if span.basis == "cost" and request.unpriced:
        return "parked"  # its tokens are kept until its price is known
    if meter not in {"tokens": TOKENS, "cost": (COST,)}[span.basis]:
        return "included"
    if not span.has_customer or span.items.count(meter) != 1:
        return "parked"
    return "billed"
