"""Every plan keeps every rule, and every rule is broken by its fixture."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.conftest import Plans, Terraform, Workspace
from tests.terraform.planned import Resource, resources
from tests.terraform.policy import RULES
from tests.terraform.variants import VARIANTS, plan_of

FIXTURES = Path(__file__).parent / "must_fail"
ONLY_FOR_PRODUCTION = {"production_is_protected"}
WITHOUT_A_FIXTURE = {
    # The real provider refuses these by itself, so that a fixture can't be planned with it.
    "an_account_id_has_6_to_30_characters": Resource("a", "google_service_account", {"account_id": "short"}),
    "a_member_says_what_it_is": Resource("a", "google_project_iam_member", {"member": "team@example.com"}),
}


@pytest.fixture(scope="module")
def broken(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """What the fixtures plan."""
    folder = tmp_path_factory.mktemp("must-fail")
    shutil.copytree(FIXTURES, folder, dirs_exist_ok=True)
    workspace = Workspace(folder, terraform.environment)
    done = workspace.run("init", "-no-color", "-input=false", *terraform.init)
    assert done.code == 0, done.output
    return resources(workspace.plan())


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_plan_keeps_the_rule(plans: Plans, variant: str, rule: str) -> None:
    if rule in ONLY_FOR_PRODUCTION and variant in ("dev", "staging"):
        return

    assert list(RULES[rule](resources(plan_of(plans, variant)))) == []


@pytest.mark.parametrize("rule", sorted(set(RULES) - set(WITHOUT_A_FIXTURE)))
def test_a_rule_refuses_each_resource_of_its_fixture_and_no_other(broken: list[Resource], rule: str) -> None:
    text = (FIXTURES / f"{rule}.tf").read_text()
    expected = {
        f"{kind}.{name}" for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE)
    }

    assert {address for address, _ in RULES[rule](broken)} == expected


@pytest.mark.parametrize(("rule", "resource"), WITHOUT_A_FIXTURE.items())
def test_a_rule_without_a_fixture_refuses_an_example(rule: str, resource: Any) -> None:
    assert [address for address, _ in RULES[rule]([resource])] == ["a"]


def test_every_rule_has_a_fixture_and_every_fixture_a_rule() -> None:
    fixtures = {path.stem for path in FIXTURES.glob("*.tf")} - {"versions"}

    assert fixtures == set(RULES) - set(WITHOUT_A_FIXTURE)
