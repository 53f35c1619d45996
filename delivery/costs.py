"""What a plan changes in the monthly bill for what merely stands there, by list prices."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from delivery.plan_policy import Change

PRICES: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("list_prices.json").read_text())
_MONTHLY: Final = {kind: Decimal(price) for kind, price in PRICES["monthly"].items()}
_SECONDS_A_MONTH: Final = 730 * 3600
_CENT: Final = Decimal("0.01")
_SERVICE: Final = "google_cloud_run_v2_service"
_MEMORY: Final = re.compile(r"(\d+(?:\.\d+)?)(Mi|Gi)")


def difference(change: Change) -> Decimal:
    """USD a month that a change adds, below zero where it saves."""
    return standing_cost(change.type, change.after) - standing_cost(change.type, change.before)


def standing_cost(kind: str, values: Mapping[str, Any]) -> Decimal:
    """USD a month of one resource when nobody uses it; zero where it costs nothing then, or is not known."""
    if not values:
        return Decimal(0)
    if kind == _SERVICE:
        return _idle_instances(values)
    return _MONTHLY.get(kind, Decimal(0))


def _idle_instances(values: Mapping[str, Any]) -> Decimal:
    """The instances that Cloud Run keeps though no request comes."""
    template = _first(values.get("template"))
    scaling, service_scaling = _first(template.get("scaling")), _first(values.get("scaling"))
    instances = max(scaling.get("min_instance_count") or 0, service_scaling.get("min_instance_count") or 0)
    resources = _first(_first(template.get("containers")).get("resources"))
    limits = resources.get("limits") or {}
    rate = "idle" if resources.get("cpu_idle") else "always"
    second = Decimal(PRICES[f"cloud_run_{rate}_vcpu_second"]) * _cpu(str(limits.get("cpu", "1")))
    second += Decimal(PRICES[f"cloud_run_{rate}_gib_second"]) * _gib(str(limits.get("memory", "512Mi")))
    return (second * instances * _SECONDS_A_MONTH).quantize(_CENT)


def _first(block: Any) -> Mapping[str, Any]:
    """A block's values: plans list a block even where there is only one."""
    found = block[0] if isinstance(block, list) and block else block
    return found if isinstance(found, dict) else {}


def _cpu(text: str) -> Decimal:
    return Decimal(text.removesuffix("m")) / 1000 if text.endswith("m") else Decimal(text)


def _gib(text: str) -> Decimal:
    match = _MEMORY.fullmatch(text)
    if match is None:
        return Decimal(0)
    return Decimal(match[1]) / (1024 if match[2] == "Mi" else 1)
