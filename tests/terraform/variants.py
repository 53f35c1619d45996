"""The plans that rules are held to: what is committed, and what else can be asked for."""

from __future__ import annotations

from typing import Any, Final

from tests.terraform.conftest import Plans

PRIVATE: Final[dict[str, Any]] = {
    "exposure": {"mode": "private", "invokers": {"team": "group:team@example.com"}},
    "domains": {},
}
EVERYTHING: Final[dict[str, Any]] = {
    "places": {
        "primary_region": "europe-west1",
        "regions": {
            "europe-west1": {"egress_range": "10.8.0.0/26"},
            "europe-west4": {"egress_range": "10.8.0.64/26"},
        },
        "data_location": "EU",
    },
    "domains": {"hosts": ["llm.example.com"], "dns_zone": "llm.example.com."},
    "dedicated_services": {"acme": {"hosts": ["acme.llm.example.com"]}},
    "options": {
        "budget": {"billing_account": "000000-000000-000000", "monthly_usd": 100},
        "cloudevents": {"url": "https://usage.example.com/api/v1/events"},
        "customer_managed_key": {},
        "grafana": {"impersonators": {"grafana": "group:grafana@example.com"}},
        "vertex_ai": {"location": "europe-west4"},
    },
}
VARIANTS: Final = ("prod", "prod, private", "prod, everything", "dev", "staging", "bootstrap")


def plan_of(plans: Plans, variant: str) -> dict[str, Any]:
    """The plan of a variant."""
    if variant == "bootstrap":
        return plans.of("bootstrap", values="staging.tfvars")
    environment, _, what = variant.partition(", ")
    return plans.of(environment, **{"": {}, "private": PRIVATE, "everything": EVERYTHING}[what])
