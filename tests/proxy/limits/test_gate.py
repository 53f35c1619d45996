"""The gate: several instances over one database, and over none."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.limits.gate import OVERDRAFT_NANO_USD, Gate, Refusal, Ticket
from tallygate.appdb import Database, DatabaseUnavailableError, faults
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock
from tallygate.records import COST_METER, UsageEvent
from tallygate.spend import REQUESTS, cost, spent_by_hour
from tallygate.tenants import Tenant

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
DOLLAR = 1_000_000_000
TENANT = Tenant(
    tenant_id="acme",
    status="active",
    grace_until=None,
    plan="scale",
    models=("gpt-4o-mini",),
    rpm=400,
    tpm=1_000_000,
    max_parallel=100,
    monthly_budget_nano_usd=DOLLAR,
    stripe_customer=None,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    yield database
    database.close()


def _gate(
    database: Database, number: int = 0, clock: FixedClock | None = None, concurrency: int = 40
) -> Gate:
    clock = clock or FixedClock(NOON)
    return Gate(database, clock, instance=f"instance-{number}", concurrency=concurrency)


def _event(*, tokens: int, cost: int, at: datetime = NOON) -> UsageEvent:
    return UsageEvent(
        request_id="r",
        tenant_id="acme",
        key_id="k",
        model="gpt-4o-mini",
        status="success",
        http_status=200,
        endpoint="chat/completions",
        timestamp=at,
        stream_id="s",
        seq=1,
        total_tokens=tokens,
        input_tokens=tokens,
        cost_nano_usd=cost,
    )


def _spent(database: Database, month: str = "2026-03") -> int:
    return cost(spent_by_hour(database, "acme", month).values())


def _run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    asyncio.run(main())


def _outage(tmp_path: Path) -> None:
    fault: dict[str, Any] = {
        "fault_id": "f",
        "kind": "outage",
        "count": None,
        "rate": 1.0,
        "seed": 0,
        "match": {},
    }
    faults.arm(faults.faults_path(tmp_path / "app.sqlite"), fault)


def test_one_tenant_takes_at_most_its_share_of_an_instance(database: Database) -> None:
    async def body() -> None:
        gate = _gate(database, concurrency=10)
        other = replace(TENANT, tenant_id="other")

        verdicts = await asyncio.gather(*(gate.admit(TENANT, tokens=1, cost_nano_usd=1) for _ in range(20)))

        assert sum(isinstance(verdict, Ticket) for verdict in verdicts) == 5
        assert isinstance(await gate.admit(other, tokens=1, cost_nano_usd=1), Ticket)

    _run(body)


def test_a_request_refused_by_one_limit_reserves_nothing_of_another(database: Database) -> None:
    async def body() -> None:
        gate = _gate(database)

        refusal = await gate.admit(TENANT, tokens=TENANT.tpm + 1, cost_nano_usd=900_000_000)

        assert isinstance(refusal, Refusal)
        assert refusal.code == "rate_limited"
        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=900_000_000), Ticket)

    _run(body)


def test_of_four_instances_one_gets_the_last_dollar(database: Database) -> None:
    async def body() -> None:
        gates = [_gate(database, number) for number in range(4)]

        verdicts = await asyncio.gather(
            *(gate.admit(TENANT, tokens=1, cost_nano_usd=900_000_000) for gate in gates)
        )

        assert sum(isinstance(verdict, Ticket) for verdict in verdicts) == 1
        refused = [verdict for verdict in verdicts if isinstance(verdict, Refusal)]
        assert {refusal.code for refusal in refused} == {"budget_exceeded"}

    _run(body)


def test_closing_writes_what_was_spent_and_gives_back_the_rest(database: Database) -> None:
    async def body() -> None:
        gate, other = _gate(database, 0), _gate(database, 1)
        ticket = await gate.admit(TENANT, tokens=10, cost_nano_usd=900_000_000)
        assert isinstance(ticket, Ticket)
        await gate.done(ticket, _event(tokens=5, cost=1000))

        await gate.close()

        assert spent_by_hour(database, "acme", "2026-03") == {
            "2026-03-01T12": {REQUESTS: 1, "llm_input_tokens": 5, COST_METER: 1000}
        }
        assert isinstance(await other.admit(TENANT, tokens=1, cost_nano_usd=DOLLAR - 1000), Ticket)

    _run(body)


def test_with_the_database_down_service_goes_on_within_bounds(database: Database, tmp_path: Path) -> None:
    async def body() -> None:
        gate = _gate(database)
        _outage(tmp_path)
        cost = OVERDRAFT_NANO_USD // 50
        admitted = 0
        for _ in range(TENANT.rpm):
            ticket = await gate.admit(TENANT, tokens=10, cost_nano_usd=cost)
            if isinstance(ticket, Ticket):
                admitted += 1
                await gate.done(ticket, _event(tokens=10, cost=cost))

        assert admitted == 50

    _run(body)


def test_an_overdraft_is_settled_when_the_database_is_back(database: Database, tmp_path: Path) -> None:
    async def body() -> None:
        gate = _gate(database)
        _outage(tmp_path)
        ticket = await gate.admit(TENANT, tokens=10, cost_nano_usd=DOLLAR)
        assert isinstance(ticket, Ticket)
        await gate.done(ticket, _event(tokens=10, cost=DOLLAR))
        faults.faults_path(tmp_path / "app.sqlite").unlink()

        await gate.close()

        assert _spent(database) == DOLLAR
        assert isinstance(await _gate(database, 1).admit(TENANT, tokens=1, cost_nano_usd=1), Refusal)

    _run(body)


def test_a_new_month_has_a_new_budget(database: Database) -> None:
    async def body() -> None:
        clock = FixedClock(NOON)
        gate = _gate(database, clock=clock)
        ticket = await gate.admit(TENANT, tokens=1, cost_nano_usd=DOLLAR)
        assert isinstance(ticket, Ticket)
        await gate.done(ticket, _event(tokens=1, cost=DOLLAR))
        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=1), Refusal)

        clock.advance(days=31)

        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=1), Ticket)
        assert _spent(database) == DOLLAR

    _run(body)


def test_headers_tell_what_is_left_over_all_instances(database: Database) -> None:
    async def body() -> None:
        gate, other = _gate(database, 0), _gate(database, 1)
        for each in (gate, gate, other):
            assert isinstance(await each.admit(TENANT, tokens=100, cost_nano_usd=1), Ticket)

        headers = other.headers(TENANT)

        assert headers["x-ratelimit-limit-requests"] == "400"
        assert int(headers["x-ratelimit-remaining-requests"]) <= 400 - 3
        assert headers["x-ratelimit-reset-requests"] == "55s"

    _run(body)


async def _flood(gate: Gate, tenant: Tenant, count: int, *, tokens: int = 10) -> int:
    """How many of ``count`` short requests one after the other are admitted."""
    admitted = 0
    for _ in range(count):
        ticket = await gate.admit(tenant, tokens=tokens, cost_nano_usd=1000)
        if isinstance(ticket, Ticket):
            admitted += 1
            await gate.done(ticket, _event(tokens=tokens, cost=1000))
    return admitted


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", ["rpm", "tpm"])
def test_four_instances_at_once_under_uneven_load_stay_within_a_tenth(
    database: Database, limit: str, seed: int
) -> None:
    """At most 110 %, and as the demand is above the limit, at least 90 %."""
    allowed = 200 if limit == "rpm" else 100
    narrow = replace(TENANT, rpm=allowed) if limit == "rpm" else replace(TENANT, tpm=allowed * 10)
    tenant = replace(narrow, monthly_budget_nano_usd=None)
    dice = random.Random(seed)
    loads = [allowed, *(dice.randrange(allowed) for _ in range(3))]

    async def body() -> None:
        gates = [_gate(database, number) for number in range(4)]

        admitted = await asyncio.gather(*(_flood(g, tenant, n) for g, n in zip(gates, loads, strict=True)))

        assert 0.9 * allowed <= sum(admitted) <= 1.1 * allowed, (seed, loads, admitted)

    _run(body)


@pytest.mark.parametrize("seed", range(4))
def test_four_instances_together_hold_the_limit_of_parallel_requests(database: Database, seed: int) -> None:
    tenant = replace(TENANT, max_parallel=40, rpm=10**6, monthly_budget_nano_usd=None)
    dice = random.Random(seed)
    counts = [40, *(dice.randrange(20) for _ in range(3))]

    async def body() -> None:
        gates = [_gate(database, number, concurrency=100) for number in range(4)]

        verdicts = await asyncio.gather(
            *(
                gate.admit(tenant, tokens=1, cost_nano_usd=1)
                for gate, count in zip(gates, counts, strict=True)
                for _ in range(count)
            )
        )

        admitted = sum(isinstance(verdict, Ticket) for verdict in verdicts)
        assert 0.9 * 40 <= admitted <= 1.1 * 40, (seed, counts, admitted)

    _run(body)


@pytest.mark.parametrize("limit", ["rpm", "tpm", "parallel"])
def test_one_hot_instance_gets_nine_tenths_beside_three_that_idle(database: Database, limit: str) -> None:
    tenant = replace(TENANT, monthly_budget_nano_usd=None, rpm=400, tpm=4000, max_parallel=100)

    async def body() -> None:
        hot, *idle = (_gate(database, number, concurrency=1000) for number in range(4))
        for gate in idle:
            assert await _flood(gate, tenant, 1) == 1

        if limit == "parallel":
            verdicts = await asyncio.gather(
                *(hot.admit(tenant, tokens=1, cost_nano_usd=1) for _ in range(200))
            )
            assert sum(isinstance(verdict, Ticket) for verdict in verdicts) >= 90
        else:
            tokens = 10 if limit == "tpm" else 1
            assert await _flood(hot, tenant, 500, tokens=tokens) >= 0.9 * 400

    _run(body)


def test_a_clock_ten_minutes_ahead_lets_nobody_over_the_limit(database: Database) -> None:
    """Its window is shared: the two together get what one window allows, and none is shut out for ever."""
    tenant = replace(TENANT, rpm=40, monthly_budget_nano_usd=None)

    async def body() -> None:
        right = _gate(database, 0, FixedClock(NOON))
        ahead = _gate(database, 1, FixedClock(NOON + timedelta(minutes=10)))
        admitted = 0
        for _ in range(100):
            admitted += await _flood(right, tenant, 1) + await _flood(ahead, tenant, 1)

        assert admitted <= 1.1 * 40

        far = _gate(database, 2, FixedClock(NOON - timedelta(minutes=20)))
        assert await _flood(far, tenant, 1) == 1

    _run(body)


@pytest.mark.parametrize("limits", [(0, 9, 9), (9, 0, 9), (9, 9, 0), (-5, 9, 9), (9, -5, 9), (9, 9, -5)])
def test_a_limit_of_zero_or_less_refuses_every_request(
    database: Database, limits: tuple[int, int, int]
) -> None:
    rpm, tpm, parallel = limits
    tenant = replace(TENANT, rpm=rpm, tpm=tpm, max_parallel=parallel)

    async def body() -> None:
        refusal = await _gate(database).admit(tenant, tokens=1, cost_nano_usd=0)

        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.retry_after_seconds is not None) == ("rate_limited", True)

    _run(body)


def test_a_budget_of_zero_refuses_what_costs_something(database: Database) -> None:
    async def body() -> None:
        refusal = await _gate(database).admit(
            replace(TENANT, monthly_budget_nano_usd=0), tokens=1, cost_nano_usd=1
        )

        assert isinstance(refusal, Refusal)
        assert refusal.code == "budget_exceeded"

    _run(body)


def test_a_request_that_ends_in_the_next_month_frees_nothing_there(database: Database) -> None:
    """Its reservation was March's; what it cost is April's, by the time of its event."""

    async def body() -> None:
        clock = FixedClock(datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC))
        gate = _gate(database, clock=clock)
        ticket = await gate.admit(TENANT, tokens=1, cost_nano_usd=DOLLAR)
        assert isinstance(ticket, Ticket)
        clock.advance(seconds=2)
        april = clock.now()

        await gate.done(ticket, _event(tokens=1, cost=400_000_000, at=april))

        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=700_000_000), Refusal)
        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=500_000_000), Ticket)
        assert (_spent(database, "2026-03"), _spent(database, "2026-04")) == (0, 400_000_000)

    _run(body)


def test_an_event_of_the_old_month_that_is_settled_in_the_new_one_stands_under_its_hour(
    database: Database,
) -> None:
    async def body() -> None:
        clock = FixedClock(datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC))
        gate = _gate(database, clock=clock)
        march = clock.now()
        slow = await gate.admit(TENANT, tokens=1, cost_nano_usd=5)
        clock.advance(seconds=2)
        quick = await gate.admit(TENANT, tokens=1, cost_nano_usd=5)
        assert isinstance(slow, Ticket)
        assert isinstance(quick, Ticket)

        await gate.done(quick, _event(tokens=1, cost=5, at=clock.now()))
        await gate.done(slow, _event(tokens=1, cost=3, at=march))
        await gate.close()

        assert spent_by_hour(database, "acme", "2026-03")["2026-03-31T23"][COST_METER] == 3
        assert (_spent(database, "2026-03"), _spent(database, "2026-04")) == (3, 5)

    _run(body)


def test_spend_of_a_month_that_could_not_be_written_is_written_later(
    database: Database, tmp_path: Path
) -> None:
    async def body() -> None:
        clock = FixedClock(datetime(2026, 3, 31, 23, 59, tzinfo=UTC))
        seconds = [100.0]
        gate = Gate(database, clock, instance="i", concurrency=40, monotonic=lambda: seconds[0])
        ticket = await gate.admit(TENANT, tokens=1, cost_nano_usd=7)
        assert isinstance(ticket, Ticket)
        _outage(tmp_path)
        await gate.done(ticket, _event(tokens=1, cost=7, at=clock.now()))
        clock.advance(minutes=2)
        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=7), Ticket)
        assert _spent_is_unreadable(database)
        faults.faults_path(tmp_path / "app.sqlite").unlink()

        await gate.close()

        assert _spent(database, "2026-03") == 7

    _run(body)


def _spent_is_unreadable(database: Database) -> bool:
    with pytest.raises(DatabaseUnavailableError):
        _spent(database)
    return True


def test_spend_that_is_lost_at_the_end_is_told(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        gate = _gate(database)
        ticket = await gate.admit(TENANT, tokens=1, cost_nano_usd=7)
        assert isinstance(ticket, Ticket)
        _outage(tmp_path)
        await gate.done(ticket, _event(tokens=1, cost=7))

        await gate.close()

    _run(body)

    (record,) = [record for record in caplog.records if record.message == "spend_lost"]
    assert record.__dict__["fields"] == {"event": "spend_lost", "tenant_id": "acme", "nano_usd": 7}


def test_standing_counts_what_is_not_written_yet_and_what_others_wrote(database: Database) -> None:
    async def body() -> None:
        one, other = _gate(database, 0), _gate(database, 1)
        for gate, spent in ((one, 300_000_000), (other, 500_000_000), (one, 1)):
            ticket = await gate.admit(TENANT, tokens=1, cost_nano_usd=spent)
            assert isinstance(ticket, Ticket)
            await gate.done(ticket, _event(tokens=2, cost=spent))

        standing = await one.standing(TENANT)

        assert standing.spent == {REQUESTS: 3, "llm_input_tokens": 6, COST_METER: 800_000_001}
        assert standing.left_nano_usd == 199_999_999
        assert standing.warnings_percent == (80,)
        assert (await one.standing(replace(TENANT, tenant_id="other"))).spent == {}

    _run(body)


def test_database_operations_stay_below_a_fifth_per_request(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 10 requests a second and instance, one tenant, requests of $0.005, two in flight."""
    counted = [0]

    def counting(name: str) -> None:
        inner = getattr(database, name)

        def call(*arguments: Any, **options: Any) -> Any:
            counted[0] += 1
            return inner(*arguments, **options)

        monkeypatch.setattr(database, name, call)

    for name in ("get", "put", "create", "increment", "query", "transact"):
        counting(name)
    tenant = replace(TENANT, rpm=1200, tpm=10**7, monthly_budget_nano_usd=1000 * DOLLAR)

    async def body() -> None:
        clock, seconds = FixedClock(NOON.replace(second=0)), [100.0]
        gate = Gate(database, clock, instance="i", concurrency=40, monotonic=lambda: seconds[0])
        running: list[Ticket] = []
        for _ in range(600):
            clock.advance(seconds=0.1)
            seconds[0] += 0.1
            ticket = await gate.admit(tenant, tokens=500, cost_nano_usd=6_000_000)
            assert isinstance(ticket, Ticket)
            running.append(ticket)
            if len(running) > 2:
                done = running.pop(0)
                await gate.done(done, _event(tokens=400, cost=5_000_000, at=clock.now()))

    _run(body)

    assert counted[0] / 600 <= 0.2, f"{counted[0]} operations for 600 requests"
