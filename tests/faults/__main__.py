"""The long form, as ``make soak`` calls it: ``python -m tests.faults [--only SUITE] [--seeds n]``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

from tests.faults.kills import kills
from tests.faults.ledger import ledger
from tests.faults.totals import Totals

SUITES: Final = ("ledger", "kills")
SEEDS: Final = 100


def main() -> int:
    """Run the suites that were asked for. 0: right, 1: wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", choices=SUITES, help="one suite instead of all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many months: seeds 1 to n")
    parser.add_argument("--seed", type=int, help="one month")
    given = parser.parse_args()
    for name in list(os.environ):
        if name.startswith("TALLYGATE_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    totals = Totals()
    if given.only in (None, "ledger"):
        ledger(range(1, given.seeds + 1) if given.seed is None else [given.seed], totals)
    if given.only in (None, "kills"):
        kills(given.seed or 1, totals)
    print(totals, flush=True)
    return 1 if totals.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
