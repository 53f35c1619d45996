"""Short months written by hand, each around one thing that can go wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.script import (
    CACHED,
    INPUT,
    OUTPUT,
    PERIOD_START,
    TOKENS,
    WRITTEN,
    Account,
    Depth,
    Foreign,
    Request,
    Run,
    Script,
    Trouble,
    both_periods,
)

HOUR: Final = datetime(2026, 3, 10, 14, tzinfo=UTC)
FORGOTTEN: Final = PERIOD_START + timedelta(days=30)
TENANT: Final = "by-tokens"


def used(name: str, minute: float, *arrive: float, tokens: int = 100, hour: datetime = HOUR) -> Request:
    """A request that ended so many minutes into the hour; its line arrives at the given minutes."""
    ended = hour + timedelta(minutes=minute)
    return Request(
        request_id=name,
        tenant_id=TENANT,
        admitted_at=ended - timedelta(seconds=2),
        ended_at=ended,
        tokens={INPUT: tokens, CACHED: 0, WRITTEN: 0, OUTPUT: 0},
        nano_usd=0,
        billable=True,
        unpriced=False,
        fate="recorded",
        admit_arrives=ended,
        usage_arrives=tuple(hour + timedelta(minutes=one) for one in arrive),
    )


def run(minute: float, trouble: str = "none", depth: Depth = "hourly", hour: datetime = HOUR) -> Run:
    """A run so many minutes after the beginning of the hour."""
    return Run(hour + timedelta(minutes=minute), depth, Trouble(trouble, rate=1.0, overlap_seconds=8))


def month(requests: list[Request], runs: list[Run], foreign: frozenset[Foreign] = frozenset()) -> Script:
    """A month of one tenant."""
    accounts = (Account(TENANT, both_periods(TENANT, "tokens", TOKENS)),)
    return Script(0, accounts, tuple(requests), tuple(runs), (), {}, foreign)


def redelivered() -> Script:
    """A line comes twice before it is sealed, and once more afterwards."""
    return month([used("r1", 10, 11, 12, 90)], [run(20), run(100)])


def overlapping() -> Script:
    """Two runs seal from the same snapshot."""
    return month([used("r1", 10, 11), used("r2", 50, 51)], [run(20, "snapshot_overlap"), run(90)])


def unanswered_for_a_month() -> Script:
    """A run dies after Stripe took its row; the next one comes when Stripe has forgotten it.

    Stripe forgets the identifier after a day and version 2's idempotency key after 30.
    """
    first = run(20, "killed_while_sending", hour=PERIOD_START)
    return month([used("r1", 10, 11, hour=PERIOD_START)], [first, run(40, depth="daily", hour=FORGOTTEN)])


def unanswered_while_usage_goes_on() -> Script:
    """A run dies after Stripe took its row; more usage of the same hour arrives before the next one."""
    return month(
        [used("r1", 10, 11), used("r2", 15, 30, tokens=40)],
        [run(20, "killed_while_sending"), run(40), run(60)],
    )


def taken_by_a_stranger() -> Script:
    """The identifier that the hour's row will have is in Stripe already, and not from this ledger."""
    return month([used("r1", 10, 11)], [run(20), run(40)], frozenset({Foreign(TENANT, INPUT, HOUR)}))
