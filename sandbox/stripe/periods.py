"""Monthly billing periods and rounded amounts."""

from __future__ import annotations

import calendar
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sandbox.stripe.wire import at, unix


def add_months(anchor: int, months: int) -> int:
    """The same day of a later month, or that month's last day; timestamps in seconds, UTC."""
    start = at(anchor)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    moved: datetime = start.replace(year=year, month=month + 1, day=day)
    return unix(moved)


def next_boundary(anchor: int, after: int) -> int:
    """The first boundary of the cycle that begins at ``anchor`` later than ``after``."""
    months = 1
    while add_months(anchor, months) <= after:
        months += 1
    return add_months(anchor, months)


def cycle_start(anchor: int, end: int) -> int:
    """Where the whole cycle begins that ends at a boundary."""
    months = 0
    while add_months(anchor, months) < end:
        months += 1
    return add_months(anchor, months - 1)


def cents(price: dict[str, Any], quantity: int) -> int:
    """What a quantity costs: exact, then rounded half up once."""
    exact = Decimal(price["unit_amount_decimal"]) * quantity
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def share(amount: int, part: int, whole: int) -> int:
    """The part of an amount that falls on ``part`` of ``whole`` seconds, rounded half up."""
    return int((Decimal(amount) * part / whole).quantize(Decimal(1), rounding=ROUND_HALF_UP))
