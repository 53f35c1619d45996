"""Dashboards show what exists: every query parses, names metrics and labels that are made, and runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from sandbox.bigquery.types import field_from_api
from sandbox.lql import parse as parse_filter
from sandbox.router.entries import LogEntry
from tests.observability import lines
from tests.observability.conftest import Planned
from tests.observability.places import MODULE, inputs, stems
from tests.observability.promql import parse, selectors
from tests.observability.scenes import PREFIX
from tests.support.googlesql import Row, evaluate

COLUMNS: Final = 48
WIDGETS: Final = {"xyChart", "scorecard", "timeSeriesTable", "logsPanel", "text", "sectionHeader"}
RUN_METRICS: Final = {
    "container_instance_count": {"state"},
    "container_cpu_utilizations_bucket": {"le"},
    "container_memory_utilizations_bucket": {"le"},
}
"""Cloud Run's own that are shown, with their labels.

Source: https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run
"""
NAMES: Final = sorted(stems("dashboards", ".json"))


@pytest.fixture(scope="module")
def dashboards(planned: Planned) -> dict[str, dict[str, Any]]:
    """The planned dashboards."""
    made = planned.of("google_monitoring_dashboard")
    return {name: json.loads(one["dashboard_json"]) for name, one in made.items()}


def tiles(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """A dashboard's tiles."""
    found: list[dict[str, Any]] = dashboard["mosaicLayout"]["tiles"]
    return found


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(title of the widget, kind, text) of every query."""

    def inside(title: str, value: Any) -> Iterator[tuple[str, str, str]]:
        if isinstance(value, list):
            for one in value:
                yield from inside(title, one)
        elif isinstance(value, dict):
            if "timeSeriesQuery" in value:
                query = dict(value["timeSeriesQuery"])
                query.pop("unitOverride", None)
                ((kind, text),) = query.items()
                yield title, kind, text if isinstance(text, str) else text["sql"]
            for one in value.values():
                yield from inside(title, one)

    for tile in tiles(dashboard):
        yield from inside(tile["widget"].get("title", ""), tile["widget"])


def test_every_file_is_a_dashboard_of_its_environment(dashboards: dict[str, Any]) -> None:
    assert set(dashboards) == set(NAMES)
    assert len({one["displayName"] for one in dashboards.values()}) == len(NAMES)
    assert all(one["displayName"].startswith("prod: ") for one in dashboards.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_one_that_the_api_takes(name: str, dashboards: dict[str, Any]) -> None:
    """By the API's own description, recorded without its prose: unknown fields and values are refused."""
    schema = json.loads((Path(__file__).parent / "schemas" / "dashboard-v1.json").read_text())
    validator = Draft202012Validator(schema)
    wrong = json.loads(json.dumps(dashboards[name]).replace('"xyChart"', '"lineChart"'))

    assert [error.message for error in validator.iter_errors(dashboards[name])] == []
    assert not validator.is_valid(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_tiles_fit_and_do_not_cover_each_other(name: str, dashboards: dict[str, Any]) -> None:
    """Positions of zero are left out: the API leaves them out, too, and a plan must stay empty."""
    dashboard = dashboards[name]
    boxes = []
    for tile in tiles(dashboard):
        assert {tile.get("xPos", 1), tile.get("yPos", 1)} & {0} == set()
        left, top = tile.get("xPos", 0), tile.get("yPos", 0)
        boxes.append((left, top, left + tile["width"], top + tile["height"]))

    assert dashboard["mosaicLayout"]["columns"] == COLUMNS
    assert all(right <= COLUMNS for _, _, right, _ in boxes)
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_widget_is_of_a_known_kind_and_says_what_it_shows(name: str, dashboards: dict[str, Any]) -> None:
    titles = []
    for tile in tiles(dashboards[name]):
        kinds = tile["widget"].keys() - {"title"}
        assert len(kinds) == 1
        assert kinds <= WIDGETS
        if kinds != {"text"}:
            titles.append(tile["widget"]["title"])

    assert len(titles) == len(set(titles)) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_promql_names_metrics_and_labels_that_exist(
    name: str, dashboards: dict[str, Any], planned: Planned
) -> None:
    made: dict[str, set[str]] = {}
    for metric in planned.of("google_logging_metric").values():
        labels = set(metric["label_extractors"] or {})
        (descriptor,) = metric["metric_descriptor"]
        if descriptor["value_type"] == "DISTRIBUTION":
            made |= {
                f"{PREFIX}{metric['name']}{end}": labels | {"le"} for end in ("_sum", "_count", "_bucket")
            }
        else:
            made[f"{PREFIX}{metric['name']}"] = labels
    made |= {f"run_googleapis_com:{metric}": labels for metric, labels in RUN_METRICS.items()}

    checked = 0
    for title, kind, text in queries(dashboards[name]):
        if kind != "prometheusQuery":
            continue
        parse(text)
        found = selectors(text)
        for metric_name, matchers, _ in found:
            assert metric_name in made, f"{name}: {title}: no metric {metric_name}"
            assert matchers["monitored_resource"] == ("Equal", "cloud_run_revision"), title
            assert matchers.keys() - {"monitored_resource", "service_name"} <= made[metric_name], title
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", text) for label in by.split(", ")}
        assert grouped <= set.intersection(*(made[metric_name] for metric_name, _, _ in found)), title
        checked += 1
    assert checked >= 6


@pytest.mark.parametrize("name", NAMES)
def test_a_legend_names_labels_that_its_query_keeps(name: str, dashboards: dict[str, Any]) -> None:
    for tile in tiles(dashboards[name]):
        for shown in tile["widget"].get("xyChart", {}).get("dataSets", []):
            wanted = set(re.findall(r"\$\{metric\.labels\.(\w+)\}", shown.get("legendTemplate", "")))
            text = shown["timeSeriesQuery"].get("prometheusQuery", "")
            kept = {label for by in re.findall(r"by \(([^)]*)\)", text) for label in by.split(", ")}
            assert wanted == kept - {"le"} or "opsAnalyticsQuery" in shown["timeSeriesQuery"], tile["widget"]


@pytest.mark.parametrize("name", NAMES)
def test_logs_are_chosen_by_filters_that_are_understood(name: str, dashboards: dict[str, Any]) -> None:
    for tile in tiles(dashboards[name]):
        panel = tile["widget"].get("logsPanel")
        if panel is not None:
            parse_filter(panel["filter"])
            assert panel["resourceNames"] == [f"projects/{inputs()['project_id']}"]


def test_every_metric_is_shown_or_alerted_on(dashboards: dict[str, Any], planned: Planned) -> None:
    """A metric that nobody looks at costs money for nothing."""
    texts = [text for one in dashboards.values() for _, _, text in queries(one)]
    for policy in planned.of("google_monitoring_alert_policy").values():
        (condition,) = policy["conditions"]
        texts += [block["query"] for block in condition["condition_prometheus_query_language"]]
    read = {
        re.sub("_(sum|count|bucket)$", "", name.removeprefix(PREFIX))
        for text in texts
        if "SELECT" not in text
        for name, _, _ in selectors(text)
    }
    made = {metric["name"] for metric in planned.of("google_logging_metric").values()}

    assert made - read == set()


# --- panels by tenant -------------------------------------------------------------------------------------

LOG_VIEW: Final = "`demo-project.europe-west1._Default._AllLogs`"
LINES: Final = """(
  SELECT
    l.at AS timestamp, l.log_id, PARSE_JSON(l.payload) AS json_payload,
    STRUCT('cloud_run_revision' AS type, PARSE_JSON(l.labels) AS labels) AS resource
  FROM entries AS l
)"""
"""Stands for the log bucket's view, whose columns are of type JSON."""
FIELDS: Final = tuple(
    field_from_api({"name": name, "type": kind})
    for name, kind in (("at", "TIMESTAMP"), ("log_id", "STRING"), ("payload", "STRING"), ("labels", "STRING"))
)


def tenant_queries() -> list[tuple[str, str]]:
    """(title, SQL) of the panels that read the log bucket, with names filled in."""
    content = (MODULE / "dashboards" / "tokens-and-cost.json").read_text()
    filled = content.replace("${log_view}", LOG_VIEW.strip("`")).replace("${service}", "tallygate-proxy")
    for number in ("added_latency_ms", "freshness_seconds"):
        filled = filled.replace(f"${{{number}}}", "1")
    return [(title, text) for title, kind, text in queries(json.loads(filled)) if kind == "opsAnalyticsQuery"]


def row(entry: LogEntry) -> dict[str, Any]:
    """A log entry as the log bucket's view has it."""
    return {
        "at": datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")),
        "log_id": entry["logName"].partition("/logs/")[2].replace("%2F", "/"),
        "payload": json.dumps(entry["jsonPayload"]),
        "labels": json.dumps(entry["resource"]["labels"]),
    }


def answer(title: str) -> list[Row]:
    """What a panel shows of some real lines, by Google's own evaluator."""
    sql = dict(tenant_queries())[title]
    assert LOG_VIEW in sql
    entries = [
        lines.usage(),
        lines.usage(tenant_id="globex", total_tokens=5, cost_nano_usd=2_000_000_000),
        lines.usage(total_tokens=4, cost_nano_usd=500),
        lines.failure("rate_limited", 429),
        lines.failure("internal_error", 500),
        lines.admit(),
        lines.entry(lines.USAGE.to_wire(), log="stderr"),
        lines.entry(lines.USAGE.to_wire(), service="somebody-elses"),
    ]
    _, rows = evaluate(sql.replace(LOG_VIEW, LINES), {"entries": (FIELDS, [row(e) for e in entries])}, {})
    return rows


def test_the_panels_by_tenant_are_these() -> None:
    assert {title for title, _ in tenant_queries()} == {
        "Tokens by tenant",
        "Cost by tenant",
        "Tenants by cost",
        "Refusals by tenant",
    }


def test_tokens_and_cost_add_up_by_tenant_and_hour() -> None:
    tokens = {(r["tenant_id"], r["hour"]): r["value"] for r in answer("Tokens by tenant")}
    cost = {r["tenant_id"]: r["value"] for r in answer("Cost by tenant")}

    assert tokens == {("acme", lines.NOW): 14, ("globex", lines.NOW): 5}
    assert cost == {"acme": pytest.approx(0.000048), "globex": 2.0}


def test_tenants_are_listed_by_cost_and_by_refusals() -> None:
    listed = [(r["tenant_id"], r["requests"], r["failed"], r["tokens"]) for r in answer("Tenants by cost")]

    assert listed == [("globex", 1, 0, 5), ("acme", 4, 2, 14)]
    assert [dict(r) for r in answer("Refusals by tenant")] == [
        {"tenant_id": "acme", "reason": "rate_limited", "requests": 1}
    ]
