"""The gate: several instances over one database, and over none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.limits.budget import spent
from proxy.limits.gate import OVERDRAFT_NANO_USD, Gate, Refusal, Ticket
from tallygate.appdb import Database, faults
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock
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
        await gate.done(ticket, tokens=5, cost_nano_usd=1000, at=NOON)

        await gate.close()

        assert spent(database, "acme", "2026-03") == {"2026-03-01T12": 1000}
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
                await gate.done(ticket, tokens=10, cost_nano_usd=cost, at=NOON)

        assert admitted == 50

    _run(body)


def test_an_overdraft_is_settled_when_the_database_is_back(database: Database, tmp_path: Path) -> None:
    async def body() -> None:
        gate = _gate(database)
        _outage(tmp_path)
        ticket = await gate.admit(TENANT, tokens=10, cost_nano_usd=DOLLAR)
        assert isinstance(ticket, Ticket)
        await gate.done(ticket, tokens=10, cost_nano_usd=DOLLAR, at=NOON)
        faults.faults_path(tmp_path / "app.sqlite").unlink()

        await gate.close()

        assert spent(database, "acme", "2026-03").total() == DOLLAR
        assert isinstance(await _gate(database, 1).admit(TENANT, tokens=1, cost_nano_usd=1), Refusal)

    _run(body)


def test_a_new_month_has_a_new_budget(database: Database) -> None:
    async def body() -> None:
        clock = FixedClock(NOON)
        gate = _gate(database, clock=clock)
        ticket = await gate.admit(TENANT, tokens=1, cost_nano_usd=DOLLAR)
        assert isinstance(ticket, Ticket)
        await gate.done(ticket, tokens=1, cost_nano_usd=DOLLAR, at=NOON)
        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=1), Refusal)

        clock.advance(days=31)

        assert isinstance(await gate.admit(TENANT, tokens=1, cost_nano_usd=1), Ticket)
        assert spent(database, "acme", "2026-03").total() == DOLLAR

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
