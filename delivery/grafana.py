"""Dashboards for Grafana, made from those of Cloud Monitoring: ``python -m delivery.grafana`` writes them.

They ask Grafana's data source for Cloud Monitoring by the same PromQL. What it can't ask, SQL over the log
bucket and log lines, is named in a last panel instead. The shape is Grafana's, schema version 39.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from delivery.environments import REPOSITORY

JSON = dict[str, Any]

MODULE: Final = REPOSITORY / "modules" / "observability"
SOURCES: Final = MODULE / "dashboards"
TARGET: Final = MODULE / "grafana"

_SOURCE: Final = {"type": "stackdriver", "uid": "${datasource}"}
_UNITS: Final = {"1": "short", "s": "s", "ms": "ms", "1/s": "reqps", "10^2.%": "percentunit"}
_STEP: Final = "60s"
_FINER: Final = 2
"""Cloud Monitoring's grid has twice as many columns, and twice as many rows for the same height."""
_DRAWN: Final[Mapping[str, JSON]] = {
    "LINE": {"drawStyle": "line"},
    "STACKED_AREA": {"drawStyle": "line", "fillOpacity": 30, "stacking": {"mode": "normal", "group": "A"}},
    "STACKED_BAR": {"drawStyle": "bars", "fillOpacity": 80, "stacking": {"mode": "normal", "group": "A"}},
}
_ELSEWHERE: Final = "Only on the dashboard in Cloud Monitoring, which reads the log bucket: {}."


def dashboard(name: str) -> JSON:
    """Grafana's counterpart of ``dashboards/<name>.json``."""
    text = (SOURCES / f"{name}.json").read_text()
    source = json.loads(_filled(text))
    panels: list[JSON] = []
    elsewhere: list[str] = []
    for tile in source["mosaicLayout"]["tiles"]:
        made = _panel(tile["widget"])
        if made is None:
            elsewhere.append(tile["widget"]["title"])
            continue
        panels.append(made | {"id": len(panels) + 1, "gridPos": _place(tile)})
    if elsewhere:
        bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        place = {"x": 0, "y": bottom, "w": 24, "h": 3}
        panels.append(
            _text(_ELSEWHERE.format(", ".join(elsewhere))) | {"id": len(panels) + 1, "gridPos": place}
        )
    return {
        "title": source["displayName"].removeprefix("environment: "),
        "uid": f"tallygate-{name}",
        "tags": ["tallygate"],
        "schemaVersion": 39,
        "editable": True,
        "time": {"from": "now-24h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": list(_variables())},
        "panels": panels,
    }


def names() -> list[str]:
    """The dashboards that there are."""
    return sorted(path.stem for path in SOURCES.glob("*.json"))


def written(content: JSON) -> str:
    """A dashboard as its file holds it."""
    return json.dumps(content, indent=2) + "\n"


def write(target: Path = TARGET) -> None:
    """Write all dashboards."""
    target.mkdir(exist_ok=True)
    for name in names():
        (target / f"{name}.json").write_text(written(dashboard(name)))


def _filled(text: str) -> str:
    """The template with the objectives' defaults; the service's name stays a variable of Grafana's."""
    defaults = (MODULE / "variables.tf").read_text()
    for name in ("added_latency_ms", "freshness_seconds"):
        found = re.search(rf"{name}\s+= optional\(number, (\d+)\)", defaults)
        assert found is not None, f"modules/observability/variables.tf has no default of {name}"
        text = text.replace(f"${{{name}}}", found[1])
    text = re.sub(r"(?<!\$)\$\{(environment|functions|log_view|project_id)\}", r"\1", text)
    return text.replace("$${", "${")


def _variables() -> Iterator[JSON]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "stackdriver"}
    for name, label, value in (("project", "Project", ""), ("service", "Service", "tallygate-proxy")):
        chosen = {"text": value, "value": value}
        yield {
            "name": name, "label": label, "type": "textbox", "query": value, "current": chosen,
            "options": [chosen | {"selected": True}],
        }  # fmt: skip


def _place(tile: Mapping[str, Any]) -> JSON:
    sizes = {"x": tile.get("xPos", 0), "y": tile.get("yPos", 0), "w": tile["width"], "h": tile["height"]}
    return {side: length // _FINER for side, length in sizes.items()}


def _panel(widget: Mapping[str, Any]) -> JSON | None:
    """None for what the data source can't ask."""
    if "text" in widget:
        return _text(widget["text"]["content"])
    if "sectionHeader" in widget:
        return _text(f"## {widget['title']}\n{widget['sectionHeader']['subtitle']}")
    if "scorecard" in widget:
        return _asking(widget["title"], "stat", [widget["scorecard"]]) | {
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"}
        }
    chart = widget.get("xyChart")
    if chart is None or not all("prometheusQuery" in shown["timeSeriesQuery"] for shown in chart["dataSets"]):
        return None
    made = _asking(widget["title"], "timeseries", chart["dataSets"])
    defaults = made["fieldConfig"]["defaults"]
    defaults["custom"] = dict(_DRAWN[chart["dataSets"][0]["plotType"]])
    defaults["custom"]["axisLabel"] = chart["yAxis"]["label"]
    if limits := chart.get("thresholds"):
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"color": "transparent", "value": None}]
            + [{"color": "red", "value": limit["value"]} for limit in limits],
        }
    return made


def _asking(title: str, kind: str, shown: Sequence[Mapping[str, Any]]) -> JSON:
    """A panel with a query, named A, B, C …, for each of what is shown."""
    units = {one["timeSeriesQuery"]["unitOverride"] for one in shown}
    assert len(units) == 1, f"{title}: one panel has one unit"
    targets, overrides = [], []
    for number, one in enumerate(shown):
        letter = chr(ord("A") + number)
        query = {
            "expr": one["timeSeriesQuery"]["prometheusQuery"],
            "projectName": "${project}",
            "step": _STEP,
        }
        targets.append({"refId": letter, "datasource": _SOURCE, "queryType": "promQL", "promQLQuery": query})
        if legend := one.get("legendTemplate"):
            named = legend.replace("${metric.labels.", "${__field.labels.")
            overrides.append(
                {
                    "matcher": {"id": "byFrameRefID", "options": letter},
                    "properties": [{"id": "displayName", "value": named}],
                }
            )
    return {
        "title": title,
        "type": kind,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": _UNITS[units.pop()]}, "overrides": overrides},
    }


def _text(content: str) -> JSON:
    return {"title": "", "type": "text", "options": {"mode": "markdown", "content": content}}


if __name__ == "__main__":
    write()
