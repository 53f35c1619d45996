"""One instance's gate as a process of its own: orders on stdin, answers on stdout, one JSON line each.

``python -m tests.proxy.limits.instance DATABASE NAME BUDGET``. Orders: ``{"admit": cost}`` answers
``{"admitted": bool}``, ``{"done": cost}`` settles the oldest admitted request, ``{"close": true}`` ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from proxy.limits.gate import Gate, Ticket
from tallygate.appdb.sqlite import SQLiteDatabase
from tallygate.clock import FixedClock
from tallygate.records import UsageEvent
from tests.support.gateway import tenant

NOON = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


async def main(database: SQLiteDatabase, name: str, budget: int) -> None:
    """Carry out orders until told to end."""
    gate = Gate(database, FixedClock(NOON), instance=name, concurrency=100)
    payer, tickets = tenant("acme", monthly_budget_nano_usd=budget), deque[tuple[Ticket, int]]()
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        answer: dict[str, bool] = {"done": True}
        if "admit" in order:
            verdict = await gate.admit(payer, tokens=1, cost_nano_usd=order["admit"])
            answer = {"admitted": isinstance(verdict, Ticket)}
            if isinstance(verdict, Ticket):
                tickets.append((verdict, order["admit"]))
        elif "done" in order:
            ticket, _ = tickets.popleft()
            await gate.done(ticket, _event(order["done"]))
        else:
            await gate.close()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if "close" in order:
            return


def _event(cost: int) -> UsageEvent:
    return UsageEvent(
        request_id="r",
        tenant_id="acme",
        key_id="k",
        model="m",
        status="success",
        http_status=200,
        endpoint="chat/completions",
        timestamp=NOON,
        stream_id="s",
        seq=1,
        cost_nano_usd=cost,
    )


if __name__ == "__main__":
    asyncio.run(main(SQLiteDatabase(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
