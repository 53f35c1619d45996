"""Seals and sends what is used and not yet sent, for drafts that wait for it: by a run of the reporter.

It runs under the reporter's lease, so the two never work at once, and once for all drafts that were announced
before it began: how many there are makes no difference.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tallygate.clock import Clock
from tallygate.metering.report import Run


@dataclass(slots=True)
class RemainingUsage:
    """For one run of the sync. Safe to share between threads."""

    report: Callable[[], Run]
    """One run of the reporter."""
    clock: Clock
    _began: datetime | None = field(default=None, init=False)
    _failed: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def sent_since(self, moment: datetime) -> bool:
        """Have a run of the reporter made that begins at ``moment`` or later.

        False: the reporter runs by itself just now, or the run failed; this object begins no other then.
        """
        with self._lock:  # several drafts at the same time wait for one run
            if self._began is not None and self._began >= moment:
                return True
            if self._failed:
                return False
            began = self.clock.now()
            run = self.report()
            self._failed = run.skipped or run.error is not None
            self._began = self._began if self._failed else began
            return not self._failed
