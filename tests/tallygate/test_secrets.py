"""Secrets: newest first, and errors that tell no value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tallygate.secrets import FileSecrets, GoogleSecrets, SecretMissingError, secrets_from


def test_a_file_holds_one_value_a_line_newest_first(tmp_path: Path) -> None:
    (tmp_path / "webhook").write_text("new\n\n  old  \nolder\n")
    secrets = FileSecrets(tmp_path)

    assert secrets.newest("webhook") == ["new"]
    assert secrets.newest("webhook", 2) == ["new", "old"]
    assert secrets.newest("webhook", 9) == ["new", "old", "older"]


def test_a_rotation_is_seen_without_a_restart(tmp_path: Path) -> None:
    secrets = FileSecrets(tmp_path)
    (tmp_path / "key").write_text("old\n")
    assert secrets.newest("key") == ["old"]

    (tmp_path / "key").write_text("new\nold\n")

    assert secrets.newest("key", 2) == ["new", "old"]


def test_a_missing_or_empty_file_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    for name in ("none", "empty"):
        with pytest.raises(SecretMissingError, match=name):
            FileSecrets(tmp_path).newest(name)


@dataclass
class SecretManager:
    """Secret Manager's client, as far as it is used, with versions by number."""

    versions: dict[str, tuple[int, str, str]]
    """By name: minute of creation, state, value."""

    def secret_path(self, project: str, name: str) -> str:
        return f"projects/{project}/secrets/{name}"

    def list_secret_versions(self, request: dict[str, str]) -> list[Any]:
        assert request["filter"] == "state:ENABLED"
        return [
            SimpleNamespace(
                name=f"{request['parent']}/versions/{n}",
                create_time=datetime(2026, 1, 1, 0, minute, tzinfo=UTC),
            )
            for n, (minute, state, _) in self.versions.items()
            if state == "ENABLED"
        ]

    def access_secret_version(self, request: dict[str, str]) -> Any:
        value = self.versions[request["name"].rpartition("/")[2]][2]
        return SimpleNamespace(payload=SimpleNamespace(data=value.encode()))


def test_secret_manager_gives_the_newest_enabled_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud import secretmanager

    versions = {
        "1": (1, "ENABLED", "first\n"),
        "2": (2, "ENABLED", "second"),
        "3": (3, "ENABLED", "third"),
        "4": (4, "DISABLED", "fourth"),
    }
    manager = SecretManager(versions)
    monkeypatch.setattr(secretmanager, "SecretManagerServiceClient", lambda: manager)
    secrets = GoogleSecrets("p")

    assert secrets.newest("webhook") == ["third"]
    assert secrets.newest("webhook", 2) == ["third", "second"]
    assert secrets.newest("webhook", 9) == ["third", "second", "first"]


def test_secret_manager_without_an_enabled_version_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud import secretmanager

    monkeypatch.setattr(
        secretmanager, "SecretManagerServiceClient", lambda: SecretManager({"1": (1, "DISABLED", "x")})
    )

    with pytest.raises(SecretMissingError, match="'webhook' has no enabled version"):
        GoogleSecrets("p").newest("webhook")


def test_the_setting_names_the_store(tmp_path: Path) -> None:
    assert secrets_from("google", project_id="p") == GoogleSecrets("p")
    assert secrets_from(f"file:{tmp_path}", project_id="p") == FileSecrets(tmp_path)


@pytest.mark.parametrize("setting", ["", "file:", "vault:x", "google:p"])
def test_another_setting_is_refused_with_what_to_write(setting: str) -> None:
    with pytest.raises(ValueError, match="must be 'google' or 'file:<dir>'"):
        secrets_from(setting, project_id="p")
