"""docs/costs.md says what the plans cost, and an idle gateway costs little."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import pytest

from delivery.cost_page import (
    Item,
    UnpricedError,
    announced_items,
    choices,
    request_items,
    sources_table,
    standing_items,
    table,
    total,
)
from tests.terraform.conftest import MODULES, REPOSITORY, Plans
from tests.terraform.planned import resources
from tests.terraform.variants import PRIVATE, VARIANTS, plan_of

PAGE: Final = REPOSITORY / "docs" / "costs.md"
PROFILES: Final[dict[str, Any]] = json.loads((MODULES / "proxy-service/profiles.json").read_text())


def priced(plan: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((resource.type, resource.values) for resource in resources(plan))


def private(plans: Plans) -> dict[str, Any]:
    """Development with private exposure."""
    return plans.of("dev", **PRIVATE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_type_has_a_price(plans: Plans, variant: str) -> None:
    assert total(standing_items(priced(plan_of(plans, variant)))) >= 0


def test_a_type_without_a_price_is_named() -> None:
    with pytest.raises(UnpricedError, match="google_sql_database_instance"):
        standing_items([("google_sql_database_instance", {})])


def test_the_idle_private_profile_costs_at_most_5_dollars(plans: Plans) -> None:
    items = standing_items(priced(private(plans)))

    assert total(items) <= 5, items
    by_the_hour = ("compute_global_forwarding_rule", "cloud_run_v2_service", "router_nat", "compute_address")
    assert [item for item in items if item.what.endswith(by_the_hour)] == []


def test_the_idle_public_profile_costs_at_most_35_dollars(plans: Plans) -> None:
    items = standing_items(priced(plan_of(plans, "dev")))

    assert total(items) <= 35, items


def test_the_page_says_what_the_plans_cost(plans: Plans) -> None:
    month, million = "USD a month", "USD"
    requests = "\n\n".join(
        f"Profile {name}:\n\n{table(request_items(profile, public=True), million)}"
        for name, profile in PROFILES.items()
    )
    expected = {
        "idle private": table(standing_items(priced(private(plans))), month),
        "idle public": table(standing_items(priced(plan_of(plans, "dev"))), month),
        "idle production": table(standing_items(priced(plan_of(plans, "prod"))), month),
        "announced": choices(announced_items(priced(plan_of(plans, "prod"))), month),
        "sources": sources_table(),
        "bootstrap": table(standing_items(priced(plan_of(plans, "bootstrap"))), month),
        "requests": requests,
    }
    page = PAGE.read_text()

    for name, text in expected.items():
        page = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{text}\n\g<2>", page, flags=re.DOTALL)

    assert PAGE.read_text() == page, f"docs/costs.md should read:\n{page}"


def test_a_request_costs_more_where_it_shares_an_instance_with_fewer() -> None:
    def usd(concurrency: int) -> Decimal:
        profile = {"concurrency": concurrency, "cpu": "2", "memory": "2Gi"}
        items: list[Item] = request_items(profile, public=False)
        return total(items)

    assert usd(40) > usd(80)
