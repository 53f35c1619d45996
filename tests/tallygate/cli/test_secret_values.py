"""``tallygate secrets``: values go in and never come out."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PermissionDenied, ServiceUnavailable

from sandbox.layout import REPOSITORY
from tallygate.cli.errors import OperatorError
from tallygate.cli.secret_store import GoogleStore
from tallygate.cli.secret_values import secret_names
from tallygate.secrets import CLOUDEVENTS_TOKEN, FileSecrets
from tests.tallygate.cli.conftest import KEY, Run

BOOTSTRAP = REPOSITORY / "terraform" / "bootstrap" / "variables.tf"


def test_a_value_is_read_from_standard_input_and_is_the_newest(run: Run, secrets: Path) -> None:
    told = run("secrets", "set", "stripe-api-key", "--yes", stdin="rk_test_new\n")

    assert told == "stripe-api-key has a new value, version 2\n"
    assert FileSecrets(secrets).newest("stripe-api-key", 9) == ["rk_test_new", KEY]
    assert stat.S_IMODE((secrets / "stripe-api-key").stat().st_mode) == 0o600
    assert "rk_test_new" not in run("secrets", "list", "--json")


def test_a_second_value_is_asked_for(run: Run, secrets: Path) -> None:
    told = run("secrets", "set", "stripe-api-key", stdin="rk_test_new\n")

    assert "has 1 value(s) already. Add a newer one? Nothing was done: say --yes" in told
    assert FileSecrets(secrets).newest("stripe-api-key", 9) == [KEY]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("openai-api-key", "", "nothing came on standard input"),
        ("openai-api-key", "one\ntwo", "must be one line of text"),
        ("openai-api-key", "a" * 70_000, "must be one line of text"),
        ("stripe-webhook-secret", "sk_test_x", "a value of stripe-webhook-secret begins with whsec_"),
        ("opneai-api-key", "x", "there is no secret 'opneai-api-key': there are anthropic-api-key"),
        ("../state", "x", "there is no secret '../state'"),
    ],
)
def test_what_can_be_no_value_is_refused(
    run: Run, secrets: Path, name: str, value: str, problem: str
) -> None:
    told = run("secrets", "set", name, stdin=value)

    assert problem in told
    assert told.endswith("exit 1")
    assert [path.name for path in secrets.iterdir()] == ["stripe-api-key"]


def test_secrets_without_a_value_are_named(run: Run) -> None:
    told = run("secrets", "list")

    assert "without a value: anthropic-api-key, openai-api-key, stripe-webhook-secret" in told
    assert told.endswith("exit 1")
    for name in ("anthropic-api-key", "openai-api-key"):
        run("secrets", "set", name, stdin="a-key")
    run("secrets", "set", "stripe-webhook-secret", stdin="whsec_x")

    rows = json.loads(run("secrets", "list", "--json"))

    assert {row["name"]: row["values"] for row in rows} == {
        "anthropic-api-key": 1, "openai-api-key": 1, "stripe-api-key": 1, "stripe-webhook-secret": 1,
        "cloudevents-token": 0,
    }  # fmt: skip


def test_the_names_are_those_that_bootstrap_makes() -> None:
    block = re.search(r'variable "secrets" \{.*?default += \[(.*?)\]', BOOTSTRAP.read_text(), re.DOTALL)
    assert block is not None
    made = set(re.findall(r'"([^"]+)"', block[1]))

    for environment in ("dev", "staging", "prod"):
        names = set(secret_names(REPOSITORY / "terraform" / environment / "catalogue.json"))
        assert names - {CLOUDEVENTS_TOKEN} == made, (
            f"terraform/bootstrap/variables.tf and terraform/{environment}/catalogue.json differ"
        )


def test_a_model_that_needs_no_key_needs_no_secret(tmp_path: Path) -> None:
    models = {"keyless": {"provider": "vertex_ai"}, "keyed": {"api_key_env": "OTHER_API_KEY"}}
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps({"models": models}))

    assert set(secret_names(path)) - set(secret_names(None)) == {"other-api-key"}


def test_a_catalogue_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="can't be read"):
        secret_names(tmp_path / "none.json")


@dataclass
class SecretManager:
    """Secret Manager's client, as far as it is used."""

    secrets: dict[str, list[datetime]] = field(default_factory=dict)
    payloads: list[bytes] = field(default_factory=list)
    error: Exception | None = None

    def secret_path(self, project: str, name: str) -> str:
        return f"projects/{project}/secrets/{name}"

    def _versions(self, parent: str) -> list[datetime]:
        if self.error is not None:
            raise self.error
        if parent not in self.secrets:
            raise NotFound(parent)
        return self.secrets[parent]

    def add_secret_version(self, request: dict[str, Any]) -> Any:
        versions = self._versions(request["parent"])
        versions.append(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=len(versions)))
        self.payloads.append(request["payload"]["data"])
        return SimpleNamespace(name=f"{request['parent']}/versions/{len(versions)}")

    def list_secret_versions(self, request: dict[str, str]) -> list[Any]:
        assert request["filter"] == "state:ENABLED"
        versions = self._versions(request["parent"])
        return [
            SimpleNamespace(create_time=made, name=f"{request['parent']}/versions/{number}")
            for number, made in enumerate(versions, 1)
        ]


def test_in_google_cloud_a_value_is_a_version() -> None:
    manager = SecretManager({"projects/p/secrets/openai-api-key": []})
    store = GoogleStore("p", manager)

    assert (store.add("openai-api-key", "one"), store.add("openai-api-key", "two")) == ("1", "2")

    state = store.state("openai-api-key")
    assert manager.payloads == [b"one", b"two"]
    assert (state.exists, state.versions) == (True, ("2", "1"))
    assert state.newest_at == datetime(2026, 1, 2, tzinfo=UTC)


def test_in_google_cloud_the_container_is_terraforms() -> None:
    store = GoogleStore("p", SecretManager())

    assert not store.state("openai-api-key").exists
    with pytest.raises(OperatorError, match="add it to `secrets` of terraform/bootstrap"):
        store.add("openai-api-key", "one")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionDenied("no"), "you need roles/secretmanager.secretVersionAdder on it"),
        (ServiceUnavailable("no"), "Secret Manager does not answer"),
    ],
    ids=["denied", "away"],
)
def test_what_google_refuses_is_told_with_what_to_do(error: Exception, words: str) -> None:
    store = GoogleStore("p", SecretManager(error=error))

    with pytest.raises(OperatorError, match=words):
        store.add("openai-api-key", "one")
    with pytest.raises(OperatorError):
        store.state("openai-api-key")
