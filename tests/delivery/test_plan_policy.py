"""What a plan may do, what it costs, and what reviewers read of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.costs import standing_cost
from delivery.environments import ORDER, REPOSITORY
from delivery.plan_comment import MAX_CHARACTERS, render
from delivery.plan_policy import DELETE_LABEL, changes, refusals
from delivery.planning import drift_report
from tests.delivery.plans import entry, plan

TABLE = "module.stack.module.usage_warehouse.google_bigquery_table.meter_deltas"
SERVICE = "module.stack.google_cloud_run_v2_service.main"
GRANT = "module.stack.google_project_iam_member.proxy"


def reasons(content: dict[str, Any], environment: str, *labels: str) -> list[str]:
    return [refusal.reason for refusal in refusals(content, environment, labels)]


@pytest.mark.parametrize(
    "actions", [("delete",), ("delete", "create"), ("create", "delete"), ("forget",), ("create", "forget")]
)
def test_what_destroys_in_prod_needs_the_label(actions: tuple[str, ...]) -> None:
    content = plan(entry(TABLE, *actions, before={"table_id": "meter_deltas"}))

    (reason,) = reasons(content, "prod")

    assert "holds money or evidence" in reason
    assert f"label the pull request {DELETE_LABEL}" in reason
    assert "moved block" in reason
    assert reasons(content, "prod", DELETE_LABEL) == []
    assert reasons(content, "prod", "another-label") != []
    assert reasons(content, "dev") == reasons(content, "staging") == []


@pytest.mark.parametrize("actions", [("create",), ("update",), ("no-op",), ("read",)])
def test_what_destroys_nothing_needs_no_label(actions: tuple[str, ...]) -> None:
    assert reasons(plan(entry(TABLE, *actions, after={"table_id": "x"})), "prod") == []


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ({"role": "roles/run.invoker", "member": "allUsers"}, "grants a right to anybody"),
        ({"role": "roles/run.invoker", "members": ["allAuthenticatedUsers"]}, "grants a right to anybody"),
        ({"role": "roles/editor", "member": "user:a@example.com"}, "far more than any part needs"),
        ({"role": "roles/logging.logWriter", "member": "serviceAccount:x"}, "forge usage lines"),
    ],
)
@pytest.mark.parametrize("environment", ORDER)
def test_grants_that_no_environment_may_make(environment: str, after: dict[str, Any], reason: str) -> None:
    (found,) = reasons(plan(entry(GRANT, "create", after=after)), environment, DELETE_LABEL)

    assert reason in found


def test_taking_a_wrong_grant_away_is_allowed() -> None:
    content = plan(entry(GRANT, "delete", before={"role": "roles/editor", "member": "allUsers"}))

    assert reasons(content, "dev") == []


def test_a_plan_that_ended_with_an_error_or_a_failed_check_is_refused() -> None:
    failed = {"address": {"to_display": "check.health"}, "status": "fail"}
    passed = {"address": {"to_display": "check.other"}, "status": "pass"}

    assert len(reasons(plan(errored=True), "dev")) == 1
    assert [refusal.address for refusal in refusals(plan(checks=[failed, passed]), "dev", ())] == [
        "check.health"
    ]


_ACTIONS = st.sampled_from(
    [
        ["create"],
        ["update"],
        ["delete"],
        ["no-op"],
        ["read"],
        ["delete", "create"],
        ["create", "delete"],
        ["forget"],
    ]
)


@given(st.lists(_ACTIONS, max_size=8), st.sampled_from(ORDER), st.booleans())
def test_prod_refuses_exactly_what_destroys_without_the_label(
    actions: list[list[str]], environment: str, labelled: bool
) -> None:
    content = plan(*(entry(f"google_storage_bucket.b{n}", *names) for n, names in enumerate(actions)))
    destroying = {
        f"google_storage_bucket.b{n}" for n, names in enumerate(actions) if {"delete", "forget"} & set(names)
    }

    found = {
        refusal.address for refusal in refusals(content, environment, [DELETE_LABEL] if labelled else [])
    }

    assert found == (destroying if environment == "prod" and not labelled else set())


# --- the comment -----------------------------------------------------------------------------------------


def test_the_comment_says_what_is_refused_what_is_destroyed_and_names_no_value() -> None:
    content = plan(
        entry(TABLE, "delete", before={"table_id": "meter_deltas"}),
        entry(SERVICE, "update", before={"env": "old-secret"}, after={"env": "new-secret"}),
        entry("google_storage_bucket.a", "create", after={"name": "a"}),
        entry("google_storage_bucket.b", "no-op", after={"name": "b"}),
    )

    text = render(content, "prod", ())

    assert text.startswith("### prod: 1 to create, 1 to update, 1 to delete\n")
    assert "**This plan will not be applied:**" in text
    assert f"- delete `{TABLE}`" in text
    assert f"- update `{SERVICE}`: `env`" in text
    assert "secret" not in text
    assert "google_storage_bucket.b" not in text


def test_an_empty_plan_says_so() -> None:
    assert render(plan(), "dev", ()).startswith("### dev: no changes\n\nIt may be applied.")


def test_a_name_cannot_become_markdown() -> None:
    content = plan(
        entry('google_storage_bucket.a["`@team` [x](https://example.com)\n# y"]', "delete", before={})
    )

    text = render(content, "dev", ())

    assert "`@team`" not in text
    assert "\n# y" not in text


def test_a_long_comment_is_shortened_to_what_can_be_posted() -> None:
    content = plan(*(entry(f"google_storage_bucket.{'x' * 60}{n}", "delete", before={}) for n in range(2000)))

    text = render(content, "prod", ())

    assert len(text) <= MAX_CHARACTERS + 100
    assert "shortened" in text


# --- what it costs ------------------------------------------------------------------------------------------


def service(instances: int, *, idle: bool, cpu: str = "2", memory: str = "2Gi") -> dict[str, Any]:
    resources = {"limits": {"cpu": cpu, "memory": memory}, "cpu_idle": idle}
    return {
        "template": [
            {"scaling": [{"min_instance_count": instances}], "containers": [{"resources": [resources]}]}
        ]
    }


@pytest.mark.parametrize(
    ("values", "monthly"),
    [
        (service(0, idle=True), "0.00"),
        (service(1, idle=True), "26.28"),  # (2 + 2) × 0.0000025 × 2,628,000 s
        (service(3, idle=False), "315.36"),  # 3 × (2 × 0.000018 + 2 × 0.000002) × 2,628,000 s
        (service(1, idle=True, cpu="500m", memory="512Mi"), "6.57"),
    ],
)
def test_standing_instances_cost_what_the_list_says(values: dict[str, Any], monthly: str) -> None:
    assert standing_cost("google_cloud_run_v2_service", values) == Decimal(monthly)


def test_the_comment_shows_the_difference_not_the_sum() -> None:
    change = entry(
        "google_cloud_run_v2_service.main",
        "update",
        before=service(1, idle=True),
        after=service(2, idle=True),
    )
    rule = entry("google_compute_global_forwarding_rule.https", "delete", before={"name": "https"})

    assert "+$26.28 a month" in render(plan(change), "dev", ())
    assert "+$8.03 a month" in render(plan(change, rule), "dev", ())
    assert "−$18.25 a month" in render(plan(rule), "dev", ())
    assert "no difference" in render(plan(), "dev", ())


def test_every_priced_type_exists_at_the_provider() -> None:
    import gzip

    path = REPOSITORY / "tests" / "terraform" / "schemas" / "google-8.0.0.json.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    prices = json.loads((REPOSITORY / "delivery" / "list_prices.json").read_text())

    unknown = [kind for kind in prices["monthly"] if f'"{kind}"' not in text]

    assert unknown == [], f"delivery/list_prices.json names types that {path} lacks"


# --- drift --------------------------------------------------------------------------------------------------


def test_no_change_is_no_drift() -> None:
    assert drift_report(plan(entry(SERVICE, "no-op", before={"a": 1}, after={"a": 1})), "prod") is None


def test_drift_names_what_was_changed_outside() -> None:
    outside = entry(SERVICE, "update", before={"ingress": "INTERNAL"}, after={"ingress": "ALL"})
    back = entry(SERVICE, "update", before={"ingress": "ALL"}, after={"ingress": "INTERNAL"})

    report = drift_report(plan(back, resource_drift=[outside]), "prod")

    assert report is not None
    assert "Changed outside Terraform:\n\n" + f"- `{SERVICE}`: ingress" in report


def test_changes_are_listed_by_address() -> None:
    content = plan(entry("google_storage_bucket.b", "create"), entry("google_storage_bucket.a", "create"))

    assert [change.address for change in changes(content)] == [
        "google_storage_bucket.a",
        "google_storage_bucket.b",
    ]
