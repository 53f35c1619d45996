"""Compares the ledger with Stripe's summaries, hour by hour, and carries out what the comparison found.

Stripe is read only where something is not confirmed, a customer's meter at most four times a day, a range of
hours at a time: 3 meters × 4 reads × 31 days stay below 400 reads a month. A run after a while without reads
makes the day's reads at once, so that an outage's hours need no turn of their own each.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tallygate.appdb import Database
from tallygate.clock import parse_rfc3339, rfc3339
from tallygate.logs import emit
from tallygate.metering.reach import reach
from tallygate.metering.warehouse import DeliveryRow, Value, Warehouse
from tallygate.reconciliation.hours import HourKey
from tallygate.reconciliation.judge import Finding, HourRow, judge, ledger_value
from tallygate.reconciliation.remedies import JOB, Workshop
from tallygate.reconciliation.repairs import Subject
from tallygate.reconciliation.results import Comparison, LedgerWriteError, append
from tallygate.reconciliation.summaries import READ_HOURS, StripeReadError, StripeSummaries

APART: Final = timedelta(hours=6) - timedelta(minutes=5)
"""Between two runs' reads of one customer's meter; the difference is for a run that starts a little early."""
READS_A_DAY: Final = 4
"""Of one customer's meter, over any 24 hours."""
SETTLED_AFTER: Final = timedelta(minutes=10)
"""Stripe's summaries lag by minutes; what was sent a moment ago is not compared."""
HELD_AFTER: Final = timedelta(hours=20)
"""A row whose outcome is unknown for longer is left to this comparison by the sender."""
LATE_ROWS: Final = timedelta(days=36)
"""Rows are booked at most so long after their hour of usage; replays of older hours leave a mark."""
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1) - timedelta(minutes=20)
"""As many runs apart as reads are allowed, with what each of them may start early."""
_CHUNK: Final = 500


@dataclass(slots=True)
class Compared:
    """What comparing did. Counts are hours of a customer's meter, but for the reads."""

    reads: int = 0
    confirmed: int = 0
    waiting: int = 0
    found: int = 0
    resent: int = 0
    cancelled: int = 0
    proposed: int = 0
    settled: int = 0
    """A person has decided about the difference."""
    left: int = 0
    """Not compared: read too lately, or no time."""
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparer:
    """What a comparison works with."""

    warehouse: Warehouse
    stripe: StripeSummaries
    workshop: Workshop
    database: Database
    now: Callable[[], datetime]
    run_id: str
    budget_seconds: float = 200.0

    def run(self, start: datetime, end: datetime) -> Compared:
        """Compare what is booked from ``start`` to ``end``, whole hours.

        Raises:
            GoogleAPIError, JobRunningError, LedgerWriteError: when the ledger can't be read or written.
            DatabaseUnavailableError: when the marks of earlier reads can't be.
            StripeReadError: when Stripe does not list its meters.
        """
        done = Compared()
        as_of = self.now() - SETTLED_AFTER
        rows_since = reach(self.database, start - LATE_ROWS, self.now())
        bounds: dict[str, Value] = {"window_start": start, "window_end": end, "rows_since": rows_since}
        parameters: dict[str, Value] = {
            **bounds,
            "as_of": as_of,
            "unknown_before": self.now() - HELD_AFTER,
        }
        pairs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in self.warehouse.read("booked_hours", parameters):
            pairs[row["stripe_customer"], row["meter"]].append(row)
        if not pairs:
            return done
        meter_ids = self.stripe.meter_ids()
        done.reads += 1
        deadline = time.monotonic() + self.budget_seconds
        equal: list[HourKey] = []
        results: list[Comparison] = []
        for (customer, meter), rows in sorted(pairs.items()):
            if meter not in meter_ids or time.monotonic() > deadline:
                done.left += len(rows)
                continue
            try:
                pair = self._pair(customer, meter, meter_ids[meter], rows, bounds, done)
            except StripeReadError as error:
                done.errors.append(str(error))
                done.left += len(rows)
                continue
            equal += pair.equal
            results += pair.results
        self._confirm(equal, {**bounds, "as_of": as_of})
        append(self.warehouse, self.run_id, self.now(), "summary", results)
        return done

    def _pair(
        self,
        customer: str,
        meter: str,
        meter_id: str,
        rows: Sequence[Mapping[str, Any]],
        bounds: Mapping[str, Value],
        done: Compared,
    ) -> _Pair:
        mark_id = f"summaries:{customer}:{meter}"
        mark: Mapping[str, Any] = self.database.get("watermarks", mark_id) or {}
        now = self.now()
        lately = [read_at for read_at in mark.get("reads", ()) if now - parse_rfc3339(read_at) < _DAY]
        if lately and now - parse_rfc3339(lately[-1]) < APART:
            done.left += len(rows)
            return _Pair()
        pair = _Pair()
        seen: Mapping[str, Sequence[int]] = mark.get("seen", {})
        differing: list[tuple[Mapping[str, Any], list[int]]] = []
        left = sorted(rows, key=lambda row: row["booked_hour"])
        while left and len(lately) < READS_A_DAY:
            after = left[0]["booked_hour"] + READ_HOURS * _HOUR
            within = [row for row in left if row["booked_hour"] < after]
            left = left[len(within) :]
            counted = self.stripe.by_hour(
                meter_id, customer, within[0]["booked_hour"], within[-1]["booked_hour"] + _HOUR
            )
            lately.append(rfc3339(now))
            done.reads += 1
            differing += self._equal(within, counted, pair, done)
        done.left += len(left)
        self._differences(differing, bounds, seen, pair, done)
        document = {
            "reads": lately,
            "seen": {rfc3339(row["booked_hour"]): sums for row, sums in differing},
        }
        self.database.put("watermarks", mark_id, document)
        return pair

    def _equal(
        self, rows: Sequence[Mapping[str, Any]], counted: Mapping[datetime, int], pair: _Pair, done: Compared
    ) -> list[tuple[Mapping[str, Any], list[int]]]:
        """Take note of the hours that are equal; the others, each with Stripe's sum and the ledger's."""
        differing = []
        for row in rows:
            sums = [counted.get(row["booked_hour"], 0), row["ledger_value"]]
            if sums[0] == sums[1] and not row["unknown"]:
                pair.equal.append(HourKey(row["stripe_customer"], row["meter"], row["booked_hour"]))
                pair.results.append(_result(row, sums[0], Finding("confirmed")))
                done.confirmed += 1
            else:
                differing.append((row, sums))
        return differing

    def _differences(
        self,
        differing: Sequence[tuple[Mapping[str, Any], list[int]]],
        bounds: Mapping[str, Value],
        seen: Mapping[str, Sequence[int]],
        pair: _Pair,
        done: Compared,
    ) -> None:
        if not differing:
            return
        keys = [HourKey(row["stripe_customer"], row["meter"], row["booked_hour"]) for row, _ in differing]
        by_hour: dict[datetime, list[HourRow]] = defaultdict(list)
        booked_at: dict[datetime, datetime] = {}
        for found in self.warehouse.read("booked_rows", {**bounds, "hours": keys}):
            hour = found["booked_hour"]
            by_hour[hour].append(_hour_row(found))
            booked_at[hour] = max(found["booked_at"], booked_at.get(hour, hour))
        now = self.now()
        notes: list[DeliveryRow] = []
        for row, sums in differing:
            rows = by_hour[row["booked_hour"]]
            same = list(seen.get(rfc3339(row["booked_hour"]), ())) == sums and ledger_value(rows) == sums[1]
            finding = judge(rows, sums[0], seen_before=same, now=now, held_since=now - HELD_AFTER)
            finding = self._cancelled(finding, row["meter"])
            finding = self._proposed(
                finding, row, sums[0], booked_at.get(row["booked_hour"], row["booked_hour"])
            )
            notes += finding.notes
            pair.results.append(_result(row, sums[0], finding))
            setattr(done, finding.action, getattr(done, finding.action) + 1)
            _tell(row, sums[0], finding, self.run_id)
        self._note(notes)

    def _cancelled(self, finding: Finding, meter: str) -> Finding:
        """Cancel what is to be cancelled; a proposal instead where Stripe does not."""
        if finding.cancel is None or self.stripe.cancel(meter, finding.cancel):
            return finding
        return Finding("proposed", detail=f"Stripe does not cancel {finding.cancel}")

    def _proposed(
        self, finding: Finding, row: Mapping[str, Any], counted: int, booked_at: datetime
    ) -> Finding:
        """Keep a proposal, unless a person has decided about this difference."""
        if finding.action != "proposed":
            return finding
        repair = self.workshop.proposed(_subject(row, counted), booked_at)
        if repair is None:
            return Finding("settled", detail="the invoice is final, and its line is what the ledger says")
        if not repair.undone:
            return Finding("settled", detail=f"{repair.repair_id} is {repair.state}")
        return Finding("proposed", detail=f"{finding.detail}; {repair.repair_id}: {repair.remedy}")

    def _note(self, notes: Sequence[DeliveryRow]) -> None:
        if not notes:
            return
        number = self.warehouse.jobs
        parameters: dict[str, Value] = {"rows": notes, "now": self.now(), "run_id": self.run_id}
        outcome = self.warehouse.write(f"found-{self.run_id}-{number}", "deliver", parameters)
        if outcome.error is not None:
            raise LedgerWriteError(f"{outcome.job_id}: {outcome.error}")

    def _confirm(self, hours: Sequence[HourKey], bounds: Mapping[str, Value]) -> None:
        for start in range(0, len(hours), _CHUNK):
            parameters: dict[str, Value] = {
                **bounds,
                "hours": hours[start : start + _CHUNK],
                "now": self.now(),
                "run_id": self.run_id,
            }
            outcome = self.warehouse.write(f"confirm-{self.run_id}-{start}", "confirm", parameters)
            if outcome.error is not None:
                raise LedgerWriteError(f"{outcome.job_id}: {outcome.error}")


@dataclass(slots=True)
class _Pair:
    """What came of one customer's meter."""

    equal: list[HourKey] = field(default_factory=list)
    results: list[Comparison] = field(default_factory=list)


def _hour_row(row: Mapping[str, Any]) -> HourRow:
    return HourRow(
        identifier=row["identifier"],
        value=row["value"],
        delivery=row["delivery"],
        delivery_reason=row["delivery_reason"],
        attempt=row["attempt"],
        noted_at=row["noted_at"],
        unknown_since=row["unknown_since"],
    )


def _subject(row: Mapping[str, Any], counted: int) -> Subject:
    return Subject(
        kind="summary",
        tenant_id=row["tenant_id"],
        stripe_customer=row["stripe_customer"],
        meter=row["meter"],
        window_start=row["booked_hour"],
        window_end=row["booked_hour"] + _HOUR,
        ledger_value=row["ledger_value"],
        witness_value=counted,
    )


def _result(row: Mapping[str, Any], counted: int, finding: Finding) -> Comparison:
    return Comparison.of(_subject(row, counted), finding.action, finding.detail)


def _tell(row: Mapping[str, Any], counted: int, finding: Finding, run_id: str) -> None:
    """A difference is told once it is certain, a proposal beside it; what was decided about is not."""
    if finding.action in ("waiting", "settled"):
        return
    facts = {
        "job": JOB,
        "run_id": run_id,
        "kind": "summary",
        "tenant_id": row["tenant_id"],
        "stripe_customer": row["stripe_customer"],
        "meter": row["meter"],
        "booked_hour": rfc3339(row["booked_hour"]),
        "ledger_value": row["ledger_value"],
        "witness_value": counted,
        "action": finding.action,
        "detail": finding.detail,
    }
    if counted != row["ledger_value"]:
        emit("reconciliation_difference", "ERROR", **facts)
    if finding.action == "proposed":
        emit("repair_proposed", "ERROR", **facts)
