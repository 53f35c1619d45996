"""Who gets an identity: the conditions of terraform/bootstrap, evaluated with claims as GitHub makes them."""

from __future__ import annotations

import re
from typing import Any, Final

import cel
import hcl2
import pytest
import yaml
from hcl2 import SerializationOptions

from delivery.environments import ORDER, REPOSITORY

_BOOTSTRAP: Final = REPOSITORY / "terraform" / "bootstrap"
_REPOSITORY: Final = {"id": "123456789", "owner_id": "987654321"}
_ON_MAIN: Final = {
    "repository_id": "123456789",
    "repository_owner_id": "987654321",
    "repository": "example/gateway",
    "ref": "refs/heads/main",
    "event_name": "push",
}
"""Claims of a workflow on main without a GitHub environment."""
_PULL_REQUEST: Final = _ON_MAIN | {"ref": "refs/pull/7/merge", "event_name": "pull_request"}
_FORK: Final = _ON_MAIN | {
    "repository_id": "111",
    "repository_owner_id": "222",
    "repository": "somebody/gateway",
}
"""A workflow in a fork, on the fork's own main: it has the fork's numbers, whatever its names are."""
_RENAMED_AFTER_US: Final = _FORK | {"repository": "example/gateway"}


def conditions(environment: str) -> dict[str, str]:
    """The attribute conditions of planner and applier, with an environment's values filled in."""
    with (_BOOTSTRAP / "federation.tf").open() as file:
        options = SerializationOptions(strip_string_quotes=True, with_comments=False)
        blocks = hcl2.load(file, serialization_options=options)["locals"]
    values = {name: value for block in blocks for name, value in block.items()}
    found = {}
    for role in ("planner", "applier"):
        text = values["pools"][role]["condition"]
        if "local._same_repository" in text:
            text = text.replace("${local._same_repository}", "local._same_repository")
            text = text.replace("local._same_repository", values["_same_repository"])
        for name, value in (
            ("var.repository.id", _REPOSITORY["id"]),
            ("var.repository.owner_id", _REPOSITORY["owner_id"]),
            ("var.environment", environment),
        ):
            text = text.replace("${" + name + "}", value)
        assert "${" not in text, f"federation.tf uses what this test does not fill in: {text}"
        found[role] = text.replace('\\"', '"')
    return found


def admitted(role: str, claims: dict[str, Any], environment: str = "prod") -> bool:
    """Whether a token with these claims gets in. A claim that is not there is an error, and so a refusal."""
    try:
        return bool(cel.evaluate(conditions(environment)[role], {"assertion": claims}))
    except (RuntimeError, ValueError, KeyError):
        return False


@pytest.mark.parametrize(
    ("who", "claims", "planner", "applier"),
    [
        ("a pull request", _PULL_REQUEST, True, False),
        ("main", _ON_MAIN, True, False),
        ("main in prod's environment", _ON_MAIN | {"environment": "prod"}, True, True),
        ("main in another environment", _ON_MAIN | {"environment": "dev"}, True, False),
        (
            "a branch in prod's environment",
            _ON_MAIN | {"ref": "refs/heads/x", "environment": "prod"},
            True,
            False,
        ),
        ("a pull request in prod's environment", _PULL_REQUEST | {"environment": "prod"}, True, False),
        ("a tag called main", _ON_MAIN | {"ref": "refs/tags/main", "environment": "prod"}, True, False),
        ("a fork", _FORK | {"environment": "prod"}, False, False),
        ("a fork's pull request", _FORK | {"ref": "refs/pull/7/merge"}, False, False),
        ("a repository that took our name", _RENAMED_AFTER_US | {"environment": "prod"}, False, False),
        ("our repository under another owner", _ON_MAIN | {"repository_owner_id": "2"}, False, False),
        ("nobody", {}, False, False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_identity_is_given_to(who: str, claims: dict[str, Any], planner: bool, applier: bool) -> None:
    assert (admitted("planner", claims), admitted("applier", claims)) == (planner, applier), who


@pytest.mark.parametrize("environment", ORDER)
def test_the_applier_of_an_environment_works_in_no_other(environment: str) -> None:
    given = {name for name in ORDER if admitted("applier", _ON_MAIN | {"environment": name}, environment)}

    assert given == {environment}


def test_workflows_and_bootstrap_name_identities_alike() -> None:
    outputs = (_BOOTSTRAP / "outputs.tf").read_text()
    folder = REPOSITORY / ".github" / "workflows"

    for path in folder.glob("*.yml"):
        for text in _strings(yaml.safe_load(path.read_text())):
            for name in re.findall(r"'\{0\}_([A-Z_]+)'|vars\.[A-Z]+?_((?:PLANNER|APPLIER)[A-Z_]*)", text):
                role, _, rest = "".join(name).partition("_")
                assert f"{role} " in outputs, f"{path.name} and terraform/bootstrap/outputs.tf differ: {name}"
                assert rest in ("", "PROVIDER"), f"{path.name}: {name}"
    assert "_PROVIDER" in outputs


def _strings(content: Any) -> list[str]:
    if isinstance(content, dict):
        return [text for value in content.values() for text in _strings(value)]
    if isinstance(content, list):
        return [text for value in content for text in _strings(value)]
    return [str(content)]
