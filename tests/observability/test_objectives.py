"""What is promised: filters and burn rates follow from the objectives; a request counts at most once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.observability import lines
from tests.observability.conftest import Planned
from tests.observability.measured import Metric
from tests.observability.places import MODULE, inputs
from tests.observability.scenes import Scribe, promql
from tests.terraform.conftest import Workspace

FILTER = re.compile(
    r'metric\.type="logging\.googleapis\.com/user/tallygate_(\w+)" AND resource\.type="cloud_run_revision"'
    r'(?: AND metric\.labels\.(\w+)="(\w+)")?'
)


def sides(slo: dict[str, Any]) -> dict[str, tuple[str, str | None, str | None]]:
    """Metric, label and value of the good and the bad side of an objective."""
    (sli,) = slo["request_based_sli"]
    (ratio,) = sli["good_total_ratio"]
    found = {}
    for side in ("good", "bad"):
        match = FILTER.fullmatch(ratio[f"{side}_service_filter"])
        assert match, ratio
        found[side] = (match[1], match[2], match[3])
    assert ratio["total_service_filter"] is None, "good and bad: what is neither is no part of it"
    return found


def counts(metrics: dict[str, Metric], side: tuple[str, str | None, str | None], entry: Any) -> bool:
    """Whether an entry is on a side."""
    name, label, value = side
    point = metrics[name].point(entry)
    return point is not None and (label is None or point.labels[label] == value)


def test_each_objective_is_measured_by_metrics_that_are_made(
    planned: Planned, metrics: dict[str, Metric]
) -> None:
    slos = planned.of("google_monitoring_slo")

    assert set(slos) == {"availability", "added_latency", "freshness"}
    for slo in slos.values():
        for name, label, _ in sides(slo).values():
            assert name in metrics
            assert label is None or label in metrics[name].extractors


def test_what_is_promised_is_what_was_agreed(planned: Planned) -> None:
    slos = planned.of("google_monitoring_slo")

    assert slos["availability"]["goal"] == 0.999
    assert slos["added_latency"]["goal"] == 0.95, "p95"
    assert "900 s" in slos["freshness"]["display_name"], "sealed and sent within 15 minutes"
    assert {slo["rolling_period_days"] for slo in slos.values()} == {28}


def test_every_line_is_on_one_side_of_an_objective_at_most(
    planned: Planned, metrics: dict[str, Metric], scribe: Scribe
) -> None:
    entries = [
        lines.usage(),
        lines.usage(added_latency_ms=50),
        lines.usage(added_latency_ms=51),
        lines.failure("internal_error"),
        lines.failure("provider_error", 502),
        lines.failure("rate_limited", 429),
        lines.failure("shutdown", 503, status="cancelled"),
        lines.failure("client_gone", 499, status="cancelled"),
        scribe.request_failed(),
        lines.request_log(503, "The request failed because …"),
        lines.request_log(200),
        scribe.run(),
        scribe.run(oldest_unsent_seconds=901),
        scribe.run(error="x"),
        scribe.run(skipped=True),
        scribe.run(depth="daily"),
    ]
    verdicts = {}
    for name, slo in planned.of("google_monitoring_slo").items():
        side = sides(slo)
        on = [(counts(metrics, side["good"], e), counts(metrics, side["bad"], e)) for e in entries]
        assert (True, True) not in on, name
        verdicts[name] = "".join("+" if good else "-" if bad else "." for good, bad in on)

    assert verdicts == {
        "availability": "+++-..-.--......",
        "added_latency": "++-.............",
        "freshness": "...........+--..",
    }


@pytest.mark.parametrize(
    ("alert", "goal", "share", "minutes"),
    [
        ("availability-fast-burn", 0.999, 0.02, 60),
        ("availability-slow-burn", 0.999, 0.05, 360),
        ("added-latency-slow-burn", 0.95, 0.05, 360),
        ("billing-freshness-slow-burn", 0.99, 0.05, 360),
    ],
)
def test_burn_rates_follow_from_goal_period_and_window(
    policies: dict[str, Any], alert: str, goal: float, share: float, minutes: int
) -> None:
    """A share of the period's budget within the window; both windows at one rate."""
    condition = promql(policies[alert])
    assert condition is not None
    expected = share * 28 * 24 * 60 / minutes * (1 - goal)

    thresholds = [float(number) for number in re.findall(r" > ([0-9.e-]+)\)", condition["query"])]
    windows = set(re.findall(r"\[(\d+)m\]", condition["query"]))

    assert thresholds == [pytest.approx(expected)] * 2
    assert windows == {str(minutes), str(minutes // 12)}


def test_a_stricter_promise_is_told_of_sooner(workspace: Workspace) -> None:
    def query(**objectives: float) -> str:
        plan = workspace.plan(**inputs(objectives=objectives))
        made = {change["address"]: change["change"]["after"] for change in plan["resource_changes"]}
        condition = promql(made['google_monitoring_alert_policy.main["availability-fast-burn"]'])
        assert condition is not None
        text: str = condition["query"]
        return text

    strict, loose = query(availability=0.9995), query(availability=0.99)

    assert [float(n) for n in re.findall(r" > ([0-9.e-]+)\)", strict)] == [pytest.approx(0.00672)] * 2
    assert [float(n) for n in re.findall(r" > ([0-9.e-]+)\)", loose)] == [pytest.approx(0.1344)] * 2


def test_no_threshold_is_written_by_hand() -> None:
    """Numbers that follow from others are expressions."""
    text = (MODULE / "objectives.tf").read_text()

    assert "14.4" not in text
    assert "burn_rate" in text
    for alert in (MODULE / "alerts").glob("*burn.yaml"):
        assert "promql" not in alert.read_text(), alert.name


def test_the_gateway_is_asked_from_outside_over_https(planned: Planned) -> None:
    (check,) = planned.of("google_monitoring_uptime_check_config").values()
    (http,) = check["http_check"]

    assert (http["path"], http["use_ssl"], http["validate_ssl"]) == ("/health", True, True)
    assert check["monitored_resource"][0]["labels"]["host"] == inputs()["host"]
    assert check["period"] == "60s"
