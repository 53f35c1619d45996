"""``python -m sandbox.demo``: the whole system on this machine, driven, settled and proven.

Exit codes: 0 balanced, 1 unbalanced, 2 could not run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import httpx
import stripe
import typer

from sandbox.demo.collect import Connections, connect
from sandbox.demo.display import Display, make_display, print_invoices, print_proof
from sandbox.demo.picture import draw
from sandbox.demo.play import play
from sandbox.demo.proof import Proof, report
from sandbox.demo.settle import invoices
from sandbox.layout import REPOSITORY, Layout, default_layout
from sandbox.state import NotRunningError, read_state

LEAST_REQUESTS: Final = 300
_OPTIONS: Final = ("--proxies", "2", "--callback-fault", "raise", "--key-cache-seconds", "2")
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


def main(
    seed: Annotated[int, typer.Option(help="Draws the prompts and their order.")] = 1,
    requests: Annotated[int, typer.Option(min=100, max=5000)] = LEAST_REQUESTS,
    attach: Annotated[bool, typer.Option(help="Use the sandbox that runs there already.")] = False,
    root: Annotated[Path | None, typer.Option(help="Folder of the sandbox; .sandbox by default.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw what is printed, too, as SVG.")] = None,
) -> None:
    """Drive requests through the whole system and prove that the invoice adds up."""
    started = time.monotonic()
    display = make_display(record=picture is not None)
    layout = Layout(root.resolve()) if root else default_layout()
    sandbox = running_sandbox(layout) if attach else own_sandbox(display, layout, *_OPTIONS)
    try:
        with sandbox as connections:
            proof = play(display, connections, seed=seed, requests=requests)
            tenants = {t["stripe_customer"]: t["tenant_id"] for t in connections.state["tenants"]}
            print_invoices(display, invoices(connections), tenants)
    except (CouldNotRunError, NotRunningError, httpx.HTTPError, stripe.StripeError) as error:
        print(f"the demo could not run: {error}", file=sys.stderr)
        sys.exit(2)
    seconds = time.monotonic() - started
    print_proof(display, proof)
    if picture is not None:  # without the last line, which tells of this machine
        draw(display.console, picture)
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
