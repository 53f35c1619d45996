"""The play: what happens in the demo, in its order, and the proof of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sandbox.demo import trouble
from sandbox.demo.collect import Connections, collect
from sandbox.demo.display import Display
from sandbox.demo.drive import Outcome, drive
from sandbox.demo.lifecycle import AFTER_GRACE_SECONDS, Lifecycle
from sandbox.demo.proof import Finding, Proof, prove
from sandbox.demo.script import Step, script
from sandbox.demo.settle import FIRST_RUNS_SECONDS, advance, now, pass_period_end
from tallygate.catalogue import load_catalogue

_FIRST_LIFECYCLE_STEP: Final = 9001
_KILLED_STEP: Final = 9000
_LAST_INVOICE_SECONDS: Final = 8 * 3600
"""A draft is held for six hours at most."""


def play(display: Display, connections: Connections, *, seed: int, requests: int) -> Proof:
    """Drive requests, live through a subscription and some trouble, let invoices become final, prove."""
    state = connections.state
    began = now(state)
    life = Lifecycle(connections, display.say, _FIRST_LIFECYCLE_STEP)
    life.subscribe()
    plans = {tenant["tenant_id"]: tenant["plan"] for tenant in state["tenants"]}
    keys = {tenant["tenant_id"]: tenant["api_key"] for tenant in state["tenants"]}
    steps = script(plans, seed=seed, requests=requests)
    with display.counting("requests by the OpenAI and Anthropic clients", len(steps)) as progress:
        outcomes = drive(steps, keys, state["proxy_url"], progress)
    display.say("one proxy is killed with kill -9 in the middle of a stream")
    killed = Step(_KILLED_STEP, next(iter(plans)), trouble.KILLED, f"{trouble.KILLED.directives} story")
    outcomes.append(trouble.kill_an_instance(connections, killed, keys[killed.tenant_id]))
    life.add_seats()
    life.stop_paying()
    display.say("the reporter runs by its schedule, and Stripe can't be reached at first")
    trouble.cut_stripe_off(connections)
    advance(state, FIRST_RUNS_SECONDS)
    display.say("the clock moves past the end of the period")
    pass_period_end(connections)
    life.live_in_grace()
    advance(state, AFTER_GRACE_SECONDS)
    life.be_refused()
    life.pay()
    advance(state, FIRST_RUNS_SECONDS)
    life.leave()
    advance(state, _LAST_INVOICE_SECONDS)
    display.say("every window is replayed: nothing may come of it")
    replayed = trouble.replay(connections, began, now(state))
    life.check_amounts()
    display.say("asking every source for its column")
    every_step = [*steps, killed, *life.steps]
    proof = prove_outcomes(connections, every_step, [*outcomes, *life.outcomes], since=began)
    return Proof(proof.rows, life.findings + proof.findings + replayed, proof.events)


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
