"""The smoke test finds nothing wrong in a sandbox, and each thing that is made wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery

from delivery.environments import ORDER, REPOSITORY, Environment
from delivery.errors import CannotRunError
from delivery.smoke.checks import run_checks
from delivery.smoke.cloud_site import WEBHOOK_PATH, CloudSite, cloud_site
from delivery.smoke.sandbox_site import SandboxSite, sandbox_site
from delivery.smoke.site import LastRun, Place, Result
from sandbox.demo.collect import Connections

_PUBLIC = """
project_id = "example-dev"
livemode   = false
exposure   = { mode = "public" }
domains    = { hosts = ["llm.dev.example.com", "b.example.com"] }
"""


@pytest.fixture(scope="module")
def site(sandbox: Connections) -> SandboxSite:
    return sandbox_site(sandbox.layout)


@dataclass
class Changed:
    """A site that differs in one thing, asked about one model only."""

    site: SandboxSite
    place: Place
    run: LastRun | None = None
    settles: bool = False

    def warehouse(self) -> bigquery.Client:
        """As it is."""
        return self.site.warehouse()

    def now(self) -> datetime:
        """As it is."""
        return self.site.now()

    def settle(self) -> None:
        """Only where the test needs the event."""
        if self.settles:
            self.site.settle()

    def last_run(self, job: str) -> LastRun | None:
        """What the test says."""
        return self.run


def changed(site: SandboxSite, **place: Any) -> Changed:
    few: dict[str, Any] = {"models": {"gpt-4o-mini": "chat"}, "wait_seconds": 0}
    return Changed(site, replace(site.place, **{**few, **place}))


def outcomes(site: Any) -> dict[str, Result]:
    return {result.check: result for result in run_checks(site, tell=lambda _: None)}


def test_a_sandbox_passes_for_every_model(site: SandboxSite) -> None:
    found = outcomes(site)

    left_out = {check for check, result in found.items() if result.outcome == "left out"}
    assert [result for result in found.values() if result.outcome == "failed"] == []
    assert left_out == (set() if site.place.webhook_url else {"webhook", "forged event"})
    for model in site.place.models:
        assert found[f"completion {model}"].outcome == found[f"usage event {model}"].outcome == "ok"


def test_a_refused_key_and_a_gateway_that_is_not_there_fail(site: SandboxSite) -> None:
    refused = outcomes(changed(site, api_key="sk-nobody"))
    absent = outcomes(changed(site, proxy_url="http://127.0.0.1:9"))

    assert refused["completion gpt-4o-mini"].detail.startswith("HTTP 401")
    assert refused["health"].outcome == "ok"
    assert (absent["health"].outcome, absent["completion gpt-4o-mini"].outcome) == ("failed", "failed")
    assert "usage event gpt-4o-mini" not in absent, "what was not served leaves no event to look for"


def test_a_usage_event_that_does_not_arrive_fails(site: SandboxSite) -> None:
    """Nothing moves the router on: the event is not in the warehouse when the time is up."""
    elsewhere = changed(site, ledger=site.place.ledger.replace("ledger", "no_such_dataset"))

    late = outcomes(changed(site))["usage event gpt-4o-mini"]
    unreadable = outcomes(elsewhere)["usage event gpt-4o-mini"]

    assert late.outcome == "failed"
    assert late.detail.startswith("none of request")
    assert "the warehouse answers" in unreadable.detail


@pytest.mark.parametrize(
    ("run", "detail"),
    [
        (None, "no run of usage_reporter left a summary line"),
        (LastRun(None, {"error": "FenceError: head moved"}), "ended with: FenceError: head moved"),
        (LastRun(datetime(2020, 1, 1, tzinfo=UTC), {}), "2020-01-01T00:00:00+00:00: is it paused?"),
    ],
)
def test_a_reporter_that_does_not_run_fails(run: LastRun | None, detail: str, site: SandboxSite) -> None:
    one = changed(site, models={})
    one.run = run

    found = outcomes(one)["reporter"]

    assert found.outcome == "failed"
    assert detail in found.detail


def test_a_recent_run_passes(site: SandboxSite) -> None:
    one = changed(site, models={})
    one.run = LastRun(site.now() - timedelta(minutes=14), {"sealed": 2})

    assert outcomes(one)["reporter"].outcome == "ok"


@contextmanager
def webhook(status: int) -> Iterator[str]:
    """A webhook that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("status", "signed", "forged"), [(200, "ok", "failed"), (400, "failed", "ok")])
def test_a_webhook_that_believes_everybody_or_nobody_fails(
    status: int, signed: str, forged: str, site: SandboxSite
) -> None:
    with webhook(status) as url:
        found = outcomes(changed(site, models={}, webhook_url=url, webhook_secret="whsec_test"))

    assert (found["webhook"].outcome, found["forged event"].outcome) == (signed, forged)


# --- an environment, found by its own files ----------------------------------------------------------


def described(tmp_path: Path, text: str) -> Environment:
    (tmp_path / "terraform.tfvars").write_text(text)
    catalogue = REPOSITORY / "sandbox" / "config" / "catalogue.json"
    (tmp_path / "catalogue.json").write_text(catalogue.read_text().replace("../../tallygate", "tallygate"))
    return Environment("dev", tmp_path)


def test_a_public_environment_is_found_by_its_host(tmp_path: Path) -> None:
    found = cloud_site(described(tmp_path, _PUBLIC), {"TALLYGATE_SMOKE_KEY": "sk-x"})

    assert isinstance(found, CloudSite)
    assert found.place.proxy_url == "https://llm.dev.example.com"
    assert found.place.webhook_url == f"https://llm.dev.example.com{WEBHOOK_PATH}"
    assert found.place.ledger == "example-dev.ledger"
    assert found.place.models["text-embedding-3-small"] == "embedding"


@pytest.mark.parametrize(
    ("text", "variables", "problem"),
    [
        (_PUBLIC, {}, "TALLYGATE_SMOKE_KEY is not set: make a tenant for smoke tests in dev"),
        (_PUBLIC.replace("public", "private"), {}, "dev is private: set TALLYGATE_SMOKE_URL"),
    ],
)
def test_what_an_environment_lacks_is_named(
    text: str, variables: dict[str, str], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(CannotRunError, match=problem):
        cloud_site(described(tmp_path, text), variables)


def test_the_webhooks_path_is_the_load_balancers() -> None:
    text = (REPOSITORY / "modules" / "load-balancer" / "main.tf").read_text()

    assert f'webhook_path = "{WEBHOOK_PATH}"' in text, "modules/load-balancer and delivery/smoke differ"


@pytest.mark.parametrize("name", ORDER)
def test_every_environment_of_this_repository_can_be_found(name: str) -> None:
    found = cloud_site(Environment(name, REPOSITORY / "terraform" / name), {"TALLYGATE_SMOKE_KEY": "sk-x"})

    assert found.place.proxy_url.startswith("https://")
