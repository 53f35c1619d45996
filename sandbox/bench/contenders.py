"""The two sides: this gateway, and LiteLLM's own proxy as its documentation configures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psutil

from sandbox.bench.load import Target
from sandbox.layout import REPOSITORY
from sandbox.parts import free_port
from tallygate.appdb import Database
from tallygate.tenants import Tenant, issue_key, put_tenant

MODEL: Final = "gpt-4o-mini"
MASTER_KEY: Final = "sk-bench-master"
_START_SECONDS: Final = 180
_PICO_USD: Final = {"input": 150_000, "cached_input": 75_000, "cache_write": 150_000, "output": 600_000}


@dataclass(frozen=True, slots=True)
class Contender:
    """A running proxy."""

    target: Target
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """What it has used so far, its children included."""
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(spent.user + spent.system for spent in times)


@dataclass(frozen=True, slots=True)
class Ground:
    """A folder, a provider and a tenant: what both sides stand on."""

    folder: Path
    provider_url: str
    key: str

    @property
    def database_path(self) -> Path:
        """The app database of this gateway."""
        return self.folder / "app.sqlite"


def prepare(folder: Path, provider_url: str, database: Database) -> Ground:
    """Write both configurations, and a tenant with a budget and limits that it does not reach."""
    entry = {
        "provider": "openai",
        "provider_model": "gpt-4o-mini-2024-07-18",
        "mode": "chat",
        "price_class": "small",
        "prices": [
            {"price_version": "1", "effective_from": "2025-01-01T00:00:00Z", "pico_usd_per_token": _PICO_USD}
        ],
        "max_output_tokens": 16384,
        "api_key_env": "OPENAI_API_KEY",
        "api_base": f"{provider_url}/v1",
    }
    (folder / "catalogue.json").write_text(json.dumps({"models": {MODEL: entry}}))
    parameters = {"model": f"openai/{MODEL}", "api_base": f"{provider_url}/v1", "api_key": "sk-provider"}
    stock = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": MASTER_KEY},
    }
    (folder / "stock.yaml").write_text(json.dumps(stock))  # JSON is YAML
    tenant = Tenant(
        tenant_id="bench",
        status="active",
        grace_until=None,
        plan="scale",
        models=(MODEL,),
        rpm=1_000_000,
        tpm=1_000_000_000,
        max_parallel=1000,
        monthly_budget_nano_usd=1_000_000 * 10**9,
        stripe_customer=None,
    )
    put_tenant(database, tenant)
    key = issue_key(database, "bench", label="bench", now=datetime.now(UTC)).secret
    return Ground(folder, provider_url, key)


def _environment(ground: Ground) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "OPENAI_API_KEY": "sk-provider", "NO_PROXY": "*"}


@contextmanager
def gateway(ground: Ground) -> Iterator[Contender]:
    """This gateway, with authentication, limits, budget and metering."""
    port = free_port()
    variables = {
        "PORT": str(port),
        "TALLYGATE_HOST": "127.0.0.1",
        "TALLYGATE_PROJECT_ID": "bench",
        "TALLYGATE_CONCURRENCY": "160",  # half of it is one tenant's: twice what is sent at once
        "TALLYGATE_CATALOGUE": str(ground.folder / "catalogue.json"),
        "TALLYGATE_APP_DATABASE": f"sqlite:{ground.database_path}",
    }
    command = (sys.executable, "-m", "proxy")
    with _running(command, _environment(ground) | variables, ground.folder / "gateway.log") as process:
        yield Contender(Target(f"http://127.0.0.1:{port}", ground.key, MODEL), process)


@contextmanager
def stock(ground: Ground) -> Iterator[Contender]:
    """LiteLLM's proxy by its own command: one worker, a master key, no callbacks, no database."""
    port = free_port()
    # What its page on production says; the price list is the bundled one, for there is no network here.
    variables = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = (
        str(Path(sys.executable).with_name("litellm")),
        "--config", str(ground.folder / "stock.yaml"), "--host", "127.0.0.1", "--port", str(port),
    )  # fmt: skip
    with _running(command, _environment(ground) | variables, ground.folder / "stock.log") as process:
        yield Contender(Target(f"http://127.0.0.1:{port}", MASTER_KEY, MODEL), process)


@contextmanager
def provider() -> Iterator[str]:
    """The cheap provider; its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "sandbox.bench.provider", "--port", str(port))
    with _running(command, {**os.environ, "PYTHONPATH": str(REPOSITORY)}, Path(os.devnull)) as process:
        await_completion(Target(url, "sk-any", MODEL), process.is_running)
        yield url


def await_completion(target: Target, alive: Callable[[], bool] = lambda: True) -> None:
    """Return with the first completion.

    Raises:
        TimeoutError: when there is none in time, or the process has ended.
    """
    body = json.dumps(target.body(stream=False)).encode()
    headers = {"authorization": f"Bearer {target.key}", "content-type": "application/json"}
    deadline = time.monotonic() + _START_SECONDS
    while alive() and time.monotonic() < deadline:
        request = urllib.request.Request(f"{target.url}/v1/chat/completions", body, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
                answer.read()
                return
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"{target.url} did not answer: see its log")


@contextmanager
def _running(command: tuple[str, ...], environment: Mapping[str, str], log: Path) -> Iterator[psutil.Process]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()
