"""Proxies that are killed with requests in flight: these are listed, with their tenants, and nothing else."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from sandbox.demo.settle import advance
from sandbox.state import read_state
from tests.e2e.conftest import PROXIES, Driven
from tests.faults.kills import held_while, unrecorded_requests

_DELIVERED_SECONDS = 5 * 60
"""After that, in the sandbox's time, the log router has delivered what was written."""


@pytest.mark.parametrize("proxy", [PROXIES - 1, PROXIES - 2])
def test_what_a_killed_proxy_loses_is_listed(driven: Driven, proxy: int) -> None:
    state = driven.connections.state
    before = unrecorded_requests(driven.connections)
    pid = read_state(driven.connections.layout.state)["pids"][f"proxy-{proxy}"]

    lost = held_while(partial(os.kill, pid, signal.SIGKILL), state, proxy, ["borealis", "corvus", "borealis"])
    advance(state, _DELIVERED_SECONDS)

    assert len(lost) == 3
    assert unrecorded_requests(driven.connections) - before == lost
