"""Plans pass the constraints that organisations commonly set, one test each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.terraform.conftest import Plans
from tests.terraform.planned import Resource, resources
from tests.terraform.policy import RUN
from tests.terraform.variants import VARIANTS, plan_of

IN_EUROPE: Final = re.compile(r"(?i)(eu|europe|eur3|europe-[a-z]+[0-9]+)")
PLACE_NAMES: Final = ("location", "location_id", "region")


@pytest.mark.parametrize("variant", VARIANTS)
def test_allowed_policy_member_domains(plans: Plans, variant: str) -> None:
    """iam.allowedPolicyMemberDomains: nobody from outside, so nobody who is everybody."""
    members = [member for grant in resources(plan_of(plans, variant)) for member in grant.members()]

    assert [member for member in members if member in ("allUsers", "allAuthenticatedUsers")] == []


def test_allowed_ingress(plans: Plans) -> None:
    """run.allowedIngress = internal-and-cloud-load-balancing: a public gateway needs no exception."""
    services = [made for made in resources(plan_of(plans, "prod, everything")) if made.type == RUN]

    assert len(services) >= 6
    assert {service.values["ingress"] for service in services} == {
        "INGRESS_TRAFFIC_INTERNAL_ONLY",
        "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
    }


def test_allowed_ingress_with_private_exposure(plans: Plans) -> None:
    """A private gateway has two open services, which docs/security.md says need an exception there."""
    services = [made for made in resources(plan_of(plans, "prod, private")) if made.type == RUN]
    opened = {s.values["name"] for s in services if s.values["ingress"] == "INGRESS_TRAFFIC_ALL"}

    assert opened == {"tallygate-proxy", "tallygate-stripe-webhook"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resource_locations(plans: Plans, variant: str) -> None:
    """gcp.resourceLocations = in:eu-locations: every place that is written is in Europe."""
    places = list(_places(resources(plan_of(plans, variant))))

    assert len(places) > 3
    assert [(address, place) for address, place in places if not IN_EUROPE.fullmatch(place)] == []


def _places(planned: list[Resource]) -> Iterator[tuple[str, str]]:
    for resource in planned:
        for name in PLACE_NAMES:
            if isinstance(place := resource.values.get(name), str):
                yield resource.address, place


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_automatic_grants_to_default_service_accounts(plans: Plans, variant: str) -> None:
    """iam.automaticIamGrantsForDefaultServiceAccounts: nothing runs or builds as a default account."""
    planned = resources(plan_of(plans, variant))
    text = repr([resource.values for resource in planned])

    assert "-compute@developer" not in text
    assert "@cloudbuild.gserviceaccount.com" not in text
    for service in (made for made in planned if made.type == RUN and made.values.get("build_config")):
        # Known after apply, because the account is made in the same plan; None would be the default account.
        assert service.block("build_config").get("service_account", "made here") is not None, service.address


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_service_account_keys(plans: Plans, variant: str) -> None:
    """iam.disableServiceAccountKeyCreation."""
    kinds = {resource.type for resource in resources(plan_of(plans, variant))}

    assert not kinds & {"google_service_account_key", "google_storage_hmac_key"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_uniform_and_private_buckets(plans: Plans, variant: str) -> None:
    """storage.uniformBucketLevelAccess and storage.publicAccessPrevention."""
    for bucket in resources(plan_of(plans, variant)):
        if bucket.type == "google_storage_bucket":
            assert bucket.values["uniform_bucket_level_access"] is True
            assert bucket.values["public_access_prevention"] == "enforced"


def test_customer_managed_keys(plans: Plans) -> None:
    """gcp.restrictNonCmekServices for BigQuery, Firestore, Logging and Storage, with the option on."""
    needed = {
        "google_bigquery_dataset": "default_encryption_configuration",
        "google_bigquery_table": "encryption_configuration",
        "google_firestore_database": "cmek_config",
        "google_logging_project_bucket_config": "cmek_settings",
        "google_storage_bucket": "encryption",
    }
    found: dict[str, list[Any]] = {}
    for resource in resources(plan_of(plans, "prod, everything")):
        if resource.type in needed and not resource.values.get("view"):
            found.setdefault(resource.type, []).append(resource.values.get(needed[resource.type]))

    assert found.keys() == needed.keys()
    assert all(block for blocks in found.values() for block in blocks)
