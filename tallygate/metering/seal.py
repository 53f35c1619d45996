"""Sealing: freezes what is used and not yet sealed into rows of the ledger, before anything is sent."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tallygate.metering.fence import FenceError, run_fenced
from tallygate.metering.warehouse import Value, Warehouse
from tallygate.metering.window import AfterClose, Window

OLDEST_BOOKABLE: Final = timedelta(days=34)
"""Stripe takes timestamps of the last 35 days; the difference is for sending."""
STRANGERS_WAIT: Final = timedelta(hours=1)
"""So long a line of an unknown tenant waits before it is noted as one: a new tenant's billing segment is here
within minutes of its first use."""
_EPOCH_LETTERS: Final = string.ascii_lowercase + string.digits
_EPOCH_LENGTH: Final = 10
_ROUNDS: Final = 3
_TOLD: Final = 20
HEAD_WITHIN: Final = timedelta(days=45)
"""The newest seal has rows of hours no older than that, unless an old range was sealed last."""
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Survey:
    """Where the ledger stands and what a run has to do; counts."""

    ledger_epoch: str
    head: int
    """Number of the newest seal; 0 before the first."""
    head_since: datetime
    """The head was looked for in hours of usage from here on."""
    unsealed_buckets: int
    """Rows that a seal would add."""
    stopped_buckets: int
    """Hours of a tenant's meter with more sealed than used: they are left alone."""
    new_rejects: int
    rejected_lines: int
    """Rows that ``rejected_lines`` holds."""
    unsent: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """What sealing did."""

    rows: int
    seal_number: int
    """The seal that this run made; 0 if it made none."""
    stopped_buckets: int
    survey: Survey
    """The last look at the ledger before sealing."""


def due_parameters(
    *,
    start: datetime,
    end: datetime,
    tenant_id: str,
    now: datetime,
    closes_after: timedelta,
    after_close: AfterClose = "",
    retry_refused: bool = False,
) -> dict[str, Value]:
    """What the query ``due`` takes: the hours from ``start`` to ``end``, of one tenant or (empty) of all.

    ``retry_refused``: what Stripe refused for want of its customer is tried again; a person says so.
    """
    return {
        "window_start": start.replace(minute=0, second=0, microsecond=0),
        "window_end": end,
        "tenant_id": tenant_id,
        "now": now,
        "closes_after_seconds": int(closes_after.total_seconds()),
        "oldest_bookable": now - OLDEST_BOOKABLE,
        "after_close": after_close,
        "retry_refused": retry_refused,
    }


def window_parameters(window: Window, now: datetime, closes_after: timedelta) -> dict[str, Value]:
    """What a statement takes that looks at a run's window."""
    due = due_parameters(
        start=window.start, end=window.end, tenant_id=window.tenant_id, now=now, closes_after=closes_after,
        after_close=window.after_close, retry_refused=window.depth == "range",
    )  # fmt: skip
    return {**window.parameters(), **due, "strangers_before": now - STRANGERS_WAIT}


def survey(
    warehouse: Warehouse, window: Window, now: datetime, closes_after: timedelta, *, whole: bool = False
) -> Survey:
    """Look at the ledger in one job; names it first if it is new.

    ``closes_after``: how long after its end a billing period still takes usage.
    The head is looked for where it nearly always is; ``whole``: in all of the ledger.

    Raises:
        FenceError: when the ledger can't be named, or has two names.
        GoogleAPICallError: when BigQuery can't be reached.
    """
    since = _EVER if whole else min(now - HEAD_WITHIN, window.start)
    for _ in range(_ROUNDS + 1):
        parameters = window_parameters(window, now, closes_after)
        row = warehouse.read("survey", {**parameters, "head_since": since})[0]
        if row["head"] == 0 and since != _EVER:
            since = _EVER
            continue
        if row["ledger_epochs"] > 1:
            raise FenceError("ledger_epochs holds more than one row: two ledgers were mixed")
        if row["ledger_epoch"] is not None:
            return _survey_from(row, since)
        if window.dry_run:
            return _survey_from(row | {"ledger_epoch": ""}, since)
        _, created_ms = warehouse.located()
        epoch = "".join(secrets.choice(_EPOCH_LETTERS) for _ in range(_EPOCH_LENGTH))
        naming: dict[str, Value] = {"ledger_epoch": epoch, "now": now}
        run_fenced(warehouse, f"genesis-{warehouse.ledger}-{created_ms}", "genesis", naming)
    raise FenceError("the ledger's name does not show after it was written")


def seal(
    warehouse: Warehouse,
    window: Window,
    seen: Survey,
    now: datetime,
    *,
    closes_after: timedelta,
    look_again: Callable[[], Survey],
) -> Sealed:
    """Seal the window: the one way by which rows come into the ledger.

    ``closes_after``: how long after its end a billing period still takes usage.
    ``look_again``: surveys the whole ledger, after another run has sealed.

    Raises:
        FenceError: when other runs kept sealing in between.
        JobRunningError: when a seal still runs.
        GoogleAPICallError: when BigQuery can't be reached.
    """
    for _ in range(_ROUNDS):
        if seen.unsealed_buckets == 0:
            return Sealed(0, 0, seen.stopped_buckets, seen)
        number = seen.head + 1
        parameters: dict[str, Value] = {
            **window_parameters(window, now, closes_after),
            "ledger_epoch": seen.ledger_epoch,
            "seal_number": number,
            "head_since": seen.head_since,
        }
        fenced = run_fenced(warehouse, f"seal-{seen.ledger_epoch}-{number}", "seal", parameters)
        if fenced.rows > 0:
            return Sealed(fenced.rows, number, seen.stopped_buckets, seen)
        seen = look_again()
    raise FenceError(f"seal {seen.head + 1}: other runs kept sealing")


def note_rejects(warehouse: Warehouse, window: Window, seen: Survey, now: datetime) -> int:
    """Copy the lines that can't be usage to ``rejected_lines``, each once; how many.

    A line that another run notes at the same time is left to it.

    Raises:
        FenceError: when the statement fails.
        GoogleAPICallError: when BigQuery can't be reached.
    """
    if seen.new_rejects == 0:
        return 0
    parameters: dict[str, Value] = {
        **window.parameters(),
        "now": now,
        "strangers_before": now - STRANGERS_WAIT,
        "rejected_lines": seen.rejected_lines,
    }
    prefix = f"reject-{seen.ledger_epoch}-{seen.rejected_lines}"
    return run_fenced(warehouse, prefix, "reject", parameters).rows


def stopped_buckets(
    warehouse: Warehouse, window: Window, now: datetime, closes_after: timedelta
) -> list[dict[str, Any]]:
    """The first hours with more sealed than used, for the log."""
    return warehouse.read("stopped", window_parameters(window, now, closes_after))[:_TOLD]


def due_rows(
    warehouse: Warehouse, window: Window, now: datetime, closes_after: timedelta
) -> list[dict[str, Any]]:
    """For people: what a seal of the window would add, and (``stopped``) the hours it would leave alone."""
    return warehouse.read("due_rows", window_parameters(window, now, closes_after))


def _survey_from(row: dict[str, Any], head_since: datetime) -> Survey:
    return Survey(
        ledger_epoch=row["ledger_epoch"],
        head=row["head"],
        head_since=head_since,
        unsealed_buckets=row["unsealed_buckets"],
        stopped_buckets=row["stopped_buckets"],
        new_rejects=row["new_rejects"],
        rejected_lines=row["rejected_lines"],
        unsent=row["unsent"],
    )
