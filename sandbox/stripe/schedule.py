"""What the account does by itself when its time has come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from sandbox.stripe import checkout, collection, deliveries, reports, subscriptions
from sandbox.stripe.collection import finalize_or_wait
from sandbox.stripe.invoices import next_finalization
from sandbox.stripe.store import Store
from sandbox.stripe.subscriptions import end_period, next_period_end
from sandbox.stripe.timers import Timer, next_timer, set_timer
from sandbox.stripe.usage import SECOND, micros, moment

_MOST_AT_ONCE: Final = 1_000_000
"""More effects than any sandbox has: a schedule that does not come to an end is a mistake of this package."""

_ON_TIME: Final[dict[str, Callable[[Store, int, str], None]]] = {
    collection.RETRY: collection.retry,
    collection.EXPIRY: collection.expire_incomplete,
    checkout.EXPIRY: checkout.expire_at,
    subscriptions.TRIAL_WARNING: subscriptions.warn_of_trial_end,
}
"""What a timer of each kind does: given the account, the moment and the object's id."""

_Effect = tuple[int, Callable[[], object]]


class Schedule:
    """The effects of one account, in the order of their time, each whole or not at all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._untold: int | None = None

    def next_at(self) -> datetime | None:
        """When something happens next by itself, webhooks included; None: nothing is planned.

        In the past if something happened that nobody was told of: a request that comes between two steps of
        the clock carries out what is due, and whoever moves the clock has to know that the world changed.
        """
        effect = _next(self._store)
        moments = (self._untold, None if effect is None else effect[0], deliveries.next_due(self._store))
        known = [at for at in moments if at is not None]
        return moment(min(known)) if known else None

    def carry_out_due(self, now: datetime) -> None:
        """Carry out everything due but webhooks."""
        limit = micros(now)
        for _ in range(_MOST_AT_ONCE):
            effect = _next(self._store)
            if effect is None or effect[0] > limit:
                return
            with self._store.transaction():
                effect[1]()
            self._untold = effect[0] if self._untold is None else min(self._untold, effect[0])
        raise RuntimeError("the schedule does not come to an end")

    def told(self) -> None:
        """Whoever moves the clock knows of everything that happened so far."""
        self._untold = None


def _next(store: Store) -> _Effect | None:
    """The next effect. At one moment: sums, ends of periods, final invoices, timers, in this order."""
    effects: list[_Effect] = []
    summed = reports.next_due(store)
    if summed is not None:
        effects.append((summed, partial(reports.carry_out, store, summed)))
    ending = next_period_end(store)
    if ending is not None:
        end, subscription = ending
        effects.append((end * SECOND, partial(end_period, store, subscription, end)))
    finalizing = next_finalization(store)
    if finalizing is not None:
        when, invoice = finalizing
        effects.append((when * SECOND, partial(finalize_or_wait, store, when, invoice)))
    timer = next_timer(store)
    if timer is not None:
        effects.append((timer.due * SECOND, partial(_ring, store, timer)))
    return min(effects, key=lambda effect: effect[0], default=None)


def _ring(store: Store, timer: Timer) -> None:
    set_timer(store, timer.kind, timer.object_id, None)
    _ON_TIME[timer.kind](store, timer.due, timer.object_id)
