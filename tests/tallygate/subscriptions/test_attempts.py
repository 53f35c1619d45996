"""Nothing is tried for ever, and what waits longer is tried less often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tallygate.clock import FixedClock, parse_rfc3339
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import AccountError
from tallygate.subscriptions.events import read_event
from tallygate.subscriptions.handling import Handler
from tests.support.memory_database import MemoryDatabase
from tests.support.stripe_events import snapshot

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_an_event_that_never_works_is_parked_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    database, clock = MemoryDatabase(), FixedClock(NOW)
    inbox.store(database, read_event(snapshot()), NOW, "webhook")
    unused: object = None
    handler = Handler(database, clock, *[unused] * 4)  # type: ignore[arg-type]
    waits = []
    while (row := inbox.get(database, "evt_1")) is not None and row.due_at is not None:
        waits.append(parse_rfc3339(row.due_at) - clock.now())
        clock.at = max(clock.at, parse_rfc3339(row.due_at))
        handler.try_again(row, AccountError("no answer"))

    parked = inbox.get(database, "evt_1")
    assert parked is not None
    assert (parked.state, parked.reason, parked.attempts) == ("parked", "AccountError", inbox.MOST_ATTEMPTS)
    assert waits == sorted(waits)
    assert clock.now() - NOW < timedelta(hours=12)
    assert '"event": "event_parked"' in capsys.readouterr().out
