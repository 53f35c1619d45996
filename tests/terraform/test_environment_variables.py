"""What Terraform sets in a service's environment, the service's code reads, and what it needs is set."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tallygate.catalogue import load_catalogue
from tallygate.clock import SystemClock
from tallygate.secrets import CLOUDEVENTS_TOKEN, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET
from tests.terraform.conftest import ENVIRONMENTS, REPOSITORY, ROOTS, Plans
from tests.terraform.planned import Resource, resources
from tests.terraform.policy import RUN
from tests.terraform.variants import EVERYTHING, plan_of

READERS: Final[Mapping[str, tuple[str, ...]]] = {
    "tallygate-proxy": ("proxy/settings.py",),
    "tallygate-stripe-sync": ("tallygate/subscriptions/settings.py",),
    "tallygate-stripe-webhook": ("tallygate/subscriptions/settings.py",),
    "tallygate-usage-reconciler": ("tallygate/metering/settings.py",),
    "tallygate-usage-reporter": ("tallygate/metering/settings.py",),
}
SANDBOX_ONLY: Final = {
    "TALLYGATE_CLOCK", "TALLYGATE_FAULT_CALLBACK", "TALLYGATE_HOST", "TALLYGATE_IAM_CERTIFICATES_URL",
    "TALLYGATE_STRIPE_API_BASE", "BIGQUERY_EMULATOR_HOST", "PORT",
}  # fmt: skip
"""Read by the code and never set by Terraform: doubles, and what the platform itself sets."""
FRAMEWORK: Final = {"THREADS"}
"""Read by functions-framework."""


def services(plans: Plans, variant: str) -> dict[str, Resource]:
    """The Cloud Run services of a plan, by name."""
    return {str(made.values["name"]): made for made in resources(plan_of(plans, variant)) if made.type == RUN}


def variables(service: Resource) -> dict[str, str | None]:
    """Plain variables of a service; None where the value is known after an apply."""
    entries = service.block("template", "containers").get("env") or []
    return {entry["name"]: entry.get("value") for entry in entries if not entry.get("value_source")}


def secrets(service: Resource) -> set[str]:
    """Variables that come from a secret."""
    entries = service.block("template", "containers").get("env") or []
    return {entry["name"] for entry in entries if entry.get("value_source")}


def read_by(paths: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Variables that code reads, and those of them that have no default."""
    text = "\n".join((REPOSITORY / path).read_text() for path in paths)
    calls = re.findall(r'environment\.\w+\(\s*"([A-Z_]+)"((?:[^()]|\([^()]*\))*)\)', text)
    return {name for name, _ in calls}, {name for name, rest in calls if "default=" not in rest}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("variant", ["prod", "prod, private"])
def test_terraform_sets_what_the_code_reads(plans: Plans, variant: str, name: str) -> None:
    read, needed = read_by(READERS[name])
    given = set(variables(services(plans, variant)[name])) - FRAMEWORK

    assert len(read) > 5, f"{READERS[name]}: how it reads its environment has changed"
    assert given <= read, f"modules/stack sets {given - read} for {name}; {READERS[name]} does not read it"
    assert needed <= given, (
        f"{READERS[name]} needs {needed - given}, which modules/stack does not set for {name}"
    )
    assert not given & SANDBOX_ONLY, name


def test_every_service_is_compared(plans: Plans) -> None:
    assert services(plans, "prod").keys() == READERS.keys()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_proxy_has_the_keys_that_its_catalogue_names(plans: Plans, environment: str) -> None:
    catalogue = load_catalogue(ROOTS / environment / "catalogue.json", now=SystemClock().now())
    wanted = {model.api_key_env for model in catalogue.models.values() if model.api_key_env}

    for name, service in services(plans, environment).items():
        assert secrets(service) == (wanted if name == "tallygate-proxy" else set()), name


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_model_of_an_environment_is_a_double(environment: str) -> None:
    models = json.loads((ROOTS / environment / "catalogue.json").read_text())["models"]

    assert all("api_base" not in model for model in models.values())


def test_identity_tokens_are_believed_only_behind_the_platforms_check(plans: Plans) -> None:
    for variant in ("prod", "prod, private", "prod, everything"):
        for name, service in services(plans, variant).items():
            if name.startswith("tallygate-proxy"):
                enforced = variables(service)["TALLYGATE_IAM_ENFORCED"]
                assert enforced == ("false" if service.values["invoker_iam_disabled"] else "true"), variant


def test_identity_tokens_name_the_hosts_of_their_service_or_were_checked_by_the_platform(
    plans: Plans,
) -> None:
    for variant in ("prod", "prod, private", "prod, everything"):
        for name, service in services(plans, variant).items():
            if name.startswith("tallygate-proxy"):
                audiences = variables(service).get("TALLYGATE_IAM_AUDIENCES")
                assert (audiences is None) == (variables(service)["TALLYGATE_IAM_ENFORCED"] == "true"), (
                    variant
                )
                acme = "https://acme.llm.example.com"
                assert variant == "prod, private" or (audiences == acme) == (name == "tallygate-proxy-acme")


def test_the_proxy_is_told_its_concurrency(plans: Plans) -> None:
    service = services(plans, "prod")["tallygate-proxy"]
    told = variables(service)["TALLYGATE_CONCURRENCY"]

    assert told == str(service.block("template")["max_instance_request_concurrency"])


def test_usage_that_is_billed_elsewhere_is_told_to_every_function(plans: Plans) -> None:
    """Who sends it; and who would else compare it with Stripe, or let an invoice wait for it."""
    told = {
        name: variables(service).get("TALLYGATE_CLOUDEVENTS_URL")
        for name, service in services(plans, "prod, everything").items()
        if not name.startswith("tallygate-proxy")
    }

    assert len(told) == 4
    assert set(told.values()) == {EVERYTHING["options"]["cloudevents"]["url"]}
    assert all("TALLYGATE_CLOUDEVENTS_URL" in read_by(READERS[name])[0] for name in told)
    assert not any("TALLYGATE_CLOUDEVENTS_URL" in variables(one) for one in services(plans, "prod").values())


def test_a_function_has_a_thread_for_each_request_at_a_time(plans: Plans) -> None:
    """modules/function: functions-framework has four for each CPU by default."""
    for name, service in services(plans, "prod").items():
        threads = variables(service).get("THREADS")
        expected = str(service.block("template")["max_instance_request_concurrency"])
        assert threads == (None if name.startswith("tallygate-proxy") else expected), name


def test_secrets_have_the_names_that_the_code_asks_for() -> None:
    text = (REPOSITORY / "modules/stack/secrets.tf").read_text()

    for secret in (CLOUDEVENTS_TOKEN, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET):
        assert f'"{secret}"' in text, f"modules/stack/secrets.tf lacks {secret} of tallygate/secrets.py"


def test_entry_points_are_functions_of_main() -> None:
    stack = "\n".join(path.read_text() for path in sorted((REPOSITORY / "modules/stack").glob("*.tf")))
    named = set(re.findall(r'entry_point\s+= "(\w+)"', stack))
    defined = set(re.findall(r"^def (\w+)\(request", (REPOSITORY / "functions/main.py").read_text(), re.M))

    assert len(named) == 4
    assert named == defined, f"modules/stack and functions/main.py differ: {sorted(named ^ defined)}"


def test_a_job_calls_a_function_that_there_is() -> None:
    jobs = json.loads((REPOSITORY / "modules/scheduler/jobs.json").read_text())
    scheduler = Path(REPOSITORY / "modules/stack/scheduler.tf").read_text()

    for name, job in jobs.items():
        assert f"module.{job['function']}.uri" in scheduler, (
            f"{name}: modules/stack/scheduler.tf has no target"
        )
