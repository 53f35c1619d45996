"""Lets the sandbox's time pass until every invoice of the period is final."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import stripe

from sandbox.demo.collect import Connections
from tallygate.clock import parse_rfc3339

FIRST_RUNS_SECONDS: Final = 20 * 60
"""Time for the reporter's five-minute schedule to seal and send what was just used."""
AFTER_PERIOD_END: Final = timedelta(hours=3)
"""Stripe finalizes a draft one hour after the period's end; the rest is room for the hourly jobs."""
_ADVANCE_TIMEOUT_SECONDS: Final = 280


def now(state: Mapping[str, Any]) -> datetime:
    """The sandbox's time."""
    answer = httpx.get(f"{state['clock_url']}/_sandbox/clock", timeout=10, trust_env=False)
    return parse_rfc3339(answer.raise_for_status().json()["now"])


def settle(connections: Connections) -> None:
    """Run the reporter by its schedule, then the clock past the end of the last period."""
    advance(connections.state, FIRST_RUNS_SECONDS)
    pass_period_end(connections)


def pass_period_end(connections: Connections) -> None:
    """Move the clock past the end of the last period, until its invoices are final."""
    ahead = period_end(connections) + AFTER_PERIOD_END - now(connections.state)
    advance(connections.state, ahead.total_seconds())


def advance(state: Mapping[str, Any], seconds: float) -> None:
    """Move the sandbox's clock on, with all effects that are due."""
    answer = httpx.post(
        f"{state['clock_url']}/_sandbox/clock",
        json={"advance_seconds": seconds},
        timeout=_ADVANCE_TIMEOUT_SECONDS,
        trust_env=False,
    )
    answer.raise_for_status()


def period_end(connections: Connections) -> datetime:
    """When the last of the running billing periods ends."""
    ends = [
        item.current_period_end
        for subscription in connections.stripe.v1.subscriptions.list({"limit": 100}).auto_paging_iter()
        for item in subscription["items"].data
    ]
    return datetime.fromtimestamp(max(ends), UTC)


def invoices(connections: Connections) -> list[stripe.Invoice]:
    """All finalized invoices."""
    every = connections.stripe.v1.invoices.list({"limit": 100}).auto_paging_iter()
    return [invoice for invoice in every if invoice.status != "draft"]
