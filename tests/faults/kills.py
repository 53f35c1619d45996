"""The suite ``kills``: SIGKILL for the processes of a real sandbox while requests run."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import openai
from rich.console import Console

from sandbox.demo.__main__ import own_sandbox
from sandbox.demo.collect import Connections, collect
from sandbox.demo.display import Display
from sandbox.demo.settle import advance, now, settle
from sandbox.layout import Layout
from sandbox.state import read_state
from tests.faults.totals import Totals, counts
from tests.faults.verdict import Verdict

KILLS: Final = 20
SERVING: Final = 0
VICTIM: Final = 1
"""Of two proxies, the one that is killed; the other's requests all come to their end."""
TRAFFIC_THREADS: Final = 2
_PAUSE_SECONDS: Final = 0.05
"""Between two requests of a thread: the killed processes need some of the machine to come back."""
MODEL: Final = "gpt-4o-mini"
_HOSTAGE_MS: Final = 60_000
"""How long the provider takes over a request that is in flight when its proxy is killed."""
_BACK_SECONDS: Final = 90
_AFTER_LEASE_SECONDS: Final = 11 * 60
"""A run that was killed keeps its lease for ten minutes."""
_LOOK_SECONDS: Final = 0.1
_TIMEOUT_SECONDS: Final = 60
_METERS: Final = {
    "input": "llm_input_tokens",
    "cached_input": "llm_cached_input_tokens",
    "cache_write": "llm_cache_write_tokens",
    "output": "llm_output_tokens",
}
Bucket = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request whose client got the whole answer."""

    tenant_id: str
    request_id: str
    output_tokens: int
    """As the script asked for."""


@dataclass(slots=True)
class Told:
    """What the clients know when all is over."""

    answered: list[Answered] = field(default_factory=list)
    hostages: set[tuple[str, str]] = field(default_factory=set)
    """Tenant and request id of what was in flight in a killed proxy."""
    broken: list[str] = field(default_factory=list)
    """Requests that failed though nothing on their way was killed."""
    kills: Counter[str] = field(default_factory=Counter)


@contextmanager
def driven(layout: Layout) -> Iterator[Connections]:
    """A sandbox with two proxies and its scheduler."""
    display = Display(Console(highlight=False, quiet=True))
    with own_sandbox(display, layout, "--proxies", "2") as connections:
        yield connections


def victims(connections: Connections) -> tuple[str, ...]:
    """The real processes: a proxy, every function, and what carries the log lines."""
    return (f"proxy-{VICTIM}", *connections.state["functions"], "router")


class Assault:
    """Traffic on one proxy, kills of everything else."""

    def __init__(self, connections: Connections, seed: int) -> None:
        self._connections = connections
        self._state = connections.state
        self._keys = {tenant["tenant_id"]: tenant["api_key"] for tenant in self._state["tenants"]}
        self._draw = random.Random(seed)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.told = Told()

    def run(self, kills: Mapping[str, int]) -> Told:
        """Kill each of the named processes so many times, in turn, under traffic."""
        order = [name for name, times in kills.items() for _ in range(times)]
        self._draw.shuffle(order)
        with ThreadPoolExecutor(TRAFFIC_THREADS) as pool:
            running = [pool.submit(self._traffic, seed) for seed in range(TRAFFIC_THREADS)]
            try:
                for name in order:
                    self._kill(name)
                    self.told.kills[name] += 1
            finally:
                self._over.set()
            for future in running:
                future.result()
        advance(self._state, _AFTER_LEASE_SECONDS)
        return self.told

    # --- traffic -----------------------------------------------------------------------------

    def _traffic(self, seed: int) -> None:
        draw = random.Random(seed)
        with ExitStack() as stack:
            clients = {
                tenant: stack.enter_context(_client(self._state, tenant, SERVING))
                for tenant in sorted(self._keys)
            }
            while not self._over.wait(_PAUSE_SECONDS):
                tenant, tokens = draw.choice(list(clients)), draw.randint(1, 60)
                try:
                    request_id = _ask(clients[tenant], tokens)
                except (openai.OpenAIError, httpx.HTTPError) as error:
                    self.told.broken.append(f"{tenant}: {error}")
                    continue
                with self._lock:
                    self.told.answered.append(Answered(tenant, request_id, tokens))

    # --- kills -------------------------------------------------------------------------------

    def _kill(self, name: str) -> None:
        if name == f"proxy-{VICTIM}":
            self._kill_proxy(name)
        elif name in self._state["functions"]:
            self._kill_function(name)
        else:
            time.sleep(self._draw.uniform(0, 0.5))  # any moment of its work will do
            self._kill_and_wait(name, f"{self._state[f'{name}_url']}/_sandbox/health")

    def _kill_proxy(self, name: str) -> None:
        tenants = [self._draw.choice(sorted(self._keys)) for _ in range(self._draw.randint(1, 3))]
        url = f"{self._state['proxy_urls'][VICTIM]}/ready"
        kill = partial(self._kill_and_wait, name, url)
        self.told.hostages |= held_while(kill, self._state, VICTIM, tenants)

    def _kill_function(self, name: str) -> None:
        """While it works: what it has begun is taken up by the run after its lease."""
        url = self._state["functions"][name]

        def call() -> None:
            with httpx.Client(trust_env=False, timeout=_TIMEOUT_SECONDS) as http:
                try:
                    http.post(url, json={"depth": "hourly"})
                except httpx.HTTPError:
                    return  # it is killed before it answers

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(call)
            time.sleep(self._draw.uniform(0, 0.8))  # any moment of its work will do
            self._kill_and_wait(name, url)
            running.result()
        advance(self._state, _AFTER_LEASE_SECONDS)

    def _kill_and_wait(self, name: str, url: str) -> None:
        pid = read_state(self._connections.layout.state)["pids"][name]
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _BACK_SECONDS
        while self._pid(name) == pid or not _answers(url):
            assert time.monotonic() < deadline, f"{name} did not come back"
            time.sleep(_LOOK_SECONDS)

    def _pid(self, name: str) -> int:
        pid: int = read_state(self._connections.layout.state)["pids"][name]
        return pid


def _client(state: Mapping[str, Any], tenant_id: str, proxy: int) -> openai.OpenAI:
    (key,) = (tenant["api_key"] for tenant in state["tenants"] if tenant["tenant_id"] == tenant_id)
    url = f"{state['proxy_urls'][proxy]}/v1"
    return openai.OpenAI(api_key=key, base_url=url, max_retries=0, timeout=_TIMEOUT_SECONDS)


def held_while(
    kill: Callable[[], None], state: Mapping[str, Any], proxy: int, tenants: Sequence[str]
) -> set[tuple[str, str]]:
    """Kill a proxy while requests of the tenants are in flight in it; these, by tenant and request id.

    Their answers have begun to stream, so that their clients know the ids.
    """
    held = threading.Barrier(len(tenants) + 1, timeout=_TIMEOUT_SECONDS)

    def hostage(tenant: str) -> tuple[str, str]:
        prompt = f"[[out=40 delay_ms={_HOSTAGE_MS}]] some words"
        with _client(state, tenant, proxy) as client:
            stream = client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": prompt}], stream=True
            )
            request_id = stream.response.headers["x-request-id"]
            held.wait()
            try:
                for _ in stream:
                    pass
            except (openai.OpenAIError, httpx.HTTPError):
                return tenant, request_id
        raise AssertionError(f"{request_id}: a killed proxy's stream came to its end")

    with ThreadPoolExecutor(len(tenants)) as pool:
        running = [pool.submit(hostage, tenant) for tenant in tenants]
        held.wait()
        kill()
        return {future.result() for future in running}


def _ask(client: openai.OpenAI, tokens: int) -> str:
    """The id of a request that was answered."""
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": f"[[out={tokens}]] some words"}]
    )
    answer.parse()
    return str(answer.headers["x-request-id"])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def judge(connections: Connections, told: Told, since: datetime) -> Verdict:
    """Compare what the clients were answered with the warehouse, the ledger, Stripe and the invoices."""
    plans = {tenant["tenant_id"]: tenant["plan"] for tenant in connections.state["tenants"]}
    sources = collect(connections, since=since, until=now(connections.state))
    used = _used(told, sources.provider_ledger)
    prices = json.loads(connections.layout.catalogue.read_text())["models"][MODEL]
    problems = [*told.broken, *_wrong_outputs(told, sources.provider_ledger)]
    wanted: dict[str, Counter[Bucket]] = {"included": Counter(), "invoice": Counter()}
    for (tenant, meter), value in _with_cost(used, prices).items():
        billed = (
            meter == "llm_cost_nano_usd" if plans[tenant] == "scale" else meter != "llm_cost_nano_usd"
        ) and plans[tenant] != "starter"
        wanted["invoice" if billed else "included"][tenant, meter] += value
    found = {"included": Counter(sources.sealed.get("included", {})), "invoice": Counter(sources.invoice)}
    if Counter(sources.stripe) != +Counter(sources.invoice):
        problems.append("Stripe's summaries and its invoices differ")
    doubled = lost = 0
    for name, amounts in wanted.items():
        over = Counter(found[name])
        over.subtract(amounts)
        for (tenant, meter), value in sorted(over.items()):
            if value:
                problems.append(f"{tenant} {meter}: {name} is off by {value}")
            doubled, lost = doubled + max(value, 0), lost + max(-value, 0)
    unrecorded = unrecorded_requests(connections)
    if unrecorded != told.hostages:
        problems.append(f"unrecorded: {sorted(unrecorded)}, should be {sorted(told.hostages)}")
    parked = sum(sources.sealed.get("parked", {}).values())
    return Verdict(doubled, lost, parked, len(unrecorded), tuple(problems))


def _used(told: Told, rows: Any) -> dict[str, Counter[Bucket]]:
    """By request: its tokens by tenant and meter, as the provider counted them."""
    tenants = {one.request_id: one.tenant_id for one in told.answered}
    used: dict[str, Counter[Bucket]] = {request_id: Counter() for request_id in tenants}
    for row in rows:
        tenant = tenants.get(row["request_id"])
        if tenant is not None:
            used[row["request_id"]][tenant, _METERS[row["class"]]] += int(row["tokens"])
    return used


def _with_cost(used: Mapping[str, Counter[Bucket]], model: Mapping[str, Any]) -> Counter[Bucket]:
    """Sums over all requests, the cost of each rounded once, half up, to nano-USD."""
    (price,) = model["prices"]
    total: Counter[Bucket] = Counter()
    for tokens in used.values():
        total += tokens
        pico_usd = 0
        for (_, meter), count in tokens.items():
            pico_usd += count * _pico_usd(price, meter)
        tenants = {tenant for tenant, _ in tokens}
        for tenant in tenants:
            total[tenant, "llm_cost_nano_usd"] += (pico_usd + 500) // 1000
    return total


def _pico_usd(price: Mapping[str, Any], meter: str) -> int:
    return int(price["pico_usd_per_token"][meter.removeprefix("llm_").removesuffix("_tokens")])


def _wrong_outputs(told: Told, rows: Any) -> Iterator[str]:
    """Requests that the provider counted otherwise than the script asked."""
    outputs: Counter[str] = Counter()
    for row in rows:
        if row["class"] == "output":
            outputs[row["request_id"]] += int(row["tokens"])
    for one in told.answered:
        if outputs[one.request_id] != one.output_tokens:
            found = outputs[one.request_id]
            yield f"{one.request_id}: {found} output tokens, the script asked for {one.output_tokens}"


def unrecorded_requests(connections: Connections) -> set[tuple[str, str]]:
    """Tenant and request id of what the warehouse lists as unrecorded."""
    ledger = connections.state["dataset_ledger"]
    text = f"SELECT u.tenant_id, u.request_id FROM `{ledger}.unrecorded_usage` AS u"  # noqa: S608
    return {(row["tenant_id"], row["request_id"]) for row in connections.warehouse.query_and_wait(text)}


def assault(layout: Layout, seed: int, kills: int) -> tuple[Told, Verdict]:
    """A sandbox in an empty folder, each real process of it killed so many times, settled and judged."""
    with driven(layout) as connections:
        since = now(connections.state)
        told = Assault(connections, seed).run(dict.fromkeys(victims(connections), kills))
        settle(connections)
        return told, judge(connections, told, since)


def kills(seed: int, totals: Totals) -> None:
    """The long form: every real process killed twenty times."""
    with tempfile.TemporaryDirectory() as folder:
        told, verdict = assault(Layout(Path(folder) / "root"), seed, KILLS)
    totals.add(verdict)
    state = "right" if verdict.right else "wrong"
    print(
        f"kills: seed {seed}: {len(told.answered)} requests; killed: {counts(told.kills)}; "
        f"{verdict.unrecorded} in flight then, all listed: {state}",
        *verdict.problems,
        sep="\n  ",
        flush=True,
    )
