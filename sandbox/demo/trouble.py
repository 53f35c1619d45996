"""Trouble on stage: an instance killed in mid-request, Stripe out of reach, a window sealed again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import datetime, timedelta
from typing import Final

import httpx
import openai

from sandbox.demo.collect import Connections
from sandbox.demo.drive import Outcome
from sandbox.demo.proof import SEAL, Finding
from sandbox.demo.script import Case, Step
from sandbox.state import read_state

KILLED: Final = Case(
    "killed instance", "chat", "gpt-4o-mini", stream=True, ending="failure",
    directives="[[out=80 delay_ms=6000]]", killed=True,
)  # fmt: skip
OUTAGE_CALLS: Final = 40
"""Calls for meter events that find no Stripe: more than a run of the reporter makes before it gives up."""
_CHUNKS_BEFORE_KILL: Final = 5
_RETURN_SECONDS: Final = 60


def kill_an_instance(connections: Connections, step: Step, key: str) -> Outcome:
    """Stream from one proxy and kill it after the first chunk; returns when it is back.

    Nothing can leave a usage event then: the request was admitted and its usage is unrecorded.
    """
    state = connections.state
    client = openai.OpenAI(api_key=key, base_url=f"{state['proxy_urls'][0]}/v1", max_retries=0, timeout=60)
    stream = client.chat.completions.create(
        model=step.case.model,
        messages=[{"role": "user", "content": step.prompt}],
        stream=True,
        extra_headers={"Idempotency-Key": step.idempotency_key},
    )
    request_id = stream.response.headers.get("x-request-id")
    for _ in range(_CHUNKS_BEFORE_KILL):
        next(stream)
    os.kill(read_state(connections.layout.state)["pids"]["proxy-0"], signal.SIGKILL)
    ending = "success"
    try:
        for _ in stream:
            pass
    except (openai.OpenAIError, httpx.HTTPError):
        ending = "failure"
    _await_return(state["proxy_urls"][0])
    return Outcome(step, request_id, ending, "")


def _await_return(url: str) -> None:
    deadline = time.monotonic() + _RETURN_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        time.sleep(0.2)


def cut_stripe_off(connections: Connections) -> None:
    """The next calls that bring usage to Stripe find nobody."""
    fault = {"kind": "outage", "count": OUTAGE_CALLS, "match": {"path": "/v2/billing/meter_events"}}
    httpx.post(f"{connections.state['stripe_url']}/_sandbox/faults", json=fault).raise_for_status()


def replay(connections: Connections, since: datetime, until: datetime) -> list[Finding]:
    """Seal everything once more: nothing may come of it."""
    window = {"from": since.isoformat(), "to": (until + timedelta(hours=1)).isoformat()}
    url = connections.state["functions"]["usage_reporter"]
    answer = httpx.post(url, json=window, timeout=120).raise_for_status().json()
    if answer["sealed"] or answer["sent"] or answer.get("skipped"):
        return [Finding(SEAL, f"a replay of the whole period sealed and sent again: {answer}")]
    return []
