"""How long the gateway takes to follow Stripe: in calm, without first attempts, in a burst."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from proxy.auth import Authenticator
from tallygate.appdb import Condition
from tallygate.subscriptions.permits import PER_SECOND
from tests.support.stripe_events import sign, snapshot
from tests.tallygate.subscriptions.speed.site import KEY, SYNC_EVERY_SECONDS, Site, open_site

STRIPE_SECONDS: Final = 0.2
"""How long an answer of Stripe takes."""
CHANGE_EVERY_SECONDS: Final = 0.6
"""Between changes in calm."""
POLL_SECONDS: Final = 0.5
RENEWALS: Final = 2000
BURST_SECONDS: Final = 10.0
IN_FLIGHT: Final = 200
_LIMITS: Final = {"calm": 35.0, "failing": 95.0, "burst": 200.0}
"""Seconds at p99, from Stripe's change to the proxy's refusal, and from a payment to service again."""
_ANSWER_LIMIT: Final = 1.0


@dataclass
class Measured:
    """What a scene has shown."""

    scene: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    """What, and how much."""
    missed: list[str] = field(default_factory=list)

    def seconds(self, what: str, samples: Iterable[float], limit: float) -> None:
        """Percentiles of some waits, against a limit at p99."""
        ordered = sorted(samples)
        p50, p99 = (percentile(ordered, share) for share in (0.5, 0.99))
        text = (
            f"n {len(ordered)}, p50 {p50:.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s (limit {limit:g} s)"
        )
        self.rows.append((what, text))
        if p99 > limit:
            self.missed.append(f"{self.scene}: {what}: p99 {p99:.2f} s exceeds {limit:g} s")

    def check(self, what: str, found: object, *, right: bool) -> None:
        """A number that must be right."""
        self.rows.append((what, str(found)))
        if not right:
            self.missed.append(f"{self.scene}: {what}: {found}")


def percentile(ordered: list[float], share: float) -> float:
    """The smallest sample that at least this share of all does not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


@dataclass
class Watch:
    """Asks the proxy's authenticator of each tenant, until its answer is the one that is waited for."""

    authenticator: Authenticator
    site: Site
    since: dict[str, float] = field(default_factory=dict)
    """When Stripe changed, by tenant."""
    served: dict[str, bool] = field(default_factory=dict)
    """What the answer has to become."""
    waits: dict[str, float] = field(default_factory=dict)

    async def serves(self, tenant_id: str) -> bool:
        """Whether the proxy would serve the tenant now."""
        key = self.site.keys[tenant_id]
        caller = await self.authenticator.authenticate({b"x-api-key": key.encode()})
        return caller.tenant.serves_at(datetime.now(UTC))

    def changed(self, tenant_id: str, *, served: bool) -> None:
        """Stripe has just changed."""
        self.since[tenant_id], self.served[tenant_id] = time.monotonic(), served

    async def look(self, tenants: list[str], give_up_after: float) -> None:
        """Look at all, again and again, until each has its answer."""
        deadline = time.monotonic() + give_up_after
        while len(self.waits) < len(tenants) and time.monotonic() < deadline:
            for tenant_id in tenants:
                serves = await self.serves(tenant_id)
                waits = tenant_id in self.since and tenant_id not in self.waits
                if waits and serves == self.served[tenant_id]:
                    self.waits[tenant_id] = time.monotonic() - self.since[tenant_id]
            await asyncio.sleep(POLL_SECONDS)
        for tenant_id in tenants:
            self.waits.setdefault(tenant_id, give_up_after)


def calm(folder: Path) -> Measured:
    """Changes come one by one; the webhook applies them."""
    with open_site(folder) as site:
        return asyncio.run(_one_by_one("calm", site))


def failing(folder: Path) -> Measured:
    """Changes come one by one; no first attempt gets through, all is left to the sync."""
    with open_site(folder, attempts_fail=True) as site:
        return asyncio.run(_one_by_one("failing", site))


async def _one_by_one(scene: str, site: Site, count: int = 50) -> Measured:
    leaving = [_subscribed(site, f"leaver-{number:03}") for number in range(count)]
    paying = [_unpaid(site, f"payer-{number:03}") for number in range(count)]
    site.connect()
    await _settle(site)
    site.slow_stripe(STRIPE_SECONDS)
    watch = Watch(site.authenticator(), site)
    tenants = [tenant for tenant, *_ in (*leaving, *paying)]
    for tenant, *_ in leaving:
        assert await watch.serves(tenant), f"{tenant} is not served at first"
    for tenant, *_ in paying:
        assert not await watch.serves(tenant), f"{tenant} is served before it has paid"
    site.forget_calls()
    scheduler = asyncio.create_task(site.schedule(SYNC_EVERY_SECONDS / 2))
    looking = asyncio.create_task(watch.look(tenants, 3 * _LIMITS[scene] + count * CHANGE_EVERY_SECONDS))
    draw = random.Random(1)
    for left, paid in zip(leaving, paying, strict=True):
        await asyncio.sleep(CHANGE_EVERY_SECONDS * draw.uniform(0.5, 1.5))
        await asyncio.to_thread(site.client.v1.subscriptions.cancel, left[1])
        watch.changed(left[0], served=False)
        await asyncio.to_thread(_pay, site, paid[1])
        watch.changed(paid[0], served=True)
    await looking
    await _end(scheduler)
    measured = Measured(scene)
    for what, some in (("change to refusal", leaving), ("payment to service", paying)):
        measured.seconds(what, [watch.waits[tenant] for tenant, *_ in some], _LIMITS[scene])
    return measured


def _subscribed(site: Site, tenant_id: str) -> tuple[str, str]:
    customer = site.customer(tenant_id)
    site.tenant(tenant_id, customer)
    return tenant_id, site.subscribe(customer).id


def _unpaid(site: Site, tenant_id: str) -> tuple[str, str]:
    """A tenant whose first payment has been declined; its invoice."""
    customer = site.customer(tenant_id)
    site.tenant(tenant_id, customer)
    _payments(site, customer, "declines")
    made = site.subscribe(customer, payment_behavior="allow_incomplete")
    _payments(site, customer, "works")
    return tenant_id, str(made.latest_invoice)


def _payments(site: Site, customer: str, outcome: str) -> None:
    url = f"{site.stripe_url}/_sandbox/customers/{customer}/payment"
    httpx.post(url, json={"outcome": outcome}, trust_env=False).raise_for_status()


def _pay(site: Site, invoice: str) -> None:
    site.client.v1.invoices.pay(invoice)


async def _settle(site: Site) -> None:
    """Every tenant is as Stripe says: the events of the preparation are told, and applied for good."""
    for tenant_id in site.keys:
        document = site.database.get("tenants", tenant_id)
        assert document is not None
        event = f"evt_first_{tenant_id}".replace("-", "_")
        body = snapshot(event, about={"customer": document["stripe_customer"]})
        await _post(site.webhooks[0], body)
    async with asyncio.timeout(240):
        while (await site.synchronise()).get("backlog", 1):
            await asyncio.sleep(1)


async def _post(url: str, body: bytes) -> None:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        answer = await http.post(url, content=body, headers={"Stripe-Signature": sign(body)})
    answer.raise_for_status()


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def burst(folder: Path, renewals: int = RENEWALS) -> Measured:
    """Many renewals at once; a few customers leave amid them."""
    with open_site(folder) as site:
        return asyncio.run(_burst(site, renewals))


async def _burst(site: Site, renewals: int, leavers: int = 100) -> Measured:
    model = site.customer("model")
    pairs = site.multiply(model, site.subscribe(model).id, renewals)
    for number, (customer, _) in enumerate(pairs):
        tenant_id = f"tenant-{number:05}"
        if number % (renewals // leavers) == 0:
            site.tenant(tenant_id, customer)
            site.database.put(
                "tenants", tenant_id, {**(site.database.get("tenants", tenant_id) or {}), "status": "active"}
            )
        else:
            _bound(site, tenant_id, customer)
    watch = Watch(site.authenticator(), site)
    leaving = {pairs[int(tenant[7:])][0]: tenant for tenant in site.keys}
    for tenant in leaving.values():
        assert await watch.serves(tenant)
    site.slow_stripe(STRIPE_SECONDS)
    site.forget_calls()
    scheduler = asyncio.create_task(site.schedule(random.Random(2).uniform(0, SYNC_EVERY_SECONDS)))
    looking = asyncio.create_task(watch.look(list(leaving.values()), 3 * _LIMITS["burst"]))
    started = time.time()
    answers = await _storm(site, pairs, leaving, watch)
    sent = time.time()
    await looking
    async with asyncio.timeout(600):
        while site.database.query("inbox", [Condition("state", "==", "waiting")], limit=1):
            await asyncio.sleep(1)
    applied = time.time()
    await _end(scheduler)
    return _judge_burst(site, pairs, answers, watch, (started, sent, applied))


def _bound(site: Site, tenant_id: str, customer: str) -> None:
    """A tenant without a key."""
    keys = dict(site.keys)
    site.tenant(tenant_id, customer)
    site.keys = keys


async def _storm(
    site: Site, pairs: list[tuple[str, str]], leaving: dict[str, str], watch: Watch
) -> list[tuple[int, float]]:
    """Post an event for each renewal, evenly over the time, never more than so many in flight."""
    places, answers = asyncio.Semaphore(IN_FLIGHT), list[tuple[int, float]]()
    begin = time.monotonic()

    async def one(number: int, customer: str, subscription: str) -> None:
        await asyncio.sleep(max(0.0, begin + number * BURST_SECONDS / len(pairs) - time.monotonic()))
        if customer in leaving:
            gone = f"{site.stripe_url}/v1/subscriptions/{subscription}"
            assert await ask("DELETE", gone, {"Authorization": f"Bearer {KEY}"}) == 200
            watch.changed(leaving[customer], served=False)
        about = {"id": subscription, "customer": customer}
        body = snapshot(f"evt_burst{number:06}", about=about)
        async with places:
            headers = {"Stripe-Signature": sign(body), "Content-Type": "application/json"}
            at = time.monotonic()
            status = await ask("POST", site.webhooks[number % len(site.webhooks)], headers, body)
            answers.append((status, time.monotonic() - at))

    await asyncio.gather(*(one(number, *pair) for number, pair in enumerate(pairs)))
    return answers


async def ask(method: str, url: str, headers: dict[str, str], body: bytes = b"") -> int:
    """The status of an answer, on a connection of its own: a client that costs next to nothing."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        lines = [f"{method} {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        writer.write(head.encode() + body)
        answer = await reader.read()
        return int(answer.split(b" ", 2)[1])
    finally:
        writer.close()
        await writer.wait_closed()


def _judge_burst(
    site: Site,
    pairs: list[tuple[str, str]],
    answers: list[tuple[int, float]],
    watch: Watch,
    times: tuple[float, float, float],
) -> Measured:
    measured = Measured("burst")
    started, sent, applied = times
    asked = [(at, what, customer) for at, what, customer in site.calls() if not what.startswith("DELETE")]
    most = busiest_second([at for at, _, _ in asked])
    fetches = Counter(customer for _, what, customer in asked if what == "GET /v1/subscriptions")
    stored = len(site.database.query("inbox"))
    statuses = Counter(status for status, _ in answers)
    measured.check("events answered", dict(statuses), right=set(statuses) == {200})
    measured.check("events stored", stored, right=stored == len(pairs))
    measured.rows.append(("sent within", f"{sent - started:.1f} s, at most {IN_FLIGHT} in flight"))
    measured.seconds("answer", [seconds for _, seconds in answers], _ANSWER_LIMIT)
    measured.check("calls of Stripe in the busiest second", most, right=most <= PER_SECOND)
    mean = sum(fetches.values()) / max(1, len(fetches))
    text = f"{sum(fetches.values())} for {len(fetches)} customers, {mean:.2f} each"
    measured.check("fetches", text, right=mean <= 2.5 and len(fetches) == len(pairs))
    measured.rows.append(("all applied for good after", f"{applied - started:.0f} s"))
    measured.seconds("change to refusal", watch.waits.values(), _LIMITS["burst"])
    return measured


def busiest_second(moments: list[float]) -> int:
    """Most moments within any second."""
    ordered, first, most = sorted(moments), 0, 0
    for number, moment in enumerate(ordered):
        while moment - ordered[first] >= 1.0:
            first += 1
        most = max(most, number - first + 1)
    return most


SCENES: Final[dict[str, Callable[[Path], Measured]]] = {"calm": calm, "failing": failing, "burst": burst}
