"""Gives tenants what their plans give since the plans changed: models, quotas, budget. Stripe is not asked.

A tenant's document holds what its plan gave when the tenant was last followed. A new model or quota must not
wait for its next event, so a run of the sync compares the plans in use with those that tenants were given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Final

from tallygate.appdb import Database
from tallygate.plans import Plan
from tallygate.tenants import RecordError, Tenant, change_tenant, tenant_from

_WATERMARK: Final = "plans"


def as_plan_gives(tenant: Tenant, plan: Plan) -> Tenant:
    """The tenant with what a plan gives."""
    return replace(
        tenant,
        plan=plan.name,
        models=plan.models,
        rpm=plan.quotas.rpm,
        tpm=plan.quotas.tpm,
        max_parallel=plan.quotas.max_parallel,
        monthly_budget_nano_usd=plan.monthly_budget_nano_usd,
    )


def follow_plans(
    database: Database, plans: Mapping[str, Plan], go_on: Callable[[], bool], *, thoroughly: bool
) -> int:
    """Give every tenant what its plan gives; how many had something else.

    Nothing is looked at while the plans are those of the last time, unless ``thoroughly``: an instance of an
    older release may have written since. ``go_on``: asked before each change; False leaves the rest to the
    next run.

    Raises:
        DatabaseUnavailableError: when the store can't be reached.
    """
    fingerprint = _fingerprint(plans)
    mark = database.get("watermarks", _WATERMARK)
    if not thoroughly and mark is not None and mark["fingerprint"] == fingerprint:
        return 0
    given = 0
    for tenant_id, document in database.query("tenants"):
        try:
            tenant = tenant_from(document)
        except RecordError:
            continue  # told by whatever follows it
        plan = plans.get(tenant.plan)
        if plan is not None and as_plan_gives(tenant, plan) != tenant:
            if not go_on():
                return given
            change_tenant(database, tenant_id, lambda current: _given(current, plans))
            given += 1
    database.put("watermarks", _WATERMARK, {"fingerprint": fingerprint})
    return given


def _given(tenant: Tenant, plans: Mapping[str, Plan]) -> Tenant:
    """By the plan that the tenant has in the transaction, which may be another by now."""
    plan = plans.get(tenant.plan)
    return tenant if plan is None else as_plan_gives(tenant, plan)


def _fingerprint(plans: Mapping[str, Plan]) -> str:
    given = {
        name: [plan.models, asdict(plan.quotas), plan.monthly_budget_nano_usd] for name, plan in plans.items()
    }
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
