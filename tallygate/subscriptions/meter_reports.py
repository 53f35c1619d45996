"""Stripe's reports of meter events that it accepted and then refused.

A report names samples only. The rows that it names are left to the reporter, which notes them as rejected;
of the others only the count is known, and the reconciler finds them by comparing sums.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

from tallygate.appdb import Database
from tallygate.clock import Clock
from tallygate.logs import emit
from tallygate.metering.refusals import RefusedDelta, keep_refusals
from tallygate.subscriptions import inbox
from tallygate.subscriptions.account import NotThereError
from tallygate.subscriptions.facts import MeterReport
from tallygate.subscriptions.inbox import InboxRow

_KEY: Final = re.compile(r"(?P<identifier>u1:.+):a(?P<attempt>[0-9]{1,6})")
"""The idempotency key of a send: the delta's identifier and the attempt."""


class Reports(Protocol):
    """Stripe's side."""

    def meter_report(self, event_id: str) -> MeterReport:
        """The report in a thin event."""
        ...


@dataclass(frozen=True, slots=True)
class MeterReportDesk:
    """Carries out the rows of meter error reports."""

    database: Database
    clock: Clock
    stripe: Reports

    def __call__(self, row: InboxRow) -> None:
        """Note what the report names, tell of all of it, settle the row."""
        try:
            report = self.stripe.meter_report(row.event_id)
        except NotThereError:
            inbox.settle(self.database, [row.event_id], self.clock.now())
            return
        refused, strange = [], 0
        for sample in report.samples:
            key = _KEY.fullmatch(sample.key)
            if key is None:
                strange += 1
            else:
                refused.append(RefusedDelta(key["identifier"], int(key["attempt"]), sample.code))
        if refused:
            keep_refusals(self.database, row.event_id, refused)
        emit(
            "meter_events_refused", "ERROR", event_id=row.event_id, meter_id=row.object_id,
            refused=report.error_count, named=len(refused), not_ours=strange,
            codes=sorted({sample.code for sample in report.samples}),
            validation_start=report.validation_start, validation_end=report.validation_end,
        )  # fmt: skip
        inbox.settle(self.database, [row.event_id], self.clock.now())
