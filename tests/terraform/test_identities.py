"""The tables in docs/security.md and the plans name the same rights."""

from __future__ import annotations

import re
from typing import Final

from tests.terraform.conftest import REPOSITORY, Plans
from tests.terraform.identities import Row, rows
from tests.terraform.planned import resources
from tests.terraform.policy import PUBLIC_SERVICES, RUN
from tests.terraform.variants import plan_of

PAGE: Final = REPOSITORY / "docs" / "security.md"
BOTH: Final = "docs/security.md and the plan of {} differ: {}"


def table(heading: str, number: int = 0) -> set[Row]:
    """The rows of one table of identities under a heading."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    found = text.split("| identity | role | resource | why |\n|---|---|---|---|\n")[1 + number]
    body = re.match(r"(?:\|.*\n)*", found)
    assert body is not None
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in body[0].splitlines()]
    assert all(len(line) == 4 and line[3] for line in lines), "every row says why"
    return {(line[0], line[1], line[2]) for line in lines}


def test_an_environment_grants_what_the_page_says(plans: Plans) -> None:
    planned, written = rows(plan_of(plans, "prod")), table("Identities of an environment")

    assert planned == written, BOTH.format("prod", sorted(planned ^ written))


def test_options_and_private_exposure_grant_what_the_page_says_beside(plans: Plans) -> None:
    everything = rows(plan_of(plans, "prod, everything")) | rows(plan_of(plans, "prod, private"))
    planned = everything - rows(plan_of(plans, "prod"))
    written = table("Identities of an environment", 1)

    assert planned == written, BOTH.format("prod with options", sorted(planned ^ written))


def test_the_pipeline_is_granted_what_the_page_says(plans: Plans) -> None:
    planned, written = rows(plan_of(plans, "bootstrap")), table("Identities of the pipeline")

    assert planned == written, BOTH.format("bootstrap", sorted(planned ^ written))


def test_the_applier_may_grant_the_roles_in_use_and_no_others(plans: Plans) -> None:
    text = (REPOSITORY / "terraform/bootstrap/applier.tf").read_text()
    block = re.search(r"granted_roles = \[(.*?)\]", text, re.DOTALL)
    assert block is not None
    allowed = set(re.findall(r'"(roles/[^"]+)"', block[1]))
    used = {
        str(grant.values["role"])
        for variant in ("prod", "prod, everything", "prod, private")
        for grant in resources(plan_of(plans, variant))
        if grant.type == "google_project_iam_member"
    }

    assert allowed == used, "terraform/bootstrap/applier.tf and modules/stack name different roles"


def test_no_runtime_identity_has_a_right_in_the_whole_project_but_these(plans: Plans) -> None:
    whole = {(who, role) for who, role, where in rows(plan_of(plans, "prod")) if where == "project"}

    assert {role for _, role in whole} == {"bigquery.jobUser"}


def test_the_page_gives_a_reason_for_every_public_service(plans: Plans) -> None:
    text = PAGE.read_text()
    unchecked = {
        str(service.values["name"])
        for variant in ("prod", "prod, private")
        for service in resources(plan_of(plans, variant))
        if service.type == RUN and service.values["invoker_iam_disabled"]
    }

    assert unchecked == {"tallygate-proxy", "tallygate-stripe-webhook"}
    assert all(any(re.fullmatch(pattern, name) for pattern in PUBLIC_SERVICES) for name in unchecked)
    assert "| proxy | through the load balancer alone; IAM's check off" in text
    assert "| Stripe webhook | through the load balancer alone |" in text
