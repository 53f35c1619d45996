"""A gateway that can't serve says why at start: everything at once, on stderr, exit code 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.settings import read_settings
from sandbox.layout import REPOSITORY
from tallygate.schemas import ConfigurationError

MODEL: dict[str, Any] = {
    "provider": "openai",
    "provider_model": "gpt-4o",
    "mode": "chat",
    "price_class": "large",
    "prices": [
        {
            "price_version": "v1",
            "effective_from": "2025-01-01T00:00:00Z",
            "pico_usd_per_token": {"input": 1, "cached_input": 1, "cache_write": 1, "output": 1},
        }
    ],
    "max_output_tokens": 100,
    "api_key_env": "OPENAI_API_KEY",
}


def environment(folder: Path, model: dict[str, Any] | None = None, **changes: str | None) -> dict[str, str]:
    """A whole environment, changed; None removes a variable."""
    catalogue = folder / "catalogue.json"
    catalogue.write_text(json.dumps({"models": {"gpt-4o": MODEL | (model or {})}}))
    variables = {
        "TALLYGATE_PROJECT_ID": "project",
        "TALLYGATE_CATALOGUE": str(catalogue),
        "TALLYGATE_APP_DATABASE": f"sqlite:{folder / 'app.sqlite'}",
        "OPENAI_API_KEY": "sk-canary",
    }
    return {name: value for name, value in (variables | changes).items() if value is not None}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def used(model: dict[str, Any] | None = None, **changes: str | None) -> list[str]:
        for name, value in environment(tmp_path, model, **changes).items():
            monkeypatch.setenv(name, value)
        try:
            read_settings().database.close()
        except ConfigurationError as error:
            return list(error.problems)
        return []

    return used


def test_a_whole_environment_has_no_problems(use: Any) -> None:
    assert use() == []


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"TALLYGATE_CATALOGUE": "/nowhere/catalogue.json"}, "/nowhere/catalogue.json"),
        ({"TALLYGATE_APP_DATABASE": "mysql:x"}, "TALLYGATE_APP_DATABASE"),
        ({"TALLYGATE_APP_DATABASE": None}, "TALLYGATE_APP_DATABASE"),
        ({"TALLYGATE_CLOCK": "sundial"}, "TALLYGATE_CLOCK"),
        ({"TALLYGATE_KEY_CACHE_SECONDS": "forever"}, "TALLYGATE_KEY_CACHE_SECONDS"),
        ({"PORT": "99999"}, "PORT"),
        ({"OPENAI_API_KEY": None}, "OPENAI_API_KEY"),
        ({"TALLYGATE_FAULT_CALLBACK": "sometimes"}, "TALLYGATE_FAULT_CALLBACK"),
        ({"TALLYGATE_FAULT_CALLBACK": "raise"}, "on this machine"),
        ({"TALLYGATE_GRACE_SECONDS": "0"}, "TALLYGATE_GRACE_SECONDS"),
    ],
)
def test_a_bad_setting_is_named(changes: dict[str, str | None], part: str, use: Any) -> None:
    problems = use(**changes)

    assert len(problems) == 1
    assert part in problems[0]


@pytest.mark.parametrize(
    "model",
    [
        {"prices": []},
        {"prices": [MODEL["prices"][0] | {"effective_from": "2999-01-01T00:00:00Z"}]},
        {"fallbacks": ["gpt-99"]},
        {"mode": "dance"},
    ],
)
def test_a_model_that_cannot_be_served_or_priced_is_refused(model: dict[str, Any], use: Any) -> None:
    problems = use(model)

    assert problems
    assert all("catalogue.json" in problem for problem in problems)


def test_faults_are_for_doubles_only(use: Any) -> None:
    assert use({"api_base": "http://127.0.0.1:1/v1"}, TALLYGATE_FAULT_CALLBACK="raise") == []


def test_the_process_tells_all_problems_at_once_and_starts_nothing(tmp_path: Path) -> None:
    variables = environment(tmp_path, {"prices": []}, TALLYGATE_PROJECT_ID=None, PORT="none")

    done = subprocess.run(
        [sys.executable, "-m", "proxy"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **variables},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in ("TALLYGATE_PROJECT_ID", "PORT", "catalogue.json"))
    assert "sk-canary" not in done.stderr


def test_the_readme_names_every_setting() -> None:
    source = (REPOSITORY / "proxy" / "settings.py").read_text()
    readme = (REPOSITORY / "proxy" / "README.md").read_text()

    read = set(re.findall(r'"(TALLYGATE_[A-Z_]+|PORT)"', source))

    missing = sorted(name for name in read if f"`{name}`" not in readme)
    assert missing == [], f"proxy/README.md does not name {missing}, which proxy/settings.py reads"


def test_the_readme_names_every_file() -> None:
    readme = (REPOSITORY / "proxy" / "README.md").read_text()

    files = {path.name for path in (REPOSITORY / "proxy").glob("*.py")} - {"__init__.py"}

    assert sorted(name for name in files if f"`{name}`" not in readme) == []


def test_iam_settings_are_checked(use: Any) -> None:
    assert use(
        TALLYGATE_IAM_ENFORCED="yes", TALLYGATE_IAM_CERTIFICATES_URL="http://certificates.example.com"
    ) == [
        "TALLYGATE_IAM_ENFORCED: must be 'true' or 'false', not 'yes'",
        "TALLYGATE_IAM_CERTIFICATES_URL: must start with https://",
    ]


def test_audiences_are_separated_by_commas(use: Any) -> None:
    assert use(TALLYGATE_IAM_AUDIENCES=" https://a.example.com, https://b.example.com ,") == []

    assert read_settings().iam_audiences == ("https://a.example.com", "https://b.example.com")
