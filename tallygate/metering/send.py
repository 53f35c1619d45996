"""Sending: hands sealed rows to a sink, each once, and keeps the history of every attempt.

Before the first call of a batch one statement notes all its rows as ``sending``; after the last call one
notes the outcomes. A row whose outcome is not known is sent again under the same identifier and idempotency
key, until it has been unknown for too long: then only reconciliation may say whether it arrived.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from tallygate.metering.sinks import Answer, MeterEvent, UsageSink, Verdict
from tallygate.metering.warehouse import DeliveryRow, Value, Warehouse
from tallygate.metering.window import Window

UNKNOWN_OUTCOME: Final = "unknown_outcome"
"""Reason of a row in state ``sending`` that Stripe may have taken."""
_OLDEST_TIMESTAMP: Final = timedelta(days=35) - timedelta(minutes=10)
"""Stripe refuses what is 35 days old; a batch takes some minutes."""
_RETRIED: Final = frozenset({Verdict.UNKNOWN, Verdict.BUSY})


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPolicy:
    """Limits of one run. Times are real time unless they are about dates."""

    closes_after: timedelta
    """How long after its end a billing period still takes usage (a date)."""
    held_after: timedelta = timedelta(hours=20)
    """A row whose outcome is unknown for longer is not sent again blindly (a date)."""
    batch_rows: int = 500
    row_limit: int = 20_000
    enough_rows: int = 10_000
    """While so many wait, the recent run seals no more: what comes meanwhile is sealed together, later."""
    parallel: int = 8
    tries: int = 4
    backoff_seconds: float = 0.4
    """Before the second try; doubled for each further one."""
    budget_seconds: float = 200.0
    """No new call is started after that."""
    failures_to_stop: int = 8
    """So many rows in a row without a usable answer stop the run."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A sealed row that is neither sent nor given up."""

    event: MeterEvent
    tenant_id: str
    usage_hour: datetime
    sealed_at: datetime
    attempt: int
    """Of the newest delivery; 0 before the first."""
    last_reason: str | None
    maybe_sent: bool
    unknown_since: datetime | None
    closes_at: datetime | None
    """When the invoice of the period in which it is booked is drafted, if that is known."""

    def next_attempt(self) -> int:
        """Grows only after a definite failure."""
        return max(self.attempt, 1) if self.maybe_sent else self.attempt + 1


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of a run's sending. Counts are rows."""

    sent: int = 0
    duplicates: int = 0
    """Of the sent: Stripe had them already."""
    parked: int = 0
    rejected: int = 0
    held: int = 0
    """Unknown for too long; left to reconciliation."""
    backlog: int = 0
    """Still to be sent, the held ones too."""
    oldest_unsent_seconds: int = 0
    parked_by_seal: int = 0
    """Rows that this run's seal parked."""
    stopped: str | None = None
    """Why sending was given up before its end."""
    closed_meters: tuple[str, ...] = ()
    """Meters that the sink does not take now; their rows wait."""


class Sender:
    """One run's sending."""

    def __init__(
        self,
        warehouse: Warehouse,
        sink: UsageSink,
        *,
        run_id: str,
        now: Callable[[], datetime],
        policy: SendPolicy,
        still_leased: Callable[[], bool] = lambda: True,
    ) -> None:
        self._warehouse = warehouse
        self._sink = sink
        self._run_id = run_id
        self._now = now
        self._policy = policy
        self._still_leased = still_leased
        self._appends = 0

    def run(self, window: Window, *, unsent: int, seal_number: int) -> SendResult:
        """Send what the window holds. ``unsent``: rows known to wait; ``seal_number``: this run's seal, or 0.

        Raises:
            JobRunningError, FenceError, GoogleAPICallError: when the ledger can't be written; rows then stay
                ``sending`` and are sent again under the same identifiers.
        """
        if unsent == 0 and seal_number == 0:
            return SendResult()
        parameters: dict[str, Value] = {
            **window.parameters(),
            "seal_number": seal_number,
            "row_limit": self._policy.row_limit,
        }
        found = self._warehouse.read("pending", parameters)
        waiting = [_pending_from(row) for row in found if row["disposition"] == "billable"]
        ready, closed, held = self._sorted(waiting)
        outcomes = self._park(closed)
        circuit = _Circuit(self._policy)
        for start in range(0, len(ready), self._policy.batch_rows):
            if circuit.stopped or not self._still_leased():
                break
            outcomes.update(self._send_batch(ready[start : start + self._policy.batch_rows], circuit))
        return self._result(
            waiting,
            outcomes,
            unseen=max(0, unsent - len(waiting)),
            held=len(held),
            parked_by_seal=len(found) - len(waiting),
            circuit=circuit,
        )

    def _sorted(
        self, waiting: Sequence[PendingRow]
    ) -> tuple[list[PendingRow], list[PendingRow], list[PendingRow]]:
        """Rows to send, rows whose period is closed, rows to hold."""
        now = self._now()
        ready: list[PendingRow] = []
        closed: list[PendingRow] = []
        held: list[PendingRow] = []
        for row in waiting:
            too_late = self._too_late(row, now)
            if row.unknown_since is not None and (
                too_late or now - row.unknown_since > self._policy.held_after
            ):
                held.append(row)
            elif too_late:
                closed.append(row)
            else:
                ready.append(row)
        return ready, closed, held

    def _too_late(self, row: PendingRow, now: datetime) -> bool:
        """Whether sending it would put it on no invoice."""
        if row.event.timestamp < now - _OLDEST_TIMESTAMP:
            return True
        return row.closes_at is not None and now >= row.closes_at + self._policy.closes_after

    def _park(self, rows: Sequence[PendingRow]) -> dict[str, DeliveryRow]:
        outcomes = [
            DeliveryRow(row.event.identifier, row.next_attempt(), "parked", "period_closed") for row in rows
        ]
        for start in range(0, len(outcomes), self._policy.batch_rows):
            self._append(outcomes[start : start + self._policy.batch_rows], self._now())
        return {row.identifier: row for row in outcomes}

    def _send_batch(self, batch: Sequence[PendingRow], circuit: _Circuit) -> dict[str, DeliveryRow]:
        started = self._now()
        self._append([_noted(row, "sending", None) for row in batch], started)
        queues: dict[tuple[str, str], list[PendingRow]] = defaultdict(list)
        for row in batch:
            queues[row.event.customer, row.event.meter].append(row)
        answers: dict[str, _Answered] = {}
        with ThreadPoolExecutor(self._policy.parallel, thread_name_prefix="send") as pool:
            for answered in pool.map(lambda queue: self._send_queue(queue, circuit), queues.values()):
                answers.update(answered)
        known = self._sent_before(answers.values(), circuit)
        outcomes = {row.event.identifier: _outcome(answers[row.event.identifier], known) for row in batch}
        # later than the first note even where the clock stands still: the newest row holds
        self._append(list(outcomes.values()), max(self._now(), started + timedelta(microseconds=1)))
        return outcomes

    def _send_queue(self, queue: Sequence[PendingRow], circuit: _Circuit) -> dict[str, _Answered]:
        """One customer's rows of one meter, one call at a time."""
        return {row.event.identifier: self._send_row(row, circuit) for row in queue}

    def _send_row(self, row: PendingRow, circuit: _Circuit) -> _Answered:
        answered = _Answered(row, None, row.maybe_sent)
        key = f"{row.event.identifier}:a{row.next_attempt()}"
        for number in range(self._policy.tries):
            if not circuit.allows(row.event.meter):
                return answered
            answer = self._sink.send(row.event, key)
            unknown = answer.verdict is Verdict.UNKNOWN
            answered = replace(answered, answer=answer, maybe_sent=answered.maybe_sent or unknown)
            if answer.verdict not in _RETRIED:
                break
            if number + 1 < self._policy.tries:
                circuit.pause(self._policy.backoff_seconds * 2**number)
        circuit.saw(row, answered)
        return answered

    def _sent_before(self, answers: Collection[_Answered], circuit: _Circuit) -> frozenset[str]:
        """Of the identifiers that Stripe had though this run sent them first: those another run has sent."""
        suspects = [answered.row.event.identifier for answered in answers if answered.surprising()]
        if not suspects:
            return frozenset()
        hours = [answered.row.usage_hour for answered in answers if answered.surprising()]
        parameters: dict[str, Value] = {
            "identifiers": suspects,
            "run_id": self._run_id,
            "first_hour": min(hours),
            "last_hour": max(hours),
        }
        rows = self._warehouse.read("sent_before", parameters)
        known = frozenset(row["identifier"] for row in rows)
        if known >= set(suspects):
            circuit.forgive_collision()
        return known

    def _append(self, rows: Sequence[DeliveryRow], at: datetime) -> None:
        if not rows:
            return
        self._appends += 1
        parameters: dict[str, Value] = {"rows": rows, "now": at, "run_id": self._run_id}
        outcome = self._warehouse.write(f"deliver-{self._run_id}-{self._appends}", "deliver", parameters)
        if outcome.error is not None:
            raise LedgerWriteError(f"{outcome.job_id}: {outcome.error}")

    def _result(
        self,
        waiting: Sequence[PendingRow],
        outcomes: Mapping[str, DeliveryRow],
        *,
        unseen: int,
        held: int,
        parked_by_seal: int,
        circuit: _Circuit,
    ) -> SendResult:
        states = [row.state for row in outcomes.values()]
        left = [row for row in waiting if _is_left(outcomes.get(row.event.identifier))]
        oldest = min((row.sealed_at for row in left), default=None)
        return SendResult(
            sent=states.count("sent"),
            duplicates=sum(row.state == "sent" and row.reason is not None for row in outcomes.values()),
            parked=states.count("parked"),
            rejected=states.count("rejected"),
            held=held,
            backlog=len(left) + unseen,
            oldest_unsent_seconds=0
            if oldest is None
            else max(0, int((self._now() - oldest).total_seconds())),
            parked_by_seal=parked_by_seal,
            stopped=circuit.stopped,
            closed_meters=circuit.closed_meters(),
        )


class LedgerWriteError(Exception):
    """The history of deliveries could not be written."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """A row with the last answer to it; None: no call was made."""

    row: PendingRow
    answer: Answer | None
    maybe_sent: bool
    """Some call, of this run or an earlier one, may have been taken though no answer says so."""

    def surprising(self) -> bool:
        """Stripe has the identifier, and neither this run nor an earlier one can have sent it."""
        return self.answer is not None and self.answer.verdict is Verdict.DUPLICATE and not self.maybe_sent


class _Circuit:
    """Says when to stop calling: for one meter, or altogether. Shared by the threads of a run."""

    def __init__(self, policy: SendPolicy) -> None:
        self._deadline = time.monotonic() + policy.budget_seconds
        self._failures_to_stop = policy.failures_to_stop
        self._failures = 0
        self._closed_meters: set[str] = set()
        self._changed = threading.Condition()
        self.stopped: str | None = None

    def allows(self, meter: str) -> bool:
        """Whether another call for this meter may be made."""
        with self._changed:
            if self.stopped is None and time.monotonic() > self._deadline:
                self._stop("out_of_time")
            return self.stopped is None and meter not in self._closed_meters

    def pause(self, seconds: float) -> None:
        """Wait a jittered while, or until the run is stopped."""
        jittered = seconds * random.uniform(0.5, 1.0)  # noqa: S311 - spreads calls, guards nothing
        with self._changed:
            self._changed.wait_for(lambda: self.stopped is not None, timeout=jittered)

    def saw(self, row: PendingRow, answered: _Answered) -> None:
        """Take note of a row's last answer."""
        answer = answered.answer
        if answer is None:
            return
        with self._changed:
            self._failures = self._failures + 1 if answer.verdict in _RETRIED else 0
            if answer.verdict is Verdict.NO_ACCESS:
                self._stop("credentials")
            elif answered.surprising():
                self._stop("collision")
            elif answer.verdict is Verdict.NO_METER:
                self._closed_meters.add(row.event.meter)
            elif self._failures >= self._failures_to_stop:
                self._stop("sink_unavailable")

    def closed_meters(self) -> tuple[str, ...]:
        """The meters that are not called any more."""
        with self._changed:
            return tuple(sorted(self._closed_meters))

    def forgive_collision(self) -> None:
        """The identifiers were sent by another run of this ledger: no collision, but leave the rest to it."""
        with self._changed:
            if self.stopped == "collision":
                self.stopped = "overlapping_run"

    def _stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason
        self._changed.notify_all()


def _outcome(answered: _Answered, known: frozenset[str]) -> DeliveryRow:
    """What is noted after the calls."""
    row, answer = answered.row, answered.answer
    if answer is None:
        return _not_taken(answered, "not_called")
    reason = answer.reason or answer.verdict.value
    if answer.verdict is Verdict.ACCEPTED:
        return _noted(row, "sent", None)
    if answer.verdict is Verdict.DUPLICATE:
        expected = answered.maybe_sent or row.event.identifier in known
        return _noted(row, "sent", "duplicate") if expected else _noted(row, "rejected", "collision")
    if answer.verdict is Verdict.UNKNOWN:
        return _noted(row, "sending", UNKNOWN_OUTCOME)
    if answer.verdict is Verdict.NO_CUSTOMER:
        return _noted(row, "parked", "customer_not_found")
    if answer.verdict is Verdict.REFUSED or (answer.verdict is Verdict.EARLY and row.last_reason == reason):
        return _noted(row, "rejected", reason)
    return _not_taken(answered, reason)


def _not_taken(answered: _Answered, reason: str) -> DeliveryRow:
    """To be sent again; an earlier call of the same row may still have been taken."""
    return _noted(answered.row, "sending", UNKNOWN_OUTCOME if answered.maybe_sent else reason)


def _noted(row: PendingRow, state: str, reason: str | None) -> DeliveryRow:
    return DeliveryRow(row.event.identifier, row.next_attempt(), state, reason)


def _is_left(outcome: DeliveryRow | None) -> bool:
    return outcome is None or outcome.state == "sending"


def _pending_from(row: Mapping[str, Any]) -> PendingRow:
    return PendingRow(
        event=MeterEvent(
            identifier=row["identifier"],
            meter=row["meter"],
            customer=row["stripe_customer"],
            value=row["value"],
            timestamp=row["booked_at"],
        ),
        tenant_id=row["tenant_id"],
        usage_hour=row["usage_hour"],
        sealed_at=row["sealed_at"],
        attempt=row["attempt"],
        last_reason=row["delivery_reason"],
        maybe_sent=row["maybe_sent"],
        unknown_since=row["unknown_since"],
        closes_at=row["closes_at"],
    )
