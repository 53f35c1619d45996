"""When a new subscription begins, and where its cycle is anchored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sandbox.stripe.errors import bad_parameter
from sandbox.stripe.items import Period
from sandbox.stripe.periods import add_months, next_boundary
from sandbox.stripe.wire import at, is_moment, unix

_LATEST_DAY: Final = 28
_LONGEST_TRIAL: Final = timedelta(days=730)
_CONFIG: Final = frozenset({"day_of_month", "hour", "minute", "second"})


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first period of a subscription and the anchor of all others."""

    anchor: int
    period: Period
    trial: bool = False


def beginning(params: Mapping[str, Any], now: datetime) -> Beginning:
    """The beginning that a request asks for; without a wish: now.

    Raises:
        StripeRefusalError: for a start or an anchor that Stripe or the sandbox does not take.
    """
    trial_end = _trial_end(params, now)
    if trial_end is not None:
        return Beginning(trial_end, Period(unix(now), trial_end), trial=True)
    start = params.get("backdate_start_date", unix(now))
    if not is_moment(start) or not is_moment(params.get("billing_cycle_anchor", 0)):
        raise bad_parameter("Invalid timestamp: must be in seconds since 1970.", "backdate_start_date", None)
    if start > unix(now):
        raise bad_parameter("`backdate_start_date` must be in the past.", "backdate_start_date", None)
    anchor = _anchor(params, now)
    if anchor is None:
        anchor, end = start, next_boundary(start, start)
    else:
        end = anchor
        if end <= unix(now) or end > next_boundary(unix(now), unix(now)):
            message = "`billing_cycle_anchor` must lie within the first billing period."
            raise bad_parameter(message, "billing_cycle_anchor", None)
    if end <= unix(now) or start < add_months(end, -1):
        raise bad_parameter(
            "The sandbox begins a subscription at most one billing period back.", "backdate_start_date"
        )
    return Beginning(anchor, Period(start, end))


def _trial_end(params: Mapping[str, Any], now: datetime) -> int | None:
    """When the trial ends that a request asks for; its end is the anchor of the cycle."""
    days, end = params.get("trial_period_days"), params.get("trial_end")
    if end == "now":
        end = None
    if days is None and end is None:
        return None
    if days is not None and end is not None:
        raise bad_parameter("Give either `trial_end` or `trial_period_days`.", "trial_end", None)
    for name in ("backdate_start_date", "billing_cycle_anchor", "billing_cycle_anchor_config"):
        if name in params:
            raise bad_parameter(f"The sandbox takes no `{name}` together with a trial.", name)
    if days is not None and not 1 <= days <= _LONGEST_TRIAL.days:
        raise bad_parameter(f"Must be 1 to {_LONGEST_TRIAL.days}.", "trial_period_days", None)
    ends = int(end) if end is not None else unix(now + timedelta(days=days or 0))
    if not unix(now) < ends <= unix(now + _LONGEST_TRIAL):
        raise bad_parameter("`trial_end` must be in the next two years.", "trial_end", None)
    return ends


def _anchor(params: Mapping[str, Any], now: datetime) -> int | None:
    config = params.get("billing_cycle_anchor_config")
    if config is None:
        anchor: int | None = params.get("billing_cycle_anchor")
        return anchor
    if "billing_cycle_anchor" in params:
        raise bad_parameter(
            "Give either `billing_cycle_anchor` or `billing_cycle_anchor_config`.",
            "billing_cycle_anchor",
            None,
        )
    if set(config) - _CONFIG or not 1 <= config["day_of_month"] <= _LATEST_DAY:
        raise bad_parameter(
            f"The sandbox anchors by day_of_month (1 to {_LATEST_DAY}) and time of day.",
            "billing_cycle_anchor_config",
        )
    return unix(_next_moment(config, now))


def _next_moment(config: Mapping[str, int], now: datetime) -> datetime:
    moment = now.replace(
        day=config["day_of_month"],
        hour=config.get("hour", now.hour),
        minute=config.get("minute", now.minute),
        second=config.get("second", now.second),
        microsecond=0,
    )
    return moment if moment > now else at(add_months(unix(moment), 1))
