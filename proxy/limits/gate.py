"""Admits requests to their tenant's limits and budget, and settles them when they end.

With the app database down, the gate is *static*: each instance goes on with a quarter of every limit, and
with a bounded overdraft of the budget, which is settled when the database is back. Metering does not depend
on it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, Literal

from proxy.breaker import Breaker
from proxy.limits.budget import CHUNK_NANO_USD, WARNING_PERCENTS, Budget
from proxy.limits.leases import RENEW_SECONDS, Leases, Limits, seconds_to_reset
from tallygate import spend
from tallygate.appdb import Database, DatabaseUnavailableError
from tallygate.clock import Clock
from tallygate.records import COST_METER, UsageEvent
from tallygate.tenants import Tenant

OVERDRAFT_NANO_USD: Final = 20 * CHUNK_NANO_USD
"""$1 an instance and tenant: what may be spent on a budget while the database can't be asked."""
log = logging.getLogger("tallygate.limits")

Code = Literal["rate_limited", "budget_exceeded"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not admitted: the error code of the HTTP contract, and when to try again."""

    code: Code
    text: str
    retry_after_seconds: int | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """An admitted request: what it reserved."""

    tenant: Tenant
    tokens: int
    cost_nano_usd: int
    admitted_at: datetime
    month: str
    """Whose budget it was reserved in."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tenant stands in its month."""

    month: str
    spent: Counter[str]
    """:data:`tallygate.spend.REQUESTS`, and each meter in its unit."""
    left_nano_usd: int | None
    """Of the budget; None without one."""
    warnings_percent: tuple[int, ...]


@dataclass(slots=True)
class _State:
    """One tenant on this instance."""

    leases: Leases
    budget: Budget
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    past: list[Budget] = field(default_factory=list)
    """Of months that have ended, until they are written."""
    in_flight: int = 0
    tenant: Tenant | None = None
    """As last seen; its limits apply to renewals."""


class Gate:
    """The limits of all tenants on one instance. Used from one event loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        instance: str,
        concurrency: int,
        tenant_share: float = 0.5,
        breaker: Breaker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._instance = instance
        self._breaker = breaker or Breaker(monotonic=monotonic)
        self._most_of_one_tenant = max(1, int(concurrency * tenant_share))
        self._monotonic = monotonic
        self._states: dict[str, _State] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def admit(self, tenant: Tenant, *, tokens: int, cost_nano_usd: int) -> Ticket | Refusal:
        """Admit a request that may take ``tokens`` and cost ``cost_nano_usd``, or say why not."""
        state = self._state(tenant)
        if state.in_flight >= self._most_of_one_tenant:
            return Refusal("rate_limited", "too many requests in flight on this instance", 1)
        state.in_flight += 1  # before the first await: two at once must both be seen
        refusal: Refusal | None = None
        try:
            async with state.lock:
                now = self._clock.now()
                refusal = await self._within_budget(state, tenant, cost_nano_usd, now)
                if refusal is None:
                    refusal = await self._within_limits(state, tenant, tokens, now)
                    if refusal is not None:
                        state.budget.release(cost_nano_usd)
        except BaseException:
            state.in_flight -= 1
            raise
        if refusal is not None:
            state.in_flight -= 1
            return refusal
        self._keep_renewing()
        return Ticket(tenant, tokens, cost_nano_usd, now, spend.month_of(now))

    async def done(self, ticket: Ticket, event: UsageEvent) -> None:
        """Settle an ended request, and flush what is due: inside the request, while there is CPU."""
        state = self._state(ticket.tenant)
        state.in_flight -= 1
        async with state.lock:
            state.leases.done(ticket.tokens, event.total_tokens, ticket.admitted_at, self._clock.now())
            await self._turn_month(state, event.timestamp)
            reserved = ticket.cost_nano_usd
            if ticket.month != state.budget.month:  # a month ended meanwhile: it keeps the reservation
                reserved = 0
            state.budget.settle(reserved, spend.amounts(event), spend.hour_of(event.timestamp))
            if state.budget.must_flush(self._monotonic()):
                await self._flush(state, state.budget)

    async def standing(self, tenant: Tenant) -> Standing:
        """What a tenant spent this month, and what is left of its budget.

        Other instances' spend is up to a second old.

        Raises:
            DatabaseUnavailableError: when it can't be read.
        """
        state = self._state(tenant)
        async with state.lock:
            await self._turn_month(state, self._clock.now())
            month = state.budget.month
            own = {hour: spent.copy() for hour, spent in state.budget.hours.items()}
        read = partial(
            spend.spent_in_month, self._database, tenant.tenant_id, month, instance=self._instance, own=own
        )
        spent = await self._breaker.ask(read)
        limit = tenant.monthly_budget_nano_usd
        cost = spent[COST_METER]
        reached = [p for p in WARNING_PERCENTS if limit is not None and cost * 100 >= limit * p]
        return Standing(month, spent, None if limit is None else max(0, limit - cost), tuple(reached))

    def headers(self, tenant: Tenant) -> dict[str, str]:
        """The rate limit headers of an answer, over all instances, as last seen."""
        limits = _limits(tenant)
        requests, tokens = self.remaining(tenant)
        reset = f"{seconds_to_reset(self._clock.now())}s"
        return {
            "x-ratelimit-limit-requests": str(limits.rpm),
            "x-ratelimit-remaining-requests": str(requests),
            "x-ratelimit-reset-requests": reset,
            "x-ratelimit-limit-tokens": str(limits.tpm),
            "x-ratelimit-remaining-tokens": str(tokens),
            "x-ratelimit-reset-tokens": reset,
        }

    def in_flight(self, tenant: Tenant) -> int:
        """Requests of a tenant that this instance is serving."""
        return self._state(tenant).in_flight

    def remaining(self, tenant: Tenant) -> tuple[int, int]:
        """Requests and tokens left this minute, over all instances, as last seen."""
        return self._state(tenant).leases.remaining(_limits(tenant))

    async def close(self) -> None:
        """Write everything that was spent and give everything back: on SIGTERM."""
        if self._renewing is not None:
            self._renewing.cancel()
        await asyncio.gather(*(self._close(state) for state in self._states.values()))

    async def _close(self, state: _State) -> None:
        async with state.lock:
            state.past.append(state.budget)
            await self._flush_past(state)
            for budget in state.past:
                fields = {"tenant_id": budget.tenant_id, "nano_usd": budget.spent - budget.flushed}
                log.error("spend_lost", extra={"fields": {"event": "spend_lost", **fields}})

    async def _within_budget(self, state: _State, tenant: Tenant, cost: int, now: datetime) -> Refusal | None:
        await self._turn_month(state, now)
        limit = tenant.monthly_budget_nano_usd
        granted = state.budget.try_locally(cost, limit, self._monotonic())
        if granted is None:
            assert limit is not None
            ask = partial(state.budget.ask, self._database, cost, limit, self._monotonic())
            try:
                granted, warnings = await self._breaker.ask(ask)
            except DatabaseUnavailableError:
                granted = state.budget.overdraw(cost, OVERDRAFT_NANO_USD)
            else:
                _warn(state.budget, warnings)
        return None if granted else Refusal("budget_exceeded", "the budget of this month is used up", None)

    async def _within_limits(
        self, state: _State, tenant: Tenant, tokens: int, now: datetime
    ) -> Refusal | None:
        limits = _limits(tenant)
        verdict = state.leases.try_locally(limits, tokens, now)
        if verdict is None:
            try:
                verdict = await self._breaker.ask(
                    partial(state.leases.ask, self._database, limits, tokens, now)
                )
            except DatabaseUnavailableError:
                verdict = state.leases.ask_nobody(limits, tokens, now)
        if verdict is True:
            return None
        assert not isinstance(verdict, bool)
        return Refusal("rate_limited", verdict.text, verdict.retry_after_seconds)

    async def _turn_month(self, state: _State, moment: datetime) -> None:
        """Start a new month with a new budget; the old one is kept until it is written."""
        month = spend.month_of(moment)
        if month <= state.budget.month:
            return
        state.past.append(state.budget)
        state.budget = Budget(state.leases.tenant_id, self._instance, month)
        await self._flush_past(state)

    async def _flush(self, state: _State, budget: Budget, *, final: bool = False) -> bool:
        """Whether the budget's document is written."""
        limit = state.tenant.monthly_budget_nano_usd if state.tenant else None
        now = self._monotonic()
        try:
            warnings = await self._breaker.ask(
                partial(budget.flush, self._database, limit, now, final=final), insist=final
            )
        except DatabaseUnavailableError:
            budget.flushed_at = now  # tried: again in a second, with what accrues until then
            return False
        _warn(budget, warnings)
        if state.past and not final:
            await self._flush_past(state)
        return True

    async def _flush_past(self, state: _State) -> None:
        while state.past:
            budget = state.past[0]
            if (budget.unflushed() or budget.granted) and not await self._flush(state, budget, final=True):
                return
            state.past.pop(0)

    def _state(self, tenant: Tenant) -> _State:
        state = self._states.get(tenant.tenant_id)
        if state is None:
            leases = Leases(tenant.tenant_id, self._instance)
            budget = Budget(tenant.tenant_id, self._instance, spend.month_of(self._clock.now()))
            state = self._states[tenant.tenant_id] = _State(leases, budget)
        state.tenant = tenant
        return state

    def _keep_renewing(self) -> None:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """Renew slots while requests are in flight: an instance without requests has no CPU to do it."""
        while any(state.in_flight for state in self._states.values()):
            await asyncio.sleep(RENEW_SECONDS / 2)
            for state in list(self._states.values()):
                await self._renew_one(state)

    async def _renew_one(self, state: _State) -> None:
        async with state.lock:
            now = self._clock.now()
            if state.tenant is None or not state.leases.must_renew(now):
                return
            try:
                limits = _limits(state.tenant)
                await self._breaker.ask(partial(state.leases.renew, self._database, limits, now))
            except DatabaseUnavailableError:
                return  # the others can't lease them either


def _warn(budget: Budget, warnings: tuple[int, ...]) -> None:
    for percent in warnings:
        fields = {"tenant_id": budget.tenant_id, "month": budget.month, "percent": percent}
        log.warning("budget_warning", extra={"fields": {"event": "budget_warning", **fields}})


def _limits(tenant: Tenant) -> Limits:
    return Limits(tenant.rpm, tenant.tpm, tenant.max_parallel)
