"""``python -m tests.tallygate.subscriptions.speed [--only calm|failing|burst]``: measure, print, judge."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.tallygate.subscriptions.speed.scenes import SCENES


def main(only: Annotated[str, typer.Option(help="one scene instead of all")] = "") -> None:
    """Measure the scenes; ends with 1 if a limit is missed, with 2 for a scene that there is not."""
    if only and only not in SCENES:
        print(f"there is no scene {only}: use {', '.join(SCENES)}", file=sys.stderr)
        sys.exit(2)
    missed = []
    for name, scene in SCENES.items():
        if only in ("", name):
            with tempfile.TemporaryDirectory() as folder:
                measured = scene(Path(folder))
            for what, found in measured.rows:
                print(f"speed: {name}: {what}: {found}", flush=True)
            missed += measured.missed
    for problem in missed:
        print(f"speed: missed: {problem}")
    print(f"speed: {len(missed)} limits missed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
