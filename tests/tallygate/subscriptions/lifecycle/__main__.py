"""``python -m tests.tallygate.subscriptions.lifecycle --seeds 5000``: the long run, and the controls."""

from __future__ import annotations

import multiprocessing
import sys
from functools import partial
from typing import Annotated

import typer

from tests.tallygate.subscriptions.lifecycle.controls import CONTROLS
from tests.tallygate.subscriptions.lifecycle.report import Tally, run_one

_CONTROL_SHARE = 10
"""Controls run on every tenth of the seeds: they only have to go wrong."""


def _tally(pool: multiprocessing.pool.Pool, seeds: int, control: str | None) -> Tally:
    tally = Tally()
    verdicts = pool.imap(partial(run_one, control=control), range(seeds), chunksize=20)
    for seed, verdict in enumerate(verdicts):
        tally.add(seed, verdict)
    return tally


def main(seeds: Annotated[int, typer.Option(min=1)] = 5000) -> None:
    """Run the seeds from 0; ends with 1 if a final state was wrong or a control was always right."""
    with multiprocessing.get_context("spawn").Pool() as pool:
        tally = _tally(pool, seeds, None)
        controls = {name: _tally(pool, max(seeds // _CONTROL_SHARE, 500), name) for name in CONTROLS}
    for seed, wrong in tally.wrong.items():
        print(f"seed {seed}: {'; '.join(wrong)}")
    print("\n".join(tally.table()))
    for name, control in controls.items():
        print(f"control {name}: {len(control.wrong)} of {control.runs} wrong")
    idle = [name for name, control in controls.items() if not control.wrong]
    if idle:
        print(f"controls that never went wrong: {', '.join(idle)}")
    print(tally.summary())
    sys.exit(1 if tally.wrong or idle else 0)


if __name__ == "__main__":
    typer.run(main)
