"""Where sealed usage is sent. One implementation per billing service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol


class Verdict(Enum):
    """What an answer means for the row that was sent."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """The identifier is there already."""
    UNKNOWN = "unknown"
    """No answer, or one that leaves open whether the event was taken."""
    BUSY = "busy"
    """Certainly not taken; try again soon."""
    EARLY = "early"
    """Certainly not taken: the timestamp lies in the sink's future."""
    NO_METER = "no_meter"
    """Certainly not taken, nor would any other event of this meter be."""
    NO_CUSTOMER = "no_customer"
    """Certainly not taken: the customer is not known."""
    NO_ACCESS = "no_access"
    """Certainly not taken, nor would any other event be: the key is refused."""
    REFUSED = "refused"
    """Certainly not taken, and never will be."""


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """A quantity of one meter, used by one customer."""

    identifier: str
    meter: str
    customer: str
    value: int
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """A sink's answer."""

    verdict: Verdict
    reason: str | None = None
    """The sink's own code."""


class UsageSink(Protocol):
    """A billing service that takes meter events. Safe to call from several threads."""

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        """Make one call, without retries. Never raises for what the service or the network does."""
        ...
