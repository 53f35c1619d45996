"""``python -m sandbox``: a sandbox in the foreground, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from sandbox.layout import Layout, default_layout
from sandbox.run import DEFAULT_CONFIGURATION, Options, running_sandbox
from sandbox.state import read_state
from sandbox.supervisor import SandboxError
from tallygate.schemas import ConfigurationError


def main(
    proxies: Annotated[int, typer.Option(min=1, max=8, help="How many instances of the proxy.")] = 1,
    scheduler: Annotated[bool, typer.Option(help="Run the scheduled jobs.")] = True,
    configuration: Annotated[
        Path, typer.Option(help="Folder of catalogue.json and plans.json.")
    ] = DEFAULT_CONFIGURATION,
    callback_fault: Annotated[
        str, typer.Option(help="Break LiteLLM's callbacks in the last proxy: raise, never or late.")
    ] = "",
    key_cache_seconds: Annotated[
        int, typer.Option(help="How long a proxy trusts what it knows of a key.")
    ] = 30,
    root: Annotated[
        Path | None, typer.Option(help="Folder to keep everything in; .sandbox by default.")
    ] = None,
) -> None:
    """Run the whole system on this machine and print where it is."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        if stopped:  # the second one does not wait
            sys.exit(130)
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    layout = Layout(root.resolve()) if root else default_layout()
    options = Options(proxies, scheduler, configuration, callback_fault, key_cache_seconds)
    try:
        with running_sandbox(layout, options) as supervisor:
            _print_welcome(layout.state)
            supervisor.watch(until=lambda: stopped)
    except (SandboxError, ConfigurationError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _print_welcome(path: Path) -> None:
    state = read_state(path)
    tenant = state["tenants"][-1]
    print("The sandbox is up.\n")
    for name in ("proxy_url", "stripe_url", "provider_url", "bigquery_url", "router_url", "clock_url"):
        print(f"  {name.removesuffix('_url'):<10} {state[name]}")
    print("\nTenants:\n")
    for entry in state["tenants"]:
        print(f"  {entry['tenant_id']:<10} plan {entry['plan']:<8} key {entry['api_key']}")
    print(
        "\nTry it:\n\n"
        f"  curl -s {state['proxy_url']}/v1/chat/completions \\\n"
        f"    -H 'Authorization: Bearer {tenant['api_key']}' -H 'Content-Type: application/json' \\\n"
        """    -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'\n\n"""
        f"All of this, for programs: {path}\nCtrl-C ends it.",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
