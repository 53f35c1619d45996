"""Never more than twenty questions to Stripe in a second, over all instances together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tallygate.clock import FixedClock, rfc3339
from tallygate.subscriptions.permits import LONGEST_WAIT, PER_SECOND, SPACING, Permits
from tests.support.memory_database import MemoryDatabase

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["soon", "block"]), st.floats(0, 0.7)),
        min_size=1,
        max_size=150,
    )
)
def test_no_second_holds_more_permits_than_allowed(steps: list[tuple[int, str, float]]) -> None:
    """Three instances ask as they like, whatever time passes between."""
    clock, database = FixedClock(NOW), MemoryDatabase()
    instances = [Permits(database, clock) for _ in range(3)]
    given_out: list[datetime] = []
    for instance, how, passes in steps:
        clock.advance(seconds=passes)
        if how == "block":
            given_out += instances[instance].block(5)
        elif (moment := instances[instance].soon()) is not None:
            assert moment <= clock.now() + LONGEST_WAIT
            given_out.append(moment)

    given_out.sort()
    for first, other in zip(given_out, given_out[PER_SECOND:], strict=False):
        assert other - first >= timedelta(seconds=1)


def test_a_request_does_not_wait_behind_a_long_queue() -> None:
    clock, database = FixedClock(NOW), MemoryDatabase()
    Permits(database, clock).block(3 * PER_SECOND)

    assert Permits(database, clock).soon() is None


def test_after_a_refusal_nobody_of_the_instance_asks_for_a_while() -> None:
    clock, database = FixedClock(NOW), MemoryDatabase()
    permits = Permits(database, clock)
    Permits(database, clock).block(3 * PER_SECOND)
    assert permits.soon() is None
    database.delete("leases", "stripe-permits")

    assert permits.soon() is None
    clock.advance(seconds=1)
    assert permits.soon() == clock.now()


def test_a_clock_that_was_wrong_does_not_block_everybody() -> None:
    clock, database = FixedClock(NOW), MemoryDatabase()
    database.put("leases", "stripe-permits", {"free_at": rfc3339(NOW + timedelta(days=400))})

    assert Permits(database, clock).block(2) == [NOW, NOW + SPACING]
