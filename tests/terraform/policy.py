"""What must hold for every plan: rules of this project, and rules of Google that no schema knows.

Each rule takes what is planned and says, by address, what is wrong and what to do. A value that is to be
checked must be written: what a provider would fill in does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tests.terraform.conftest import MODULES
from tests.terraform.planned import Resource

Problem = tuple[str, str]
"""Address and what is wrong."""
Rule = Callable[[Sequence[Resource]], Iterator[Problem]]

RUN: Final = "google_cloud_run_v2_service"
PUBLIC_SERVICES: Final = {
    r"tallygate-proxy(-[a-z0-9-]+)?": "tenants present keys, which the proxy checks on every request",
    r"tallygate-stripe-webhook": "Stripe signs what it sends, and the function checks the signature",
}
"""Services that may be called without IAM's check, with the reason: the same as in docs/security.md."""
WITH_LOG_ENTRIES_CREATE: Final = frozenset(
    {
        "roles/cloudbuild.builds.builder",
        "roles/cloudfunctions.serviceAgent",
        "roles/container.nodeServiceAccount",
        "roles/editor",
        "roles/logging.admin",
        "roles/logging.logWriter",
        "roles/owner",
        "roles/run.builder",
    }
)
"""Ready-made roles that hold logging.logEntries.create: whoever has one can forge usage lines."""
BASIC_ROLES: Final = ("roles/owner", "roles/editor", "roles/viewer")
PLACES: Final[dict[str, list[str]]] = json.loads((MODULES / "app-database/places.json").read_text())

_PROTECTION: Final[dict[str, dict[str, Any]]] = {
    "google_bigquery_dataset": {"delete_contents_on_destroy": False},
    "google_bigquery_table": {"deletion_protection": True},
    RUN: {"deletion_protection": True},
    "google_firestore_database": {"delete_protection_state": "DELETE_PROTECTION_ENABLED"},
    "google_secret_manager_secret": {"deletion_protection": True},
    "google_storage_bucket": {"force_destroy": False},
}

RULES: Final[dict[str, Rule]] = {}


def rule(check: Rule) -> Rule:
    """Register a rule under its name."""
    RULES[check.__name__] = check
    return check


def of(planned: Sequence[Resource], *types: str) -> Iterator[Resource]:
    """The resources of these types."""
    return (resource for resource in planned if resource.type in types)


# --- rules of this project ---


@rule
def nobody_is_everybody(planned: Sequence[Resource]) -> Iterator[Problem]:
    for resource in planned:
        if resource.is_grant and {"allUsers", "allAuthenticatedUsers"} & set(resource.members()):
            yield resource.address, "grants a right to everybody: name who needs it"


@rule
def only_listed_services_skip_the_invoker_check(planned: Sequence[Resource]) -> Iterator[Problem]:
    for service in of(planned, RUN):
        name = str(service.values.get("name"))
        is_listed = any(re.fullmatch(pattern, name) for pattern in PUBLIC_SERVICES)
        if service.values.get("invoker_iam_disabled") is None:
            yield service.address, "does not write invoker_iam_disabled"
        elif service.values["invoker_iam_disabled"] and not is_listed:
            yield service.address, "switches the invoker check off and is not on the list of public services"


@rule
def a_service_open_to_the_internet_is_checked(planned: Sequence[Resource]) -> Iterator[Problem]:
    """Either IAM checks each call, or nobody passes the load balancer by; only the webhook may."""
    for service in of(planned, RUN):
        is_open = service.values.get("ingress") not in (
            "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
            "INGRESS_TRAFFIC_INTERNAL_ONLY",
        )
        unchecked = service.values.get("invoker_iam_disabled") is True
        if is_open and unchecked and service.values.get("name") != "tallygate-stripe-webhook":
            yield service.address, "is open to the internet without a check: close its ingress"
        if service.values.get(
            "ingress"
        ) == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" and not service.values.get("default_uri_disabled"):
            yield service.address, "is behind the load balancer and has a URL of its own: disable that"


@rule
def production_is_protected(planned: Sequence[Resource]) -> Iterator[Problem]:
    """Holds for environments with the label environment=prod; the fixtures carry it too."""
    for resource in planned:
        values = resource.values
        expected = _PROTECTION.get(resource.type, {})
        if resource.type == "google_bigquery_table" and values.get("view"):
            continue  # holds no data
        for name, value in expected.items():
            if values.get(name) != value:
                yield resource.address, f"must have {name} = {value}"


@rule
def no_secret_value_is_in_the_configuration(planned: Sequence[Resource]) -> Iterator[Problem]:
    for version in of(planned, "google_secret_manager_secret_version"):
        yield version.address, "puts a value into state: add it by the command line"
    for key in of(planned, "google_service_account_key"):
        yield key.address, "puts a key into state: use impersonation"
    for service in of(planned, RUN):
        for variable in service.block("template", "containers").get("env") or []:
            if re.search(r"(KEY|SECRET|TOKEN|PASSWORD)$", variable["name"]) and not variable.get(
                "value_source"
            ):
                yield service.address, f"has the value of {variable['name']}: refer to a secret"
    for channel in of(planned, "google_monitoring_notification_channel"):
        if channel.values.get("sensitive_labels") or channel.values.get("type") in ("pagerduty", "slack"):
            yield channel.address, "holds a secret: use email, Pub/Sub or chat"


@rule
def no_basic_roles(planned: Sequence[Resource]) -> Iterator[Problem]:
    for resource in planned:
        if resource.is_grant and resource.values.get("role") in (
            "roles/owner",
            "roles/editor",
            "roles/viewer",
        ):
            yield resource.address, "grants a basic role: name the narrow one"


@rule
def nobody_writes_log_entries(planned: Sequence[Resource]) -> Iterator[Problem]:
    for resource in planned:
        if resource.is_grant and resource.values.get("role") in WITH_LOG_ENTRIES_CREATE:
            yield resource.address, "grants a right to write log entries: who has it can forge usage"
    for role in of(planned, "google_project_iam_custom_role"):
        if "logging.logEntries.create" in (role.values.get("permissions") or []):
            yield role.address, "holds logging.logEntries.create: who has it can forge usage"


@rule
def everything_is_labelled(planned: Sequence[Resource]) -> Iterator[Problem]:
    for resource in planned:
        for name in ("labels", "user_labels"):
            if (
                resource.type in ("google_monitoring_notification_channel", "google_logging_metric")
                and name == "labels"
            ):
                continue  # labels there say where to send, or what is counted
            if name in resource.values and not {"app", "environment"} <= set(resource.values[name] or {}):
                yield resource.address, f"{name} must hold app and environment"


@rule
def cpu_idle_is_written(planned: Sequence[Resource]) -> Iterator[Problem]:
    """With a resources block and without cpu_idle the CPU is billed all the time, and no plan shows it."""
    for service in of(planned, RUN):
        for container in service.block("template").get("containers") or []:
            for limits in container.get("resources") or []:
                if limits.get("cpu_idle") is None:
                    yield service.address, "must write cpu_idle"


@rule
def every_service_has_an_identity_of_its_own(planned: Sequence[Resource]) -> Iterator[Problem]:
    for service in of(planned, RUN):
        identity = service.block("template").get("service_account", "unknown")
        if identity is None or str(identity).endswith(
            ("-compute@developer.gserviceaccount.com", "@appspot.gserviceaccount.com")
        ):
            yield (
                service.address,
                "runs as the project's default account, which others grant rights to",
            )


@rule
def an_image_is_named_by_digest_or_built_here(planned: Sequence[Resource]) -> Iterator[Problem]:
    for service in of(planned, RUN):
        if service.values.get("build_config"):
            continue
        for container in service.block("template").get("containers") or []:
            if not re.search(r"@sha256:[0-9a-f]{64}$", str(container.get("image"))):
                yield service.address, "names its image by a tag, which can come to mean another image"


@rule
def a_bucket_is_never_public(planned: Sequence[Resource]) -> Iterator[Problem]:
    for bucket in of(planned, "google_storage_bucket"):
        if bucket.values.get("public_access_prevention") != "enforced":
            yield bucket.address, "must write public_access_prevention = enforced"
        if bucket.values.get("uniform_bucket_level_access") is not True:
            yield bucket.address, "must write uniform_bucket_level_access = true"


@rule
def destroy_means_destroy(planned: Sequence[Resource]) -> Iterator[Problem]:
    for database in of(planned, "google_firestore_database"):
        if database.values.get("deletion_policy") != "DELETE":
            yield database.address, "is forgotten at destroy and stays: write deletion_policy = DELETE"


# --- rules of Google ---


@rule
def a_serverless_backend_has_no_timeout(
    planned: Sequence[Resource],
) -> Iterator[Problem]:
    """All backends here are serverless: there is no other kind of endpoint group."""
    for backend in of(planned, "google_compute_backend_service"):
        for name in ("timeout_sec", "port_name", "health_checks"):
            if backend.values.get(name):
                yield backend.address, f"{name} is an error on a serverless backend"


@rule
def a_function_is_a_cloud_run_service(planned: Sequence[Resource]) -> Iterator[Problem]:
    for group in of(planned, "google_compute_region_network_endpoint_group"):
        if group.values.get("cloud_function"):
            yield group.address, "cloud_function is for the first generation: use cloud_run"


@rule
def a_secret_is_read_in_a_version(planned: Sequence[Resource]) -> Iterator[Problem]:
    for service in of(planned, RUN):
        for variable in service.block("template", "containers").get("env") or []:
            for source in variable.get("value_source") or []:
                for reference in source.get("secret_key_ref") or []:
                    if not re.fullmatch(r"[1-9][0-9]*", str(reference.get("version"))):
                        yield service.address, f"{variable['name']} names no version number of its secret"


@rule
def firestore_is_in_that_place(planned: Sequence[Resource]) -> Iterator[Problem]:
    for database in of(planned, "google_firestore_database"):
        if database.values.get("location_id") not in PLACES["multi_regions"] + PLACES["regions"]:
            yield database.address, "Firestore is not in that place"


@rule
def a_metrics_labels_are_extracted(planned: Sequence[Resource]) -> Iterator[Problem]:
    for metric in of(planned, "google_logging_metric"):
        descriptor = metric.block("metric_descriptor")
        labels = {label["key"] for label in descriptor.get("labels") or []}
        if labels != set(metric.values.get("label_extractors") or {}):
            yield metric.address, "each label needs an extractor, and each extractor a label"
        if len(labels) > 10 or not all(
            re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,99}", label) for label in labels
        ):
            yield metric.address, "at most 10 labels of letters, digits and underscores"
        if descriptor.get("value_type") == "DISTRIBUTION" and not metric.values.get("value_extractor"):
            yield metric.address, "a distribution needs a value_extractor"
        if descriptor.get("value_type") == "DISTRIBUTION" and not metric.values.get("bucket_options"):
            yield metric.address, "a distribution needs bucket_options"
        if descriptor.get("metric_kind") != "DELTA":
            yield metric.address, "a log-based metric is of kind DELTA"


@rule
def a_condition_is_within_the_limits_of_cel(planned: Sequence[Resource]) -> Iterator[Problem]:
    """12 logical operators, 100 characters of title; 4,096 characters of a federation's condition."""
    for resource in planned:
        for condition in resource.values.get("condition") or [] if resource.is_grant else []:
            expression, title = str(condition.get("expression") or ""), str(condition.get("title") or "")
            if len(re.findall(r"&&|\|\||(?<!=)!(?!=)", expression)) > 12:
                yield resource.address, "its condition has more than 12 logical operators"
            if not 0 < len(title) <= 100:
                yield resource.address, "its condition needs a title of at most 100 characters"
    for provider in of(planned, "google_iam_workload_identity_pool_provider"):
        if not 0 < len(str(provider.values.get("attribute_condition") or "")) <= 4096:
            yield provider.address, "needs an attribute_condition of at most 4096 characters"


@rule
def an_account_id_has_6_to_30_characters(planned: Sequence[Resource]) -> Iterator[Problem]:
    for account in of(planned, "google_service_account"):
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", str(account.values.get("account_id"))):
            yield account.address, "its account_id is not 6 to 30 small letters, digits and dashes"


@rule
def a_member_says_what_it_is(planned: Sequence[Resource]) -> Iterator[Problem]:
    kinds = r"(user|group|serviceAccount|domain|principal|principalSet):.+|allUsers|allAuthenticatedUsers"
    for resource in planned:
        if resource.is_grant:
            for member in resource.members():
                if not re.fullmatch(kinds, member):
                    yield resource.address, f"the member {member!r} needs a prefix, for example group:"


@rule
def memory_fits_the_cpu(planned: Sequence[Resource]) -> Iterator[Problem]:
    """Cloud Run: 4 CPUs need 2 GiB and 8 need 4; more than 4, 8 and 16 GiB need 2, 4 and 8 CPUs."""
    for service in of(planned, RUN):
        for container in service.block("template").get("containers") or []:
            for entry in container.get("resources") or []:
                limits = entry.get("limits") or {}
                cpu, gib = float(limits.get("cpu", 1)), _gib(str(limits.get("memory", "512Mi")))
                needed = {4: 2, 8: 4}.get(int(cpu), 0.5)
                largest = {1: 4, 2: 8, 4: 16, 8: 32}.get(int(cpu), 0.5)
                if not needed <= gib <= largest:
                    yield service.address, f"{cpu:g} CPUs take between {needed} and {largest} GiB"


@rule
def a_job_waits_no_longer_than_it_can(planned: Sequence[Resource]) -> Iterator[Problem]:
    for job in of(planned, "google_cloud_scheduler_job"):
        seconds = int(str(job.values.get("attempt_deadline") or "0s").removesuffix("s"))
        if not 15 <= seconds <= 1800:
            yield job.address, "attempt_deadline is between 15 s and 30 min"


def _gib(text: str) -> float:
    number = float(text[:-2])
    return number / 1024 if text.endswith("Mi") else number
