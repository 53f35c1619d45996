"""Whether a plan may be applied: rules on the plan as data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

GUARDED: Final = frozenset({"prod"})
"""Environments where what is destroyed must have been meant."""
DELETE_LABEL: Final = "prod-delete"
"""On a pull request: what its plan deletes or replaces there is meant."""
HOLDS_EVIDENCE: Final = frozenset(
    {
        "google_bigquery_dataset",
        "google_bigquery_table",
        "google_firestore_database",
        "google_kms_crypto_key",
        "google_logging_project_bucket_config",
        "google_secret_manager_secret",
        "google_storage_bucket",
    }
)
"""Types of which each holds money, evidence or what opens them."""
_ANYBODY: Final = frozenset({"allUsers", "allAuthenticatedUsers"})
_BASIC_ROLES: Final = frozenset({"roles/owner", "roles/editor"})
_FORGES_USAGE: Final = "roles/logging.logWriter"
_DESTROYING: Final = frozenset({"delete", "forget"})
_IDLE: Final = frozenset({"no-op", "read"})


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan does to one resource."""

    address: str
    type: str
    actions: tuple[str, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def destroys(self) -> bool:
        """Whether something that is there will be gone, replaced things too."""
        return bool(_DESTROYING & set(self.actions))

    @property
    def kind(self) -> str:
        """One word for it."""
        if self.destroys:
            return "replace" if "create" in self.actions else self.actions[0]
        return self.actions[0]

    def changed_names(self) -> list[str]:
        """Names of the top-level arguments that change: never their values."""
        names = set(self.before) | set(self.after)
        return sorted(name for name in names if self.before.get(name) != self.after.get(name))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a plan may not be applied, and what to do."""

    address: str
    reason: str


def changes(plan: Mapping[str, Any]) -> list[Change]:
    """What a plan changes, by address; what it only reads or leaves alone is left out."""
    found = [
        Change(
            entry["address"],
            entry["type"],
            tuple(entry["change"]["actions"]),
            entry["change"].get("before") or {},
            entry["change"].get("after") or {},
        )
        for entry in plan.get("resource_changes", [])
    ]
    return sorted((change for change in found if not _IDLE.issuperset(change.actions)), key=_address)


def refusals(plan: Mapping[str, Any], environment: str, labels: Collection[str]) -> list[Refusal]:
    """Everything that forbids applying a plan in an environment, given the labels of its pull request."""
    found = list(_whole(plan))
    for change in changes(plan):
        if change.destroys and environment in GUARDED and DELETE_LABEL not in labels:
            evidence = ", which holds money or evidence," if change.type in HOLDS_EVIDENCE else ""
            found.append(
                Refusal(
                    change.address,
                    f"the plan would {change.kind} it{evidence} in {environment}: if that is meant, label "
                    f"the pull request {DELETE_LABEL}; if it was renamed, write a moved block",
                )
            )
        if change.after:
            found += [Refusal(change.address, reason) for reason in _grants(change)]
    return found


def _whole(plan: Mapping[str, Any]) -> Iterator[Refusal]:
    if plan.get("errored"):
        yield Refusal("plan", "Terraform ended the plan with an error: repair that and plan again")
    failed = [
        check["address"]["to_display"]
        for check in plan.get("checks", [])
        if check.get("status") in ("fail", "error")
    ]
    for address in failed:
        yield Refusal(address, "its check fails: the plan says why")


def _grants(change: Change) -> Iterator[str]:
    if "_iam_" not in change.type:
        return
    role = str(change.after.get("role", ""))
    members = {str(change.after.get("member", "")), *map(str, change.after.get("members") or [])}
    if members & _ANYBODY:
        yield "it grants a right to anybody: name who needs it; a public service needs no grant"
    if role in _BASIC_ROLES:
        yield f"{role} is far more than any part needs: grant the narrowest role on the narrowest resource"
    if role == _FORGES_USAGE:
        yield f"{role} lets its holder forge usage lines: Cloud Run collects standard output without it"


def _address(change: Change) -> str:
    return change.address
