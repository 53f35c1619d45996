"""Who may do what where, read from a plan: the rows of the tables in docs/security.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.terraform.planned import Resource, references, resources

Row = tuple[str, str, str]
"""Identity, role, resource."""

_SINKS = {"sink_writer", "archive_writer"}


def rows(plan: Mapping[str, Any]) -> set[Row]:
    """Every grant of the plan."""
    refers = references(plan)
    return {
        (_identity(grant, refers), _role(grant, refers), _place(grant))
        for grant in resources(plan)
        if grant.is_grant
    }


def _without_keys(address: str) -> str:
    return re.sub(r"\[[^\]]*\]", "", address)


def _identity(grant: Resource, refers: Mapping[str, Mapping[str, list[str]]]) -> str:
    declared = _without_keys(grant.address)
    key = re.findall(r'\["([^"]*)"\]$', grant.address)
    if declared.rsplit(".", 1)[1] in _SINKS:
        return "Cloud Logging"
    if declared.endswith("google_kms_crypto_key_iam_member.user"):
        return f"Google's agent of {key[0]}"
    for reference in refers[declared].get("member", []):
        account = re.match(r"google_service_account\.(\w+)", reference)
        if account:
            return str(account[1])
    if declared.endswith("grafana_impersonator"):
        return "whom options.grafana lists"
    if declared.endswith("google_service_account_iam_member.workflow"):
        return f"workflows in the pool tallygate-{key[0]}"
    if declared.startswith("google_") and key:
        return "whom artifact_readers lists"
    if "module.proxy" in declared:
        return "whom exposure.invokers lists"
    return str(key[0]).partition("/")[0]


def _role(grant: Resource, refers: Mapping[str, Mapping[str, list[str]]]) -> str:
    role = grant.values.get("role")
    if role:
        return str(role).removeprefix("roles/")
    custom = refers[_without_keys(grant.address)]["role"][0].split(".")[1]
    return f"custom role {custom}"


def _place(grant: Resource) -> str:
    values = grant.values
    expression = grant.block("condition").get("expression")
    if expression:
        if "modifiedGrantsByRole" in expression:
            return "project, roles in use only"
        found = re.search(r"/(secrets|databases|buckets)/([a-z0-9-]+)", str(expression))
        assert found is not None, expression
        return f"{found[1].removesuffix('s')} {_without_project(found[2])}"
    if values.get("table_id"):
        return f"table {values['dataset_id']}.{values['table_id']}"
    if values.get("dataset_id"):
        return f"dataset {values['dataset_id']}"
    kind = grant.type.removeprefix("google_").removesuffix("_iam_member")
    if kind == "storage_bucket":
        return f"bucket {_without_project(str(values['bucket']))}"
    if kind == "cloud_run_v2_service":
        return f"service {values['name']}"
    if kind == "artifact_registry_repository":
        return (
            "repository tallygate-functions" if "module.stack." in grant.address else "repository tallygate"
        )
    if kind == "kms_crypto_key":
        return "key tallygate-data"
    if kind == "service_account":
        name = re.findall(r'\["(planner|applier)"\]$', grant.address)
        return f"service account tallygate-{name[0] if name else 'grafana'}"
    return "project"


def _without_project(name: str) -> str:
    """Names of buckets begin with the project's id."""
    return re.sub(r"^example-tallygate-[a-z]+-", "", name)
