"""The harness is only worth something if it goes red when what holds the promise is taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.month import play
from tests.faults.mutations import MUTATIONS, Mutation
from tests.faults.verdict import Verdict, judge
from tests.support.stage import Hosts

ORDINARY = "deduplication"
"""Also in the ordinary run."""


def _played(mutation: Mutation, folder: Path, servers: Hosts) -> Verdict:
    folder.mkdir()
    script = mutation.month()
    return judge(script, play(script, folder, servers))


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(one, id=one.name, marks=[] if one.name == ORDINARY else pytest.mark.soak)
        for one in MUTATIONS
    ],
)
def test_a_month_goes_wrong_without(
    mutation: Mutation, tmp_path: Path, servers: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _played(mutation, tmp_path / "whole", servers)

    mutation.remove(monkeypatch)
    mutated = _played(mutation, tmp_path / "mutated", servers)

    print(f"whole: {whole}\nwithout the {mutation.name}: {mutated}")
    assert (whole.doubled, whole.lost) == (0, 0), f"the month is wrong by itself: {whole}"
    assert mutated.doubled or mutated.lost, f"nothing misses the {mutation.name}: {mutated}"
