"""A whole sandbox: prepared, started in order, described in ``state.json``, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sandbox.layout import DATASET_LEDGER, DATASET_RAW, PROJECT_ID, REPOSITORY, STRIPE_API_KEY, Layout
from sandbox.parts import FUNCTIONS, Part, child_environment, sandbox_parts, write_catalogue
from sandbox.state import write_state
from sandbox.supervisor import Held, SandboxError, Supervisor, clear
from tallygate.catalogue import load_catalogue
from tallygate.clock import SystemClock, write_offset
from tallygate.plans import load_plans

DEFAULT_CONFIGURATION: Final = REPOSITORY / "sandbox" / "config"


@dataclass(frozen=True, slots=True)
class Options:
    """What a sandbox is started with."""

    proxies: int = 1
    scheduler: bool = True
    configuration: Path = DEFAULT_CONFIGURATION
    """Folder of the ``catalogue.json`` and ``plans.json`` in use."""
    callback_fault: str = ""
    """How LiteLLM's callbacks break in the last proxy: billing must not depend on them."""
    key_cache_seconds: int = 30


@contextmanager
def running_sandbox(layout: Layout, options: Options) -> Iterator[Supervisor]:
    """A sandbox that is ready, and ended at the end of the block.

    Raises:
        SandboxError: when one runs already or a part does not start.
        ConfigurationError: for an unreadable catalogue or plans.
    """
    held = Held(layout)
    supervisor = Supervisor(layout)
    try:
        clear(layout)
        parts = sandbox_parts(
            layout,
            proxies=options.proxies,
            scheduler=options.scheduler,
            callback_fault=options.callback_fault,
            key_cache_seconds=options.key_cache_seconds,
        )
        _prepare(layout, options, parts["provider"].url)
        _start(supervisor, *(part for part in parts.values() if part.name != "clock"))
        tenants = _seed(layout, parts)
        _start(supervisor, parts["clock"])  # its jobs need what was seeded

        def describe(pids: Mapping[str, int]) -> None:
            write_state(layout.state, _state(layout, parts, pids, tenants))

        supervisor.on_change = describe
        describe(supervisor.pids)
        yield supervisor
    finally:
        layout.state.unlink(missing_ok=True)
        supervisor.stop()
        held.close()


def _prepare(layout: Layout, options: Options, provider_url: str) -> None:
    for folder in (layout.logs, layout.part_logs, layout.secrets):
        folder.mkdir(parents=True)
    layout.secrets.chmod(0o700)
    (layout.secrets / "stripe-api-key").write_text(STRIPE_API_KEY)
    write_offset(layout.clock, timedelta())
    plans = json.loads((options.configuration / "plans.json").read_text())
    plans.pop("$schema", None)
    layout.plans.write_text(json.dumps(plans, indent=2) + "\n")
    write_catalogue(options.configuration / "catalogue.json", layout.catalogue, provider_url)
    catalogue = load_catalogue(layout.catalogue, now=SystemClock().now())
    load_plans(layout.plans, catalogue)


def _start(supervisor: Supervisor, *parts: Part) -> None:
    for part in parts:
        supervisor.start(part)
    supervisor.wait_ready(*parts)


def _seed(layout: Layout, parts: Mapping[str, Part]) -> list[dict[str, Any]]:
    """Make the warehouse, the plans and the tenants, in a process of its own that gives its memory back."""
    seeding = Part("seed", 0, (), "", environment={})
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.seed", "--root", str(layout.root),
         "--stripe", parts["stripe"].url, "--bigquery", parts["bigquery"].url,
         "--webhook", parts["stripe_webhook"].url, "--sync", parts["stripe_sync"].url],
        env=child_environment(seeding), cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SandboxError(f"the sandbox's tenants could not be made:\n{done.stderr}")
    tenants: list[dict[str, Any]] = json.loads(done.stdout)
    return tenants


def _state(
    layout: Layout, parts: Mapping[str, Part], pids: Mapping[str, int], tenants: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "proxy_url": parts["edge"].url,
        "proxy_urls": [part.url for name, part in parts.items() if name.startswith("proxy-")],
        "webhook_url": parts["stripe_webhook"].url,
        "stripe_url": parts["stripe"].url,
        "provider_url": parts["provider"].url,
        "bigquery_url": parts["bigquery"].url,
        "router_url": parts["router"].url,
        "clock_url": parts["clock"].url,
        "dashboard_url": None,
        "functions": {name: parts[name].url for name in FUNCTIONS},
        "app_database": f"sqlite:{layout.app_database}",
        "dataset_raw": DATASET_RAW,
        "dataset_ledger": DATASET_LEDGER,
        "project_id": PROJECT_ID,
        "pids": dict(pids),
        "supervisor_pid": os.getpid(),
        "log_dir": str(layout.logs),
        "tenants": tenants,
    }
