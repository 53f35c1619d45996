"""A real gateway in front of the providers' double, as processes, with tenants and their keys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from proxy.certificates import Certificates
from proxy.identity import Identities
from sandbox.layout import REPOSITORY
from sandbox.parts import free_port, write_catalogue
from tallygate.appdb import Database
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import SystemClock
from tallygate.tenants import Tenant, issue_key, put_tenant

PROVIDER_KEY = "sk-canary-of-the-provider-key"
START_SECONDS = 160
WAIT_SECONDS = 15
COMMAND = (sys.executable, "-m", "proxy")
CONFIGURATION = REPOSITORY / "sandbox" / "config"


SPECIAL_MODELS: Final[dict[str, dict[str, Any]]] = {
    "impatient": {"timeout_seconds": 0.5, "retries": 0},
    "impatient-claude": {"timeout_seconds": 0.5, "retries": 0},
    "unreachable": {"api_base": "http://127.0.0.1:9/v1", "retries": 1},
    "chained": {"provider_model": "gpt-4o-2024-08-06", "retries": 0, "fallbacks": ["gpt-4o-mini"]},
}
"""Models of the tests beside the sandbox's: each is one of those but for these fields."""


def tenant(tenant_id: str = "acme", **changes: Any) -> Tenant:
    """A tenant that may use everything, unless changed."""
    models = (*json.loads((CONFIGURATION / "catalogue.json").read_text())["models"], *SPECIAL_MODELS)
    defaults: dict[str, Any] = {
        "tenant_id": tenant_id,
        "status": "active",
        "grace_until": None,
        "plan": "scale",
        "models": models,
        "rpm": 100_000,
        "tpm": 10**9,
        "max_parallel": 1000,
        "monthly_budget_nano_usd": None,
        "stripe_customer": None,
    }
    return Tenant(**(defaults | changes))


def keys_only() -> Identities:
    """Takes no identity tokens."""
    nowhere = Certificates("http://127.0.0.1:9/certificates")
    return Identities(nowhere, SystemClock(), audiences=(), enforced=False)


@dataclass
class Instance:
    """One process of the gateway and what it wrote."""

    process: subprocess.Popen[bytes]
    url: str
    stdout: Path
    stderr: Path

    def lines(self) -> list[dict[str, Any]]:
        """All lines on stdout; each must be JSON."""
        return [json.loads(line) for line in self.stdout.read_text().splitlines()]

    def events(self) -> list[dict[str, Any]]:
        """The usage events."""
        return [line for line in self.lines() if line["event"] == "llm_usage"]

    def event_of(self, request_id: str) -> dict[str, Any]:
        """The one usage event of a request, awaited for a while: it may come after the client has gone."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = [event for event in self.events() if event["request_id"] == request_id]
            if found or time.monotonic() > deadline:
                assert len(found) == 1, f"{len(found)} usage events of request {request_id}"
                return found[0]
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass
class Site:
    """A provider double, an app database and a catalogue; gateways are started on them."""

    folder: Path
    provider_url: str
    database: Database
    keys: dict[str, str] = field(default_factory=dict)
    started: int = 0

    @property
    def catalogue(self) -> Path:
        """The catalogue in use."""
        return self.folder / "catalogue.json"

    def add(self, added: Tenant) -> str:
        """Write a tenant and return a new key of it."""
        put_tenant(self.database, added)
        key = issue_key(self.database, added.tenant_id, label="test", now=datetime.now(UTC)).secret
        self.keys[added.tenant_id] = key
        return key

    def environment(self, port: int) -> dict[str, str]:
        """What a gateway on this site finds in its environment."""
        return {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PORT": str(port),
            "TALLYGATE_HOST": "127.0.0.1",
            "TALLYGATE_PROJECT_ID": "test-project",
            "TALLYGATE_MAX_BODY_BYTES": "1000000",
            # Requests whose clients have left are still in flight: they must not use up the tenant's share.
            "TALLYGATE_CONCURRENCY": "1000",
            "TALLYGATE_CATALOGUE": str(self.catalogue),
            "TALLYGATE_APP_DATABASE": f"sqlite:{self.folder / 'app.sqlite'}",
            "OPENAI_API_KEY": PROVIDER_KEY,
            "ANTHROPIC_API_KEY": PROVIDER_KEY,
        }

    def ledger(self) -> list[dict[str, Any]]:
        """What the provider would charge."""
        rows: list[dict[str, Any]] = httpx.get(f"{self.provider_url}/_sandbox/ledger").json()["rows"]
        return rows

    def charged(self, request_id: str, attempt: int) -> dict[str, int]:
        """Tokens by class of one attempt."""
        return {
            row["class"]: row["tokens"]
            for row in self.ledger()
            if row["request_id"] == request_id and row["attempt"] == attempt and row["tokens"]
        }

    @contextmanager
    def gateway(self, variables: Mapping[str, str] | None = None) -> Iterator[Instance]:
        """A gateway that is ready, ended at the end of the block."""
        instance = self.start(variables)
        try:
            await_ready(instance)
            yield instance
        finally:
            if instance.process.poll() is None:
                instance.process.kill()
            instance.process.wait()

    def start(self, variables: Mapping[str, str] | None = None, command: Sequence[str] = COMMAND) -> Instance:
        """Start a gateway without waiting for it."""
        self.started += 1
        port = free_port()
        out, err = (self.folder / f"gateway-{self.started}.{name}.log" for name in ("stdout", "stderr"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                env=self.environment(port) | dict(variables or {}),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        return Instance(process, f"http://127.0.0.1:{port}", out, err)


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """A provider double with a catalogue pointing at it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.provider", "--port", str(port), "--state", str(folder / "provider")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
    )
    database = SQLiteDatabase(folder / "app.sqlite")
    try:
        _await(process, f"{url}/_sandbox/health")
        write_catalogue(CONFIGURATION / "catalogue.json", folder / "catalogue.json", url)
        _add_models(folder / "catalogue.json")
        yield Site(folder, url, database)
    finally:
        database.close()
        process.kill()  # it would wait for answers that nobody reads any more
        process.wait()


def await_ready(instance: Instance) -> None:
    """Wait until a gateway listens."""
    _await(instance.process, f"{instance.url}/health")


def _add_models(path: Path) -> None:
    catalogue = json.loads(path.read_text())
    models = catalogue["models"]
    for name, changes in SPECIAL_MODELS.items():
        models[name] = models["claude-haiku-4-5" if "claude" in name else "gpt-4o"] | changes
    path.write_text(json.dumps(catalogue))


def _await(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert process.poll() is None, f"the process for {url} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.1)
