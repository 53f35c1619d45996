"""Every alert fires on what it is for and on nothing else: from real lines through metrics to queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.observability import lines
from tests.observability.measured import Metric
from tests.observability.places import jobs, stems
from tests.observability.scenes import Happening, Scribe, fires, fires_in, promql, series, spread

Scene = list[Happening]


OK: Final = lines.usage()
SLOW: Final = lines.usage(added_latency_ms=400)
BROKEN: Final = lines.failure("internal_error")
REFUSED: Final = lines.failure("rate_limited", 429)
PROVIDER: Final = lines.failure("provider_error", 502)

Make = Callable[[Scribe], Scene]


def stop(event: str) -> Make:
    """A line that stops billing, five minutes ago."""
    return lambda s: [Happening(5, s.line("usage_reporter", event))]


def finding(event: str) -> Make:
    """A line of the reconciler, half an hour ago."""
    return lambda s: [Happening(30, s.line("usage_reconciler", event))]


def webhook(outcome: str, times: int) -> Make:
    """Deliveries that ended so, over ten minutes."""
    return lambda s: spread(s.line("stripe_webhook", "webhook", outcome=outcome), times, over_minutes=10)


FIRES: Final[dict[str, Make]] = {
    "availability-fast-burn": lambda s: [
        *spread(OK, 200, over_minutes=60), *spread(BROKEN, 6, over_minutes=4),
        *spread(s.request_failed(), 4, over_minutes=4),
    ],
    "availability-slow-burn": lambda s: [
        *spread(OK, 1000, over_minutes=350), *spread(BROKEN, 10, over_minutes=350, until_minutes=5),
    ],
    "added-latency-slow-burn": lambda s: [
        *spread(OK, 120, over_minutes=300), *spread(SLOW, 80, over_minutes=300),
    ],
    "billing-freshness-slow-burn": lambda s: [
        *spread(s.run(), 66, over_minutes=355),
        *spread(s.run(oldest_unsent_seconds=2000), 4, over_minutes=340),
        *spread(s.run(error="FenceError"), 2, over_minutes=300),
    ],
    "usage-silent": lambda s: spread(lines.request_log(200), 60, over_minutes=30),
    "provider-failing": lambda s: [
        *spread(PROVIDER, 60, over_minutes=20), *spread(OK, 20, over_minutes=20),
    ],
    "unhandled-exception": lambda s: [Happening(5, s.crash())],
    "key-guessing": lambda s: [Happening(5, lines.request_log(401), 1500)],
    "unpriced-usage": lambda s: [Happening(50, lines.usage(unpriced=True, cost_nano_usd=0))],
    "estimated-usage": lambda s: [
        *spread(OK, 180, over_minutes=300), *spread(lines.usage(estimated=True), 20, over_minutes=300),
    ],
    "rejected-lines": lambda s: [Happening(20, s.run(rejected_lines=2))],
    "nothing-succeeds": lambda s: spread(s.request_failed(), 6, over_minutes=12),
    "parked-usage": lambda s: [Happening(20, s.run(parked=1))],
    "rejected-usage": lambda s: [Happening(20, s.run(rejected=1))],
    "sealing-stopped": stop("sealing_stopped"),
    "sending-stopped": stop("sending_stopped"),
    "stripe-access-refused": stop("stripe_access_refused"),
    "meter-stopped": stop("meter_closed"),
    "two-items": stop("two_items"),
    "changed-by-hand": stop("item_missing"),
    "subscription-unbillable": stop("subscription_drift"),
    "event-parked": stop("event_parked"),
    "inbox-backlog": lambda s: spread(s.sync_run(backlog=300), 40, over_minutes=40),
    "invoice-unbalanced": stop("invoice_unbalanced"),
    "meter-events-refused": stop("meter_events_refused"),
    "spend-lost": lambda s: [Happening(20, s.spend_lost())],
    "webhook-failing": webhook("store_failed", 5),
    "webhook-signature": webhook("bad_signature", 10),
    "unrecorded-usage": finding("unrecorded_usage"),
    "sequence-gap": finding("sequence_gap"),
    "export-errors": finding("export_errors"),
    "reconciliation-difference": finding("reconciliation_difference"),
    "repair-proposed": finding("repair_proposed"),
}  # fmt: skip
"""What each alert is for."""

QUIET: Final[dict[str, dict[str, Make]]] = {
    "availability-fast-burn": {
        "a failure in a hundred": lambda s: [
            *spread(OK, 200, over_minutes=60), *spread(BROKEN, 2, over_minutes=4),
        ],
        "failures that have ended": lambda s: [
            *spread(OK, 200, over_minutes=60), *spread(BROKEN, 20, over_minutes=10, until_minutes=30),
        ],
        "a quiet night": lambda s: [*spread(OK, 5, over_minutes=60), *spread(BROKEN, 5, over_minutes=4)],
        "providers that fail": lambda s: [
            *spread(OK, 200, over_minutes=60), *spread(PROVIDER, 100, over_minutes=60),
        ],
        "tenants over their limits": lambda s: [
            *spread(OK, 200, over_minutes=60), *spread(REFUSED, 500, over_minutes=60),
        ],
    },
    "availability-slow-burn": {
        "failures that have ended": lambda s: [
            *spread(OK, 1000, over_minutes=350), *spread(BROKEN, 50, over_minutes=60, until_minutes=60),
        ],
        "a failure in a thousand": lambda s: [
            *spread(OK, 1000, over_minutes=350), Happening(5, BROKEN),
        ],
    },
    "added-latency-slow-burn": {
        "one in ten": lambda s: [*spread(OK, 180, over_minutes=300), *spread(SLOW, 20, over_minutes=300)],
        "slow providers": lambda s: spread(lines.usage(latency_ms=60_000), 200, over_minutes=300),
    },
    "billing-freshness-slow-burn": {
        "trouble that has ended": lambda s: [
            *spread(s.run(), 60, over_minutes=355),
            *spread(s.run(error="FenceError"), 12, over_minutes=60, until_minutes=120),
        ],
        "a new environment that stumbles": lambda s: spread(s.run(error="FenceError"), 2, over_minutes=10),
        "one run that stumbled": lambda s: [
            *spread(s.run(), 70, over_minutes=355), Happening(8, s.run(error="FenceError")),
        ],
        "a rehearsal": lambda s: spread(s.run(dry_run=True, error="x"), 20, over_minutes=100),
    },
    "usage-silent": {
        "usage as it should be": lambda s: [
            *spread(lines.request_log(200), 60, over_minutes=30), *spread(OK, 60, over_minutes=30),
        ],
        "answers that are no service": lambda s: spread(lines.request_log(404), 600, over_minutes=30),
        "a handful of requests": lambda s: spread(lines.request_log(200), 10, over_minutes=15),
    },
    "provider-failing": {
        "some failures": lambda s: [*spread(PROVIDER, 30, over_minutes=20), *spread(OK, 90, over_minutes=20)],
        "few requests": lambda s: spread(PROVIDER, 10, over_minutes=15),
        "another model's failures": lambda s: [
            *spread(lines.failure("provider_error", 502, model="gpt-4o-mini"), 15, over_minutes=15),
            *spread(PROVIDER, 15, over_minutes=15),
        ],
    },
    "unhandled-exception": {"an hour ago": lambda s: [Happening(60, s.crash())]},
    "key-guessing": {"a client with an old key": lambda s: [Happening(5, lines.request_log(401), 500)]},
    "unpriced-usage": {"priced usage": lambda s: spread(OK, 50, over_minutes=50)},
    "estimated-usage": {
        "a few": lambda s: [
            *spread(OK, 198, over_minutes=300), *spread(lines.usage(estimated=True), 2, over_minutes=300),
        ],
        "all of a handful": lambda s: spread(lines.usage(estimated=True), 5, over_minutes=300),
    },
    "rejected-lines": {"clean runs": lambda s: spread(s.run(sealed=3), 12, over_minutes=60)},
    "nothing-succeeds": {
        "one that succeeds": lambda s: [*spread(BROKEN, 6, over_minutes=12), Happening(9, OK)],
        "an odd request": lambda s: spread(BROKEN, 3, over_minutes=12),
        "a provider that is down": lambda s: spread(PROVIDER, 50, over_minutes=12),
    },
    "parked-usage": {"a rehearsal": lambda s: [Happening(20, s.run(parked=4, dry_run=True))]},
    "rejected-usage": {"clean runs": lambda s: spread(s.run(sent=3), 12, over_minutes=60)},
    "inbox-backlog": {
        "a burst that is being worked off": lambda s: [
            *spread(s.sync_run(backlog=1500), 1, over_minutes=1, until_minutes=10),
            *spread(s.sync_run(), 9, over_minutes=9),
        ],
    },
    "meter-stopped": {"two items": stop("two_items")},
    "two-items": {"a closed meter": stop("meter_closed")},
    "changed-by-hand": {"a drift": stop("subscription_drift")},
    "webhook-failing": {
        "one that Stripe repeats": webhook("store_failed", 1),
        "events as they come": webhook("stored", 100),
    },
    "webhook-signature": {"a scanner": webhook("bad_signature", 3), "duplicates": webhook("duplicate", 100)},
}  # fmt: skip
"""What must wake nobody."""

LOG_ALERTS: Final = {"secret-read-by-a-person", "ledger-changed"}
JOB_ALERTS: Final = {"job-failing", "job-missing"}


def test_every_alert_has_a_scene_in_which_it_fires() -> None:
    covered = FIRES.keys() | LOG_ALERTS | JOB_ALERTS | {"gateway-down"}

    assert covered == stems("alerts", ".yaml")


@pytest.mark.parametrize("zeros", [None, 1.0], ids=["no points between", "points of zero between"])
@pytest.mark.parametrize("alert", sorted(FIRES))
def test_an_alert_fires_on_what_it_is_for(
    alert: str, zeros: float | None, policies: dict[str, Any], metrics: dict[str, Metric], scribe: Scribe
) -> None:
    left_behind = series(metrics.values(), FIRES[alert](scribe), zeros_every_minutes=zeros)

    assert fires_in(policies[alert], left_behind)


@pytest.mark.parametrize("zeros", [None, 1.0], ids=["no points between", "points of zero between"])
@pytest.mark.parametrize(
    ("alert", "scene"), [(alert, scene) for alert, scenes in QUIET.items() for scene in scenes]
)
def test_an_alert_is_quiet_on_what_it_is_not_for(
    alert: str,
    scene: str,
    zeros: float | None,
    policies: dict[str, Any],
    metrics: dict[str, Metric],
    scribe: Scribe,
) -> None:  # fmt: skip
    left_behind = series(metrics.values(), QUIET[alert][scene](scribe), zeros_every_minutes=zeros)

    assert not fires_in(policies[alert], left_behind)


@pytest.mark.parametrize("alert", sorted(FIRES))
def test_an_alert_ends(
    alert: str, policies: dict[str, Any], metrics: dict[str, Metric], scribe: Scribe
) -> None:
    """What happened a day ago is over."""
    yesterday = [replace(h, minutes_ago=h.minutes_ago + 24 * 60) for h in FIRES[alert](scribe)]

    assert not fires_in(policies[alert], series(metrics.values(), yesterday))


@pytest.mark.parametrize("zeros", [None, 1.0], ids=["no series at all", "points of zero"])
def test_at_zero_traffic_only_missing_jobs_are_told(
    zeros: float | None, policies: dict[str, Any], metrics: dict[str, Metric], scribe: Scribe
) -> None:
    """Everything happened once, a month ago; or, without zeros, nothing ever."""
    month = 31 * 24 * 60.0
    past: Scene = []
    if zeros is not None:
        past = [Happening(month + 400, h.entry) for make in FIRES.values() for h in make(scribe)]
        zeros = 30.0
    left_behind = series(metrics.values(), past, zeros_every_minutes=zeros)

    told = {
        key for key, policy in policies.items() if (c := promql(policy)) is not None and fires(c, left_behind)
    }

    assert told == {f"job-missing/{job}" for job in jobs()}
