"""Every scheduled job is told of when it fails and when it falls silent, in time, and not before."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.observability.conftest import Planned
from tests.observability.measured import Metric
from tests.observability.places import jobs
from tests.observability.scenes import Happening, Scribe, fires_in, series

JOB_ALERTS: Final = ("job-failing", "job-missing")


def test_every_scheduled_job_is_watched(policies: dict[str, Any]) -> None:
    per_job = {key for key in policies if "/" in key}

    assert per_job == {f"{kind}/{job}" for kind in JOB_ALERTS for job in jobs()}


def minutes(planned: Planned, job: str) -> tuple[float, float]:
    """A job's period, and the time after which it is missing."""
    period = float(planned.outputs["job_periods"][job]) / 60
    return period, max(10, min(3 * period, period + 60))


@pytest.mark.parametrize("job", sorted(jobs()))
@pytest.mark.parametrize("zeros", [None, 30.0], ids=["no points between", "points of zero between"])
def test_a_job_that_runs_is_neither_failing_nor_missing(
    job: str, zeros: float | None, planned: Planned, policies: dict[str, Any], metrics: dict[str, Metric],
    scribe: Scribe,
) -> None:  # fmt: skip
    period, window = minutes(planned, job)
    done, failed = (scribe.job_run(jobs()[job], outcome) for outcome in ("done", "failed"))
    healthy = [Happening(0.9 * period + n * period, done) for n in range(5)]
    stumbling = [Happening(0.5 * period, failed), *healthy] if window > 2 * period else healthy

    for scene in (healthy, stumbling):
        left_behind = series(metrics.values(), scene, zeros_every_minutes=zeros)
        for kind in JOB_ALERTS:
            assert not fires_in(policies[f"{kind}/{job}"], left_behind), kind


@pytest.mark.parametrize("job", sorted(jobs()))
@pytest.mark.parametrize("zeros", [None, 30.0], ids=["no points between", "points of zero between"])
def test_a_job_that_only_fails_is_failing_and_not_missing(
    job: str, zeros: float | None, planned: Planned, policies: dict[str, Any], metrics: dict[str, Metric],
    scribe: Scribe,
) -> None:  # fmt: skip
    period, window = minutes(planned, job)
    done, failed = (scribe.job_run(jobs()[job], outcome) for outcome in ("done", "failed"))
    scene = [Happening(0.5 * period + n * period, failed) for n in range(4)]
    scene.append(Happening(4 * period + window, done))

    left_behind = series(metrics.values(), scene, zeros_every_minutes=zeros)

    assert fires_in(policies[f"job-failing/{job}"], left_behind)
    assert not fires_in(policies[f"job-missing/{job}"], left_behind)


@pytest.mark.parametrize("job", sorted(jobs()))
@pytest.mark.parametrize("zeros", [None, 1.0], ids=["no points between", "points of zero between"])
def test_a_job_that_stopped_is_missing_when_its_window_has_passed_and_not_before(
    job: str, zeros: float | None, planned: Planned, policies: dict[str, Any], metrics: dict[str, Metric],
    scribe: Scribe,
) -> None:  # fmt: skip
    """Also when it only finds another run at work, again and again."""
    period, window = minutes(planned, job)
    done, skipped = (scribe.job_run(jobs()[job], outcome) for outcome in ("done", "skipped"))
    others = [Happening(n * period + 1, skipped) for n in range(3)]
    gone = series(metrics.values(), [Happening(window + 1, done), *others], zeros_every_minutes=zeros)
    late = series(metrics.values(), [Happening(window - 1.5, done), *others], zeros_every_minutes=zeros)

    assert fires_in(policies[f"job-missing/{job}"], gone)
    assert not fires_in(policies[f"job-missing/{job}"], late)


def test_one_jobs_silence_is_not_hidden_by_another(
    policies: dict[str, Any], metrics: dict[str, Metric], scribe: Scribe
) -> None:
    everything = jobs()
    for silent in everything:
        others = [scribe.job_run(job, "done") for name, job in everything.items() if name != silent]
        scene = [Happening(0.5 + n, run) for run in others for n in range(15)]
        assert fires_in(policies[f"job-missing/{silent}"], series(metrics.values(), scene)), silent
