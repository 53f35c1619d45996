"""Which hours a statement reads or confirms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HourKey:
    """An hour of booking of one customer's meter, as a statement takes it."""

    stripe_customer: str
    meter: str
    booked_hour: datetime

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name."""
        return {"stripe_customer": "STRING", "meter": "STRING", "booked_hour": "TIMESTAMP"}
