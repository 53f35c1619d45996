"""What a plan gives reaches its tenants with the next run of the sync, without a word from Stripe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tallygate.plans import Plan, Quotas
from tallygate.subscriptions.plan_changes import follow_plans
from tallygate.tenants import Tenant, get_tenant, put_tenant
from tests.support.memory_database import MemoryDatabase
from tests.tallygate.subscriptions.shop import Shop

SMALL = Plan("small", "none", 100, None, {}, ("one",), Quotas(10, 100, 1), 1000)
PLANS = {"small": SMALL}


def always() -> bool:
    return True


def follow(
    database: MemoryDatabase, plans: Mapping[str, Plan], go_on: Callable[[], bool] = always, **how: bool
) -> int:
    return follow_plans(database, plans, go_on, **{"thoroughly": False, **how})


def tenant(database: MemoryDatabase, tenant_id: str, **changes: Any) -> Tenant:
    fields: dict[str, Any] = {
        "tenant_id": tenant_id, "status": "active", "grace_until": None, "plan": "small", "models": ("one",),
        "rpm": 10, "tpm": 100, "max_parallel": 1, "monthly_budget_nano_usd": 1000, "stripe_customer": None,
    } | changes  # fmt: skip
    made = Tenant(**fields)
    put_tenant(database, made)
    return made


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


def test_a_changed_plan_changes_its_tenants_and_nothing_else_of_them(database: MemoryDatabase) -> None:
    before = tenant(database, "acme", operator_status="suspended", status="suspended", seats=4)
    other = tenant(database, "other", plan="gone")
    bigger = replace(SMALL, models=("one", "two"), quotas=Quotas(20, 200, 2), monthly_budget_nano_usd=None)

    assert follow(database, {"small": bigger}) == 1

    expected = replace(
        before, models=("one", "two"), rpm=20, tpm=200, max_parallel=2, monthly_budget_nano_usd=None
    )
    assert get_tenant(database, "acme") == expected
    assert get_tenant(database, "other") == other


def test_tenants_are_looked_at_when_the_plans_changed_and_now_and_then(database: MemoryDatabase) -> None:
    tenant(database, "acme")
    assert follow(database, PLANS) == 0
    stale = tenant(database, "acme", models=("old",))  # as an instance of the last release writes it

    assert follow(database, PLANS) == 0
    assert get_tenant(database, "acme") == stale
    assert follow(database, PLANS, thoroughly=True) == 1
    assert follow(database, PLANS, thoroughly=True) == 0


def test_what_a_run_leaves_the_next_one_does(database: MemoryDatabase) -> None:
    for number in range(3):
        tenant(database, f"tenant-{number}", models=())
    turns = iter([True, False])

    assert follow(database, PLANS, lambda: next(turns)) == 1
    assert follow(database, PLANS) == 2
    assert follow(database, PLANS) == 0


def test_a_new_model_of_a_class_is_served_after_the_next_run(shop: Shop) -> None:
    """No event, no call to Stripe, no drift: only the catalogue was another when the function started."""
    shop.subscribe(plan="team")
    team = shop.plans.plans["team"]
    grown = {**shop.plans.plans, "team": replace(team, models=(*team.models, "new-model"))}
    shop.job = replace(shop.job, plans=replace(shop.plans, plans=grown))
    shop.stage.stripe.arm("outage")

    run = shop.sync()

    assert run.replanned == 1
    assert "new-model" in shop.now().models
    assert shop.sync().replanned == 0
