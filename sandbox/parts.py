"""The processes of a sandbox: what each runs, with which environment, and how to see that it is ready."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID, REPOSITORY, Layout

SERVICE: Final = "tallygate-proxy"
REVISION: Final = "tallygate-proxy-00001-sandbox"
FUNCTIONS: Final = ("usage_reporter", "usage_reconciler", "stripe_webhook", "stripe_sync")
PROVIDER_KEYS: Final = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
_SANDBOX_HEALTH: Final = "/_sandbox/health"


@dataclass(frozen=True, slots=True)
class Part:
    """One process."""

    name: str
    port: int
    command: tuple[str, ...]
    health: str
    """Path that answers ``health_status`` when the part is ready."""
    health_status: int = 200
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_seconds: float = 5
    """How long it may take to end after SIGTERM."""
    keeps_output: bool = False
    """Its stdout and stderr are log streams that the log router reads."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def sandbox_parts(
    layout: Layout,
    *,
    proxies: int,
    scheduler: bool,
    callback_fault: str = "",
    key_cache_seconds: int = 30,
    python: str = sys.executable,
) -> dict[str, Part]:
    """All parts of a sandbox by name, in the order of starting."""
    clock = f"file:{layout.clock}"

    def double(name: str, module: str, *arguments: str, state: bool = True) -> Part:
        port = free_port()
        options = ["--port", str(port), "--clock", clock]
        if state:
            options += ["--state", str(layout.of(name))]
        return Part(name, port, (python, "-m", module, *options, *arguments), _SANDBOX_HEALTH)

    stripe = double("stripe", "sandbox.stripe")
    provider = double("provider", "sandbox.provider")
    bigquery = double("bigquery", "sandbox.bigquery", "--project", PROJECT_ID)
    last = proxies - 1
    cached = {"TALLYGATE_KEY_CACHE_SECONDS": str(key_cache_seconds)}
    proxy_parts = [
        _proxy(
            layout, number, python,
            cached | {"TALLYGATE_FAULT_CALLBACK": callback_fault if number == last else ""},
        )
        for number in range(proxies)
    ]  # fmt: skip
    upstreams = [argument for proxy in proxy_parts for argument in ("--upstream", proxy.url)]
    edge = double("edge", "sandbox.edge", "--log-dir", str(layout.logs), *upstreams, state=False)
    router = double(
        "router", "sandbox.router", "--log-dir", str(layout.logs), "--bigquery", bigquery.url,
        "--project", PROJECT_ID, "--dataset-raw", DATASET_RAW,
    )  # fmt: skip
    functions = [_function(layout, name, stripe, bigquery, python) for name in FUNCTIONS]
    targets = [argument for part in functions for argument in ("--function", f"{part.name}={part.url}")]
    steps = ["--stripe", stripe.url, "--router", router.url, "--app-database", str(layout.app_database)]
    clock_part = double(
        "clock", "sandbox.clock", *steps, *targets, *(() if scheduler else ("--no-scheduler",))
    )  # fmt: skip
    every = [stripe, provider, bigquery, *proxy_parts, edge, router, *functions, clock_part]
    return {part.name: part for part in every}


def child_environment(part: Part) -> dict[str, str]:
    """What a part finds in its environment: nothing of the caller's but what every program needs."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **part.environment}


def write_catalogue(source: Path, target: Path, provider_url: str) -> None:
    """Copy a catalogue so that every provider without a real key in the environment is the double."""
    catalogue: dict[str, Any] = json.loads(source.read_text())
    catalogue.pop("$schema", None)
    for model in catalogue["models"].values():
        if not os.environ.get(model.get("api_key_env", "")):
            model["api_base"] = provider_api_base(model["provider"], provider_url)
    target.write_text(json.dumps(catalogue, indent=2) + "\n")


def provider_api_base(provider: str, provider_url: str) -> str:
    """The base address by which LiteLLM reaches a provider on the double: OpenAI's ends in ``/v1``."""
    return f"{provider_url}/v1" if provider == "openai" else provider_url


def _common(layout: Layout) -> dict[str, str]:
    return {
        "TALLYGATE_CLOCK": f"file:{layout.clock}",
        "TALLYGATE_PROJECT_ID": PROJECT_ID,
        "TALLYGATE_ENVIRONMENT": "sandbox",
        "TALLYGATE_LIVEMODE": "false",
        "TALLYGATE_APP_DATABASE": f"sqlite:{layout.app_database}",
        "TALLYGATE_CATALOGUE": str(layout.catalogue),
        "TALLYGATE_PLANS": str(layout.plans),
    }


def _proxy(layout: Layout, number: int, python: str, options: Mapping[str, str]) -> Part:
    port = free_port()
    keys = {name: os.environ.get(name) or "sandbox-has-no-key" for name in PROVIDER_KEYS.values()}
    environment = _common(layout) | keys | {
        "PORT": str(port),
        "TALLYGATE_HOST": "127.0.0.1",
        "K_SERVICE": SERVICE,
        "K_REVISION": REVISION,
        "TALLYGATE_VERTEX_LOCATION": "global",  # of an environment's catalogue; the double does not speak it
        **options,
    }  # fmt: skip
    command = (python, "-m", "proxy")
    return Part(
        f"proxy-{number}", port, command, "/health",
        environment=environment, grace_seconds=12, keeps_output=True,
    )  # fmt: skip


def _function(layout: Layout, name: str, stripe: Part, bigquery: Part, python: str) -> Part:
    port = free_port()
    environment = _common(layout) | {
        "TALLYGATE_DATASET_RAW": DATASET_RAW,
        "TALLYGATE_DATASET_LEDGER": DATASET_LEDGER,
        "TALLYGATE_STRIPE_API_BASE": stripe.url,
        "TALLYGATE_SECRETS": f"file:{layout.secrets}",
        "BIGQUERY_EMULATOR_HOST": bigquery.url,
        "K_SERVICE": name.replace("_", "-"),
        "K_REVISION": f"{name.replace('_', '-')}-00001-sandbox",
    }
    source = str(REPOSITORY / "functions" / "main.py")
    command = (
        python, "-m", "functions_framework", "--source", source, "--target", name,
        "--host", "127.0.0.1", "--port", str(port),
    )  # fmt: skip
    # functions-framework answers this path itself, without calling the function
    return Part(name, port, command, "/robots.txt", 404, environment)
