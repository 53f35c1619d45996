"""The log-based metrics count the lines that the code really writes, and can't be blown up by a client."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy.limits.gate import Code
from proxy.paths import ENDPOINTS
from tallygate.metering.window import DEPTHS
from tallygate.reconciliation import reconcile
from tallygate.records import Status
from tallygate.subscriptions import sync
from tests.observability import emitted, lines
from tests.observability.conftest import Planned
from tests.observability.measured import Metric, points
from tests.observability.places import CATALOGUE, MODULE, inputs, stems
from tests.terraform.conftest import Workspace

MOST_SERIES = 10_000
NEVER_TENANTS = {"invalid_key", "not_found"}
"""Reasons that are told before a tenant is known: no usage event carries them."""
SAID_ONLY = {"library_log", "library_print"}
"""Lines of the proxy that stand for what libraries say: read when something else was told."""
COMING: Final[dict[str, str]] = {}
"""Lines that are measured and that nobody writes yet, with the day since when."""


def counted(metrics: Mapping[str, Metric], entry: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The metrics that count an entry, with the labels that it gets."""
    return {
        name: dict(point.labels)
        for name, metric in metrics.items()
        if (point := metric.point(entry)) is not None
    }


def definition(name: str) -> dict[str, Any]:
    """A metric's file."""
    content: dict[str, Any] = yaml.safe_load((MODULE / "metrics" / f"{name}.yaml").read_text())
    return content


def written_values(name: str, label: str) -> set[str]:
    """The values that a label's file lists."""
    return set(definition(name)["labels"][label]["values"])


@pytest.mark.parametrize("name", sorted(stems("metrics", ".yaml")))
def test_every_file_keeps_the_schema_and_says_so_to_editors(name: str) -> None:
    schema = json.loads((MODULE / "metric.schema.json").read_text())
    text = (MODULE / "metrics" / f"{name}.yaml").read_text()

    problems = [e.message for e in Draft202012Validator(schema).iter_errors(yaml.safe_load(text))]

    assert problems == []
    assert text.startswith("# yaml-language-server: $schema=../metric.schema.json\n")


def test_every_file_is_a_metric_of_its_name(planned: Planned) -> None:
    made = planned.of("google_logging_metric")

    assert {name: metric["name"] for name, metric in made.items()} == {
        name: f"tallygate_{name}" for name in stems("metrics", ".yaml")
    }


def test_a_finished_request_is_counted_once_in_each_of_its_metrics(metrics: dict[str, Metric]) -> None:
    labels = counted(metrics, lines.usage())

    assert labels == {
        "swift_requests": {},
        "requests": {"endpoint": "chat/completions", "model": "gpt-4o", "status": "success"},
        "input_tokens": {"model": "gpt-4o"},
        "output_tokens": {"model": "gpt-4o"},
        "cost_nano_usd": {"model": "gpt-4o"},
        "latency_ms": {"endpoint": "chat/completions", "model": "gpt-4o", "stream": "true"},
        "added_latency_ms": {"endpoint": "chat/completions"},
        "time_to_first_token_ms": {"model": "gpt-4o"},
    }


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("input_tokens", 7),
        ("output_tokens", 3),
        ("cost_nano_usd", 47_500),
        ("latency_ms", 900),
        ("added_latency_ms", 12),
        ("time_to_first_token_ms", 300),
    ],
)
def test_a_distribution_takes_the_value_of_its_field(
    metrics: dict[str, Metric], metric: str, value: float
) -> None:
    (point,) = points(metrics[metric], [lines.usage()])

    assert point.value == value


def test_an_admit_line_counts_nowhere(metrics: dict[str, Metric]) -> None:
    assert counted(metrics, lines.admit()) == {}


def test_a_usage_line_on_another_stream_or_service_counts_nowhere(metrics: dict[str, Metric]) -> None:
    """What a library prints lands on stderr; another service's line is another service's."""
    wire = lines.USAGE.to_wire()

    assert counted(metrics, lines.entry(wire, log="stderr")) == {}
    assert counted(metrics, lines.entry(wire, service="somebody-elses")) == {}
    assert counted(metrics, lines.entry(wire, service="not-tallygate-proxy")) == {}
    assert counted(metrics, lines.entry(wire, service="tallygate-proxy-acme")) != {}


def test_every_reason_of_failure_belongs_to_exactly_one_party(metrics: dict[str, Metric]) -> None:
    """Availability counts the gateway's failures alone: a reason that is in no class would count as good."""
    parties = ("gateway_failures", "provider_failures", "refusals")
    reasons = (emitted.error_types() | set(get_args(Code))) - NEVER_TENANTS - {"client_gone"}

    classes = {
        reason: [party for party in parties if party in counted(metrics, lines.failure(reason))]
        for reason in reasons
    }

    assert len(reasons) >= 14
    assert {r: c for r, c in classes.items() if len(c) != 1} == {}, (
        "proxy/ gives reasons that none, or several, of modules/observability/metrics/{"
        + ",".join(parties)
        + "}.yaml count"
    )


def test_the_errors_metric_lists_the_reasons_that_the_proxy_gives() -> None:
    reasons = (emitted.error_types() | set(get_args(Code))) - NEVER_TENANTS - {"client_gone"}

    assert written_values("errors", "error_type") == reasons, (
        "proxy/ and modules/observability/metrics/errors.yaml name different reasons"
    )


def test_a_client_that_left_is_nobodys_failure(metrics: dict[str, Metric]) -> None:
    gone = lines.failure("client_gone", 499, status="cancelled")
    gone_in_drain = lines.failure("incomplete", 499, status="cancelled")

    assert set(counted(metrics, gone)) == {"requests"}
    assert set(counted(metrics, gone_in_drain)) == {"requests"}


def test_a_request_ended_by_a_shutdown_is_the_gateways_failure(metrics: dict[str, Metric]) -> None:
    ended = lines.failure("shutdown", 503, status="cancelled")

    assert counted(metrics, ended)["gateway_failures"] == {"error_type": "shutdown"}


def test_a_failure_before_the_tenant_is_known_is_the_gateways(
    metrics: dict[str, Metric], tmp_path: Path
) -> None:
    assert counted(metrics, lines.request_failed(tmp_path)) == {
        "gateway_failures": {"error_type": "database_unavailable"}
    }


@pytest.mark.parametrize(
    ("status", "text", "counts"),
    [
        (503, "The request failed because either the HTTP response was malformed or …", {"gateway_failures"}),
        (429, "The request was aborted because there was no available instance.", {"gateway_failures"}),
        (504, "The request has been terminated because it has reached the maximum …", {"gateway_failures"}),
        (403, "The request was not authenticated.", set()),
        (401, None, {"refused_callers"}),
        (503, None, set()),
        (429, None, set()),
        (200, None, {"answered_requests"}),
        (404, None, set()),
    ],
)
def test_of_the_platforms_requests_those_count_that_it_failed_itself(
    metrics: dict[str, Metric], status: int, text: str | None, counts: set[str]
) -> None:
    """What the container answered is told by its own lines, and must not count twice."""
    assert set(counted(metrics, lines.request_log(status, text))) == counts


def test_a_stranger_can_not_add_time_series(metrics: dict[str, Metric]) -> None:
    """The name of a model is the client's text; so are others in a forged or future line."""
    stranger = lines.failure("model_not_allowed", 403, model="invented-by-a-client")
    labels = counted(metrics, stranger)

    assert labels["requests"]["model"] == ""
    assert labels["errors"]["model"] == ""
    odd = lines.usage(endpoint="x", error_type="y", status="z", http_status=999)
    assert {v for found in counted(metrics, odd).values() for v in found.values()} <= {"", "gpt-4o", "true"}


def test_a_model_whose_name_begins_like_anothers_is_not_that_model(metrics: dict[str, Metric]) -> None:
    names = json.loads(CATALOGUE.read_text())["models"]
    for name in [*names, *(name.replace(".", "x") for name in names if "." in name), "gpt-4o-mini-2"]:
        labels = counted(metrics, lines.usage(model=name, served_model=name))
        assert labels["requests"]["model"] == (name if name in names else "")


def test_every_label_lists_its_values_and_names_no_tenant(planned: Planned) -> None:
    for name, metric in planned.of("google_logging_metric").items():
        for label, extractor in (metric["label_extractors"] or {}).items():
            field = extractor.partition("(")[2].partition(",")[0]
            assert not re.search("tenant|customer|key_id|request_id", label + field), (name, label)
            values = definition(name)["labels"][label]["values"]
            assert values in ("models", "functions") or isinstance(values, list), (name, label)


def test_no_metric_can_have_more_time_series_than_are_allowed(planned: Planned) -> None:
    """Computed here anew from the files and the catalogue; Terraform refuses what is over it."""
    sizes = {
        "models": len(json.loads(CATALOGUE.read_text())["models"]),
        "functions": len(lines.SERVICES),
    }
    series = {}
    for name in stems("metrics", ".yaml"):
        series[f"tallygate_{name}"] = 1
        for of in definition(name).get("labels", {}).values():
            values = of["values"]
            series[f"tallygate_{name}"] *= 1 + (sizes[values] if isinstance(values, str) else len(values))

    assert max(series.values()) <= MOST_SERIES
    assert planned.outputs["metrics"] == series


def test_a_catalogue_that_would_make_too_many_series_is_refused(workspace: Workspace) -> None:
    folder = workspace.folder
    many = inputs(models=[f"model-{number}" for number in range(400)])
    (folder / "many.tfvars.json").write_text(json.dumps(many))

    made = workspace.run("plan", "-no-color", "-input=false", "-var-file=many.tfvars.json")

    assert made.code == 1
    assert "tallygate_errors could have" in made.output


def test_label_values_are_those_of_the_code() -> None:
    assert written_values("requests", "endpoint") == {endpoint.name for endpoint in ENDPOINTS}
    assert written_values("requests", "status") == set(get_args(Status))
    depths = {*DEPTHS, *reconcile.DEPTHS, *sync.DEPTHS, "range"}
    assert written_values("job_runs", "depth") == depths


def test_webhook_outcomes_are_those_of_the_code() -> None:
    path = "tallygate/subscriptions/webhook.py"

    assert written_values("webhooks", "outcome") == emitted.literal(path, "Outcome"), (
        f"modules/observability/metrics/webhooks.yaml and {path}"
    )


@pytest.mark.parametrize("outcome", ["done", "failed", "skipped"])
def test_a_run_of_the_reporter_is_counted_by_its_outcome(
    metrics: dict[str, Metric], capsys: pytest.CaptureFixture[str], outcome: str
) -> None:
    ended: dict[str, dict[str, Any]] = {"done": {}, "failed": {"error": "x"}, "skipped": {"skipped": True}}

    labels = counted(metrics, lines.reporter_run(capsys, **ended[outcome]))

    assert labels["job_runs"] == {"job": "usage_reporter", "depth": "recent", "outcome": outcome}
    assert ("job_duration_ms" in labels) is (outcome != "skipped")


def test_a_rehearsal_is_no_run(metrics: dict[str, Metric], capsys: pytest.CaptureFixture[str]) -> None:
    labels = counted(metrics, lines.reporter_run(capsys, dry_run=True, parked=3, rejected=1))

    assert labels == {}


@pytest.mark.parametrize(
    ("changes", "depth", "verdict"),
    [
        ({}, "recent", {"fresh_runs"}),
        ({"oldest_unsent_seconds": 900}, "recent", {"fresh_runs"}),
        ({"oldest_unsent_seconds": 901}, "recent", {"stale_runs"}),
        ({"error": "FenceError"}, "recent", {"stale_runs"}),
        ({"skipped": True}, "recent", set()),
        ({"oldest_unsent_seconds": 5000}, "daily", set()),
    ],
)
def test_a_run_leaves_billing_fresh_or_stale(
    metrics: dict[str, Metric],
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    depth: str,
    verdict: set[str],
) -> None:
    labels = counted(metrics, lines.reporter_run(capsys, depth=depth, **changes))

    assert set(labels) & {"fresh_runs", "stale_runs"} == verdict


def test_what_a_run_could_not_bill_is_summed(
    metrics: dict[str, Metric], capsys: pytest.CaptureFixture[str]
) -> None:
    run = lines.reporter_run(
        capsys, parked=3, rejected=2, rejected_lines=5, backlog=7, oldest_unsent_seconds=61
    )

    values = {
        name: metrics[name].point(run)
        for name in (
            "parked_deltas", "rejected_deltas", "rejected_lines", "backlog_deltas", "backlog_age_seconds",
        )
    }  # fmt: skip

    assert [point.value for point in values.values() if point] == [3, 2, 5, 7, 61]


def test_warnings_and_crashes_of_the_proxy_are_counted(metrics: dict[str, Metric], tmp_path: Path) -> None:
    warning = lines.warned(tmp_path, "budget_warning", tenant_id="acme", month="2026-03", percent=80)
    assert counted(metrics, warning) == {"budget_warnings": {"percent": "80"}}
    assert counted(metrics, lines.spend_lost(tmp_path)) == {"spend_lost": {}}
    assert counted(metrics, lines.crash(tmp_path)) == {"crashes": {}}
    traceback = b"Traceback (most recent call last):"
    of_function = lines.entry(traceback, log="stderr", service="tallygate-stripe-sync")
    assert counted(metrics, of_function) == {"crashes": {}}


@pytest.mark.parametrize("event", sorted(written_values("billing_stops", "event")))
def test_whatever_stops_billing_is_counted_by_its_name(
    metrics: dict[str, Metric], capsys: pytest.CaptureFixture[str], event: str
) -> None:
    line = lines.event_line("usage_reporter", capsys, event)

    assert counted(metrics, line) == {"billing_stops": {"event": event}}


@pytest.mark.parametrize("event", sorted(written_values("reconciler_findings", "event")))
def test_whatever_the_reconciler_finds_is_counted_by_its_name(
    metrics: dict[str, Metric], capsys: pytest.CaptureFixture[str], event: str
) -> None:
    line = lines.event_line("usage_reconciler", capsys, event)

    assert counted(metrics, line) == {"reconciler_findings": {"event": event}}


def measured_events(planned: Planned) -> set[str]:
    """The names of events that the planned filters ask for."""
    found: set[str] = set()
    for metric in planned.of("google_logging_metric").values():
        for one, group in re.findall(r'jsonPayload\.event=(?:"(\w+)"|\(([^)]*)\))', metric["filter"]):
            found |= {one} if one else set(re.findall(r'"(\w+)"', group))
    return found


def test_every_measured_line_is_written_by_the_code(planned: Planned) -> None:
    written = emitted.event_names()
    missing = measured_events(planned) - written.keys() - COMING.keys()

    assert {"llm_usage", "job_run", "budget_warning", "request_failed"} <= written.keys()
    assert missing == set(), (
        f"modules/observability/metrics/ count {missing}, which no line of proxy/, tallygate/ or functions/ "
        "carries as its event"
    )


def test_lines_that_are_written_by_now_are_not_called_coming() -> None:
    arrived = {name: str(path) for name, path in emitted.event_names().items() if name in COMING}

    assert arrived == {}, "these lines are written by now: take them out of COMING in this file"


def test_every_error_that_the_code_tells_of_is_measured(planned: Planned) -> None:
    """A line that nobody counts wakes nobody."""
    told = emitted.severe_events() | {
        name for name, path in emitted.event_names().items() if path.parts[0] == "proxy"
    }

    unseen = told - measured_events(planned) - SAID_ONLY

    assert {"event_parked", "spend_lost", "two_items"} <= told
    assert unseen == set(), f"no metric in modules/observability/metrics/ counts {unseen}"
