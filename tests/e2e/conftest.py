"""One sandbox with four proxies, driven and settled once; the tests of this folder look at what it left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from rich.console import Console

from sandbox.demo.__main__ import own_sandbox
from sandbox.demo.collect import Connections
from sandbox.demo.display import Display
from sandbox.demo.drive import Outcome, drive
from sandbox.demo.play import prove_outcomes
from sandbox.demo.proof import Finding, Proof
from sandbox.demo.script import Step, script
from sandbox.demo.settle import now, settle
from sandbox.layout import Layout
from sandbox.state import read_state

SEED: Final = 20260301
REQUESTS: Final = 130
PROXIES: Final = 4
KILLED: Final = ("router", "usage_reporter")
"""Parts that are killed while requests run: what they do must survive it."""
_RESTART_SECONDS: Final = 30


@dataclass
class Driven:
    """A sandbox after its demo, and what the demo was told."""

    connections: Connections
    steps: Sequence[Step]
    outcomes: Sequence[Outcome]
    since: datetime
    proof: Proof
    killed: Mapping[str, int]
    """Pids of the parts that were killed, by name."""
    peak_kib: Mapping[str, int] = field(default_factory=dict)
    """Peak proportional set size by part."""

    def findings(self, **changes: Any) -> set[Finding]:
        """What the proof finds now; ``changes`` to ``state.json`` apply."""
        connections = replace(self.connections, state={**self.connections.state, **changes})
        return set(prove_outcomes(connections, self.steps, self.outcomes, since=self.since).findings)


@pytest.fixture(scope="session")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    layout = Layout(tmp_path_factory.mktemp("sandbox") / "root")
    display = Display(Console(highlight=False, quiet=True))
    options = ("--proxies", str(PROXIES), "--callback-fault", "late")
    with own_sandbox(display, layout, *options) as connections:
        state = connections.state
        for fault in ({"kind": "duplicate", "rate": 0.2}, {"kind": "shuffle", "rate": 0.3}):
            httpx.post(
                f"{state['router_url']}/_sandbox/faults", json={**fault, "seed": SEED}
            ).raise_for_status()
        since = now(state)
        tenants = state["tenants"]
        steps = script({t["tenant_id"]: t["plan"] for t in tenants}, seed=SEED, requests=REQUESTS)
        print(f"seed {SEED}")
        watch = _Watch(layout)
        done: list[int] = []

        def progress() -> None:
            done.append(1)
            if len(done) == REQUESTS // 2:
                for name in KILLED:
                    os.kill(state["pids"][name], signal.SIGKILL)

        keys = {t["tenant_id"]: t["api_key"] for t in tenants}
        with watch:
            outcomes = drive(steps, keys, state["proxy_url"], progress)
            _wait(lambda: all(_answers(state, name) for name in KILLED))
            settle(connections)
        proof = prove_outcomes(connections, steps, outcomes, since=since)
        killed = {name: state["pids"][name] for name in KILLED}
        yield Driven(connections, steps, outcomes, since, proof, killed, watch.peak_kib)


def _answers(state: Mapping[str, Any], name: str) -> bool:
    url = state["functions"].get(name) or state[f"{name}_url"]
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.HTTPError:
        return False


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _RESTART_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "a killed part did not come back"
        time.sleep(0.1)


class _Watch:
    """Looks at the memory of every part once in a while."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_kib: dict[str, int] = {}

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            state = read_state(self._layout.state)
            for name, pid in {**state["pids"], "supervisor": state["supervisor_pid"]}.items():
                kib = _pss_kib(pid)
                self.peak_kib[name] = max(self.peak_kib.get(name, 0), kib)


def _pss_kib(pid: int) -> int:
    """Proportional set size of a process; 0 when it is gone. Source: proc(5)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
