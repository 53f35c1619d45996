"""What holds of every alert: its file, its metrics, its channels and its playbook."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.observability import lines
from tests.observability.conftest import Planned
from tests.observability.places import MODULE, PLAYBOOKS, inputs, stems
from tests.observability.promql import selectors
from tests.observability.scenes import PREFIX, promql
from tests.terraform.conftest import Workspace


@pytest.mark.parametrize("alert", sorted(stems("alerts", ".yaml")))
def test_every_file_keeps_the_schema_and_says_so_to_editors(alert: str) -> None:
    schema = json.loads((MODULE / "alert.schema.json").read_text())
    text = (MODULE / "alerts" / f"{alert}.yaml").read_text()

    problems = [e.message for e in Draft202012Validator(schema).iter_errors(yaml.safe_load(text))]

    assert problems == []
    assert text.startswith("# yaml-language-server: $schema=../alert.schema.json\n")


LONG: Final = "a sentence that is long enough"
RIGHT: Final = {"uptime": {"failing_regions": 2, "for_seconds": 0}}
ONE_REGION: Final = {"uptime": {"failing_regions": 1, "for_seconds": 0}}
HALF_A_MINUTE: Final = {"promql": {"query": "sum(increase(x[1h]))", "for_seconds": 90}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"summary": "too short", "severity": "page", "condition": RIGHT},
        {"summary": LONG, "severity": "loud", "condition": RIGHT},
        {"summary": LONG, "severity": "page", "condition": {}},
        {"summary": LONG, "severity": "page", "condition": {**RIGHT, "burn_rate": {}}},
        {
            "summary": LONG,
            "severity": "page",
            "condition": ONE_REGION,
        },
        {"summary": LONG, "severity": "page", "condition": RIGHT, "channels": ["someone"]},
        {
            "summary": LONG,
            "severity": "page",
            "condition": HALF_A_MINUTE,
        },
    ],
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    schema = json.loads((MODULE / "alert.schema.json").read_text())
    right = {"summary": LONG, "severity": "page", "condition": RIGHT}

    assert Draft202012Validator(schema).is_valid(right)
    assert not Draft202012Validator(schema).is_valid(wrong)


def test_every_selector_names_a_metric_that_is_made_and_its_resource(
    planned: Planned, policies: dict[str, Any]
) -> None:
    made: dict[str, set[str]] = {}
    for metric in planned.of("google_logging_metric").values():
        labels = set(metric["label_extractors"] or {})
        (descriptor,) = metric["metric_descriptor"]
        suffixes = ("_sum", "_count") if descriptor["value_type"] == "DISTRIBUTION" else ("",)
        made |= {f"{PREFIX}{metric['name']}{suffix}": labels for suffix in suffixes}

    for key, policy in policies.items():
        condition = promql(policy)
        for name, matchers, window in selectors(condition["query"]) if condition else []:
            assert name in made, f"alert {key} reads {name}, which no metric makes"
            assert matchers.pop("monitored_resource") == ("Equal", "cloud_run_revision"), key
            assert matchers.keys() <= made[name], f"alert {key}: {name} has no label {matchers}"
            assert window is not None, f"alert {key} reads {name} without a window"


def test_values_that_alerts_ask_for_exist(policies: dict[str, Any]) -> None:
    """A label's value that is misspelt would never match."""
    for key, policy in policies.items():
        condition = promql(policy)
        for name, matchers, _ in selectors(condition["query"]) if condition else []:
            stem = name.removeprefix(f"{PREFIX}tallygate_")
            if not (MODULE / "metrics" / f"{stem}.yaml").exists():
                stem = stem.rpartition("_")[0]  # the sum or the count of a distribution
            labels = yaml.safe_load((MODULE / "metrics" / f"{stem}.yaml").read_text()).get("labels", {})
            for label, (_, value) in matchers.items():
                if label == "monitored_resource":
                    continue
                known = labels[label]["values"]
                known = set(lines.SERVICES) if known == "functions" else set(known)
                assert set(value.split("|")) <= known, f"alert {key}: {label} is never {value}"


def test_no_alert_waits_for_its_metric_to_exist(policies: dict[str, Any]) -> None:
    """A policy on a metric that is minutes old is refused, unless its query is not checked against it."""
    for key, policy in policies.items():
        (condition,) = policy["conditions"]
        kinds = {name for name, blocks in condition.items() if name.startswith("condition_") and blocks}
        allowed = {
            "condition_prometheus_query_language",
            "condition_matched_log",
            *(("condition_threshold",) if key == "gateway-down" else ()),
        }
        assert len(kinds) == 1, key
        assert kinds <= allowed, key
        if (query := promql(policy)) is not None:
            assert query["disable_metric_validation"] is True, key
            assert float(query["duration"].removesuffix("s")) % 60 == 0, key


def test_severity_decides_who_hears_of_it(policies: dict[str, Any]) -> None:
    channels = {"CRITICAL": inputs()["channels"]["page"], "WARNING": inputs()["channels"]["ticket"]}

    for key, policy in policies.items():
        assert policy["notification_channels"] == channels[policy["severity"]], key
        assert policy["documentation"][0]["content"].strip(), key


def test_every_alert_has_its_playbook_and_every_playbook_its_alert(policies: dict[str, Any]) -> None:
    pages = {path.stem for path in PLAYBOOKS.glob("*.md")}

    assert pages == stems("alerts", ".yaml"), (
        "docs/playbooks/alerts/ and modules/observability/alerts/ differ"
    )
    for key, policy in policies.items():
        alert = key.partition("/")[0]
        assert f"docs/playbooks/alerts/{alert}.md" in policy["documentation"][0]["content"]


def test_a_private_gateway_is_not_asked_from_the_internet(workspace: Workspace) -> None:
    plan = workspace.plan(**inputs(host=None))
    made = {change["address"] for change in plan["resource_changes"]}

    assert not any("uptime_check" in address for address in made)
    assert 'google_monitoring_alert_policy.main["gateway-down"]' not in made
