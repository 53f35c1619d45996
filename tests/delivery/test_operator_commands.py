"""An operator's day at a running sandbox by ``tallygate --sandbox``: a tenant from first link to last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest
from typer.testing import CliRunner

from sandbox.demo.collect import Connections
from tallygate.cli.__main__ import app
from tallygate.cli.sandbox import sandbox_environment

Type = Callable[..., Any]
TENANT: Final = "day-and-night"
SHOP: Final = "https://shop.example/thanks"
_PATIENCE_SECONDS: Final = 60


@pytest.fixture
def run(sandbox: Connections, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Runs a command with ``--json``; what it prints, read."""
    folder = sandbox.layout.root
    for name, value in sandbox_environment(folder).items():
        monkeypatch.setenv(name, os.environ.get(name, value))  # put back after the test

    def call(*arguments: str) -> Any:
        result = CliRunner().invoke(
            app, ["--sandbox", str(folder), *arguments, "--json"], catch_exceptions=False
        )
        assert result.exit_code == 0, f"{arguments}: {result.output}"
        return json.loads(result.stdout)

    return call


def until(look: Callable[[], Any], wanted: Any) -> None:
    """Wait until the gateway has followed Stripe."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (seen := look()) != wanted:
        assert time.monotonic() < deadline, f"{seen} for {_PATIENCE_SECONDS} s, not {wanted}"
        time.sleep(0.2)


def test_a_tenant_is_made_sold_to_served_changed_and_closed_by_commands(
    run: Type, sandbox: Connections
) -> None:
    made = run("tenants", "add", TENANT, "--plan", "team")
    link = run("stripe", "checkout-link", TENANT, "--seats", "2", "--success-url", SHOP)
    page = f"/_sandbox/checkout/sessions/{link['session_id']}/complete"
    httpx.post(f"{sandbox.state['stripe_url']}{page}", json={}).raise_for_status()

    def stands() -> tuple[str, int]:
        httpx.post(f"{sandbox.state['stripe_url']}/_sandbox/tick", timeout=30).raise_for_status()
        httpx.post(sandbox.state["functions"]["stripe_sync"], json={"depth": "recent"}, timeout=60)
        tenant = run("tenants", "show", TENANT)
        return tenant["status"], tenant["seats"]

    until(stands, ("active", 2))
    key = run("keys", "issue", TENANT, "--label", "first")["key"]
    models = httpx.get(f"{sandbox.state['proxy_url']}/v1/models", headers={"x-api-key": key}, timeout=30)
    assert (made["status"], models.status_code) == ("pending", 200)
    assert run("stripe", "portal-link", TENANT, "--return-url", SHOP)["url"].startswith("http")

    run("stripe", "seats", TENANT, "5", "--yes")
    until(stands, ("active", 5))
    run("stripe", "cancel", TENANT, "--now", "--yes")
    until(lambda: stands()[0], "closed")
    assert run("tenants", "close", TENANT, "--yes")["operator_status"] == "closed"


def test_every_group_of_commands_reaches_the_sandbox(run: Type, sandbox: Connections) -> None:
    webhook = sandbox.state["webhook_url"]

    assert run("stripe", "connect-webhook", "--url", webhook)["outcome"] == "unchanged"
    assert {plan["plan"] for plan in run("plans", "show")} >= {"starter", "team", "scale"}
    assert isinstance(run("inbox", "list"), list)
    assert {row["type"] for row in run("inbox", "list", "--state", "done")}
    tenant = sandbox.state["tenants"][0]["tenant_id"]
    assert run("keys", "list", tenant)[0]["label"] == "sandbox"
    assert {row["meter"] for row in run("usage", "show", "--tenant", tenant)} >= {"requests"}
