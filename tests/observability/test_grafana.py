"""Grafana's dashboards ask what Cloud Monitoring's ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

import pytest

from delivery.grafana import MODULE, TARGET, dashboard, names, written
from tests.observability.conftest import Planned
from tests.observability.promql import parse, selectors
from tests.observability.test_dashboards import NAMES, queries

SERVICE: Final = "tallygate-proxy"


def asked(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(title, query) of a dashboard of Grafana, with its variable filled in."""
    for panel in content["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["promQLQuery"]["expr"].replace("${service}", SERVICE)


def test_there_is_one_for_each() -> None:
    files = sorted(path.stem for path in TARGET.glob("*.json"))

    assert files == names() == NAMES, (
        "modules/observability/dashboards and modules/observability/grafana differ"
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_is_made_from_the_one_of_cloud_monitoring(name: str) -> None:
    text = (TARGET / f"{name}.json").read_text()

    assert text == written(dashboard(name)), (
        f"modules/observability/grafana/{name}.json does not follow dashboards/{name}.json beside it: "
        "run python -m delivery.grafana"
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_asks_the_same_of_the_same_metrics(name: str, planned: Planned) -> None:
    """By what Terraform would make, and by the file that somebody would import."""
    made = json.loads(planned.of("google_monitoring_dashboard")[name]["dashboard_json"])
    there = [(title, text) for title, kind, text in queries(made) if kind == "prometheusQuery"]
    here = list(asked(json.loads((TARGET / f"{name}.json").read_text())))

    assert here == there, (
        f"modules/observability/grafana/{name}.json and modules/observability/dashboards/{name}.json"
    )
    for _, text in here:
        parse(text)
    assert {metric for _, text in here for metric, _, _ in selectors(text)}


@pytest.mark.parametrize("name", NAMES)
def test_what_it_can_not_ask_is_named(name: str) -> None:
    content = json.loads((TARGET / f"{name}.json").read_text())
    source = (MODULE / "dashboards" / f"{name}.json").read_text()
    titles = set(re.findall(r'"title": "([^"]+)"', source))
    shown = {panel["title"] for panel in content["panels"]}
    said = "\n".join(panel["options"]["content"] for panel in content["panels"] if panel["type"] == "text")

    assert {title for title in titles - shown if title not in said} == set()
    assert len(titles - shown) <= 5


@pytest.mark.parametrize("name", NAMES)
def test_panels_fit_and_do_not_cover_each_other(name: str) -> None:
    places = [panel["gridPos"] for panel in json.loads((TARGET / f"{name}.json").read_text())["panels"]]
    boxes = [(at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"]) for at in places]

    assert all(right <= 24 and bottom > top for _, top, right, bottom in boxes)
    for one, other in combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_series_is_named_by_labels_that_its_query_keeps(name: str) -> None:
    for panel in json.loads((TARGET / f"{name}.json").read_text())["panels"]:
        kept = {
            target["refId"]: set(
                re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["promQLQuery"]["expr"])))
            )
            for target in panel.get("targets", [])
        }
        for override in panel.get("fieldConfig", {}).get("overrides", []):
            (named,) = override["properties"]
            wanted = set(re.findall(r"\$\{__field\.labels\.(\w+)\}", named["value"]))
            assert wanted <= kept[override["matcher"]["options"]], panel["title"]
