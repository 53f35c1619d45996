"""A double that is killed goes on where it stood."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from tallygate.clock import write_offset
from tests.sandbox.stripe.double import open_shop, refusal, use

_START_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable, "-m", "sandbox.stripe", "--port", str(port), "--state", str(folder / "state"),
        "--clock", f"file:{folder / 'clock'}",
    ]  # fmt: skip
    with (folder / "stderr").open("ab") as stderr:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
    try:
        wait_for_health(port, child)
        yield child
    finally:
        child.kill()
        printed, _ = child.communicate()
    assert printed == b"", "a double logs to stderr only"


def wait_for_health(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/_sandbox/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError("the double did not become ready")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_offset(tmp_path / "clock", timedelta(0))
    return tmp_path


def test_nothing_that_was_confirmed_is_lost_by_kill_9(folder: Path) -> None:
    port, now = free_port(), datetime.now(UTC)
    bases: Any = {"api": f"http://127.0.0.1:{port}", "meter_events": f"http://127.0.0.1:{port}"}
    client = stripe.StripeClient("sk_test_kill", base_addresses=bases)
    with process(folder, port) as child:
        shop = open_shop(client)
        for number in range(20):
            use(client, shop.customer, number + 1, f"n{number}", now, key=f"n{number}:a0")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()

    with process(folder, port):
        ledger = httpx.get(f"http://127.0.0.1:{port}/_sandbox/ledger", trust_env=False).json()
        use(client, shop.customer, 20, "n19", now, key="n19:a0")
        with pytest.raises(stripe.StripeError) as error:
            use(client, shop.customer, 20, "n19", now, key="n19:a1")
        subscription = client.v1.subscriptions.retrieve(shop.subscription)

    assert sum(int(event["value"]) for event in ledger["events"]) == 210
    assert refusal(error.value) == (400, "duplicate_meter_event")
    assert len(subscription["items"].data) == 4


def test_what_became_due_while_it_was_down_happens_after_the_start(folder: Path) -> None:
    port = free_port()
    bases: Any = {"api": f"http://127.0.0.1:{port}", "meter_events": f"http://127.0.0.1:{port}"}
    client = stripe.StripeClient("sk_test_kill", base_addresses=bases)
    with process(folder, port) as child:
        shop = open_shop(client)
        use(client, shop.customer, 12, "one", datetime.now(UTC) + timedelta(seconds=1))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    write_offset(folder / "clock", timedelta(days=32))

    with process(folder, port):
        invoices = client.v1.invoices.list({"customer": shop.customer}).data
        quantities = {line.quantity for line in invoices[0].lines.data}

    assert [invoice.status for invoice in invoices] == ["paid", "paid"]
    assert 12 in quantities
