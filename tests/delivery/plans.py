"""Plans as ``terraform show -json`` writes them, as far as the rules read them."""

from __future__ import annotations

from typing import Any


def entry(
    address: str, *actions: str, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One planned resource: its address, Terraform's actions, its values."""
    kind = address.rpartition("module.")[2].split(".")[-2]
    return {
        "address": address,
        "type": kind,
        "change": {"actions": list(actions), "before": before, "after": after},
    }


def plan(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A whole plan."""
    return {"format_version": "1.2", "resource_changes": list(entries), **more}
