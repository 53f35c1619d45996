"""``python -m sandbox.demo``: the whole system on this machine, driven, settled and proven.

Exit codes: 0 balanced, 1 unbalanced, 2 could not run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import httpx
import stripe
import typer

from sandbox.demo.collect import Connections, collect, connect
from sandbox.demo.display import Display, make_display, print_invoices, print_proof
from sandbox.demo.drive import Outcome, drive
from sandbox.demo.proof import Finding, Proof, prove, report
from sandbox.demo.script import Step, script
from sandbox.demo.settle import invoices, now, settle
from sandbox.layout import REPOSITORY, Layout, default_layout
from sandbox.state import NotRunningError, read_state
from tallygate.catalogue import load_catalogue

LEAST_REQUESTS: Final = 300
_OPTIONS: Final = ("--proxies", "2", "--callback-fault", "raise")
_POLL_SECONDS: Final = 0.2
_PACKAGES: Final = (
    "litellm", "stripe", "openai", "anthropic", "functions-framework", "google-cloud-bigquery", "duckdb",
)  # fmt: skip


class CouldNotRunError(Exception):
    """The sandbox did not start or broke; the message is what it said."""


@contextmanager
def own_sandbox(display: Display, layout: Layout, *options: str) -> Iterator[Connections]:
    """A sandbox for this demo alone, ended at the end of the block.

    Raises:
        CouldNotRunError: when it does not start.
    """
    display.say("starting the sandbox: proxies, edge, log router, warehouse, function, Stripe, providers")
    command = [sys.executable, "-m", "sandbox", "--root", str(layout.root), *options]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while not (layout.state.exists() and read_state(layout.state)["supervisor_pid"] == process.pid):
            if process.poll() is not None:
                raise CouldNotRunError(process.stderr.read().decode() if process.stderr else "")
            time.sleep(_POLL_SECONDS)
        yield connect(layout)
    finally:
        process.terminate()
        process.wait()
        if process.stderr:
            process.stderr.close()


@contextmanager
def running_sandbox(layout: Layout) -> Iterator[Connections]:
    """A sandbox that runs already.

    Raises:
        NotRunningError: when there is none.
    """
    yield connect(layout)


def run_demo(display: Display, connections: Connections, *, seed: int, requests: int) -> Proof:
    """Drive, settle, collect, prove."""
    state = connections.state
    began = now(state)
    plans = {tenant["tenant_id"]: tenant["plan"] for tenant in state["tenants"]}
    steps = script(plans, seed=seed, requests=requests)
    keys = {tenant["tenant_id"]: tenant["api_key"] for tenant in state["tenants"]}
    with display.counting("requests by the OpenAI and Anthropic clients", len(steps)) as progress:
        outcomes = drive(steps, keys, state["proxy_url"], progress)
    settle(connections, display.say)
    display.say("asking every source for its column")
    return prove_outcomes(connections, steps, outcomes, since=began)


def prove_outcomes(
    connections: Connections, steps: Sequence[Step], outcomes: Sequence[Outcome], *, since: datetime
) -> Proof:
    """The proof of what the outcomes left behind; may be repeated while the sandbox runs."""
    until = now(connections.state)
    sources = collect(connections, since=since, until=until)
    catalogue = load_catalogue(connections.layout.catalogue, now=until)
    told = {outcome.step.number: outcome.request_id for outcome in outcomes if outcome.request_id}
    proof = prove(steps, told, sources, catalogue)
    unexpected = [
        Finding(
            "script",
            f"step {outcome.step.number} ({outcome.step.case.name}): the client saw {outcome.ending}"
            f" {outcome.detail}, not {outcome.step.case.ending}",
        )
        for outcome in outcomes
        if outcome.ending != outcome.step.case.ending
    ]
    return Proof(proof.rows, unexpected + proof.findings, proof.events)


def main(
    seed: Annotated[int, typer.Option(help="Draws the prompts and their order.")] = 1,
    requests: Annotated[int, typer.Option(min=100, max=5000)] = LEAST_REQUESTS,
    attach: Annotated[bool, typer.Option(help="Use the sandbox that runs there already.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder of the sandbox; .sandbox by default.")] = None,
) -> None:
    """Drive requests through the whole system and prove that the invoice adds up."""
    started = time.monotonic()
    display = make_display()
    layout = Layout(root.resolve()) if root else default_layout()
    sandbox = running_sandbox(layout) if attach else own_sandbox(display, layout, *_OPTIONS)
    try:
        with sandbox as connections:
            proof = run_demo(display, connections, seed=seed, requests=requests)
            tenants = {t["stripe_customer"]: t["tenant_id"] for t in connections.state["tenants"]}
            print_invoices(display, invoices(connections), tenants)
    except (CouldNotRunError, NotRunningError, httpx.HTTPError, stripe.StripeError) as error:
        print(f"the demo could not run: {error}", file=sys.stderr)
        sys.exit(2)
    seconds = time.monotonic() - started
    print_proof(display, proof)
    path = _write(layout, proof, requests=requests, seed=seed, seconds=seconds)
    display.say(f"{proof.events} requests in {seconds:.0f} s with seed {seed}; the same as data: {path}")
    sys.exit(1 if proof.findings else 0)


def _write(layout: Layout, proof: Proof, *, requests: int, seed: int, seconds: float) -> Path:
    path = layout.root / "demo.json"
    versions = {name: version(name) for name in _PACKAGES}
    content = report(proof, requests=requests, seed=seed, seconds=seconds, versions=versions)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


if __name__ == "__main__":
    typer.run(main)
