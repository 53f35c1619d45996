"""A budget over four real processes that share only the app database, one of them killed at any moment."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.limits.budget import CHUNK_NANO_USD
from sandbox.layout import REPOSITORY
from tallygate import spend
from tallygate.appdb.sqlite import SQLiteDatabase

DOLLAR = 10**9


@dataclass
class Instance:
    """A gate in a process."""

    process: subprocess.Popen[str]

    def order(self, **order: Any) -> dict[str, bool]:
        self.send(**order)
        return self.answer()

    def send(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, bool]:
        assert self.process.stdout is not None
        answer: dict[str, bool] = json.loads(self.process.stdout.readline())
        return answer

    def admits(self, cost: int) -> bool:
        return self.order(admit=cost)["admitted"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def instances(folder: Path, budget: int, count: int = 4) -> Iterator[list[Instance]]:
    SQLiteDatabase(folder / "app.sqlite").close()
    started = [_start(folder, name, budget) for name in range(count)]
    try:
        yield started
    finally:
        for instance in started:
            instance.kill()
            for pipe in (instance.process.stdin, instance.process.stdout):
                if pipe is not None:
                    pipe.close()


def _start(folder: Path, name: int, budget: int) -> Instance:
    command = [sys.executable, "-m", "tests.proxy.limits.instance", str(folder / "app.sqlite"), f"i{name}"]
    return Instance(
        subprocess.Popen(
            [*command, str(budget)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )


def test_of_four_processes_one_admits_the_request_on_the_last_dollar(tmp_path: Path) -> None:
    with instances(tmp_path, DOLLAR) as four:
        for instance in four:
            instance.send(admit=900_000_000)

        assert sum(instance.answer()["admitted"] for instance in four) == 1


def test_kill_nine_widens_no_budget_and_costs_at_most_what_was_held(tmp_path: Path) -> None:
    """The killed one's reservation and chunk stay taken; everything else can still be spent."""
    with instances(tmp_path, DOLLAR) as (victim, *others):
        assert victim.admits(400_000_000)
        assert victim.admits(1_000)
        victim.kill()

        spent = 0
        for instance in others * 40:
            if instance.admits(10_000_000):
                instance.order(done=10_000_000)
                spent += 10_000_000

        held = 400_000_000 + CHUNK_NANO_USD + 1_000
        assert spent <= DOLLAR - 400_000_000 - 1_000
        assert spent >= DOLLAR - held - 3 * CHUNK_NANO_USD


@pytest.mark.parametrize("seed", range(3))
def test_overshoot_stays_within_its_bound_whatever_is_killed_when(tmp_path: Path, seed: int) -> None:
    """At most a chunk for each instance, and what requests in flight cost beyond their reservation."""
    dice = random.Random(seed)
    budget, spent, excess = DOLLAR, 0, 0
    with instances(tmp_path, budget) as four:
        alive = list(four)
        for step in range(150):
            instance = dice.choice(alive)
            reserved = dice.choice([1_000_000, 20_000_000, 120_000_000])
            if instance.admits(reserved):
                cost = int(reserved * dice.uniform(0.2, 1.3))
                instance.order(done=cost)
                spent += cost
                excess += max(0, cost - reserved)
            if step in (50, 100):
                alive.remove(instance)
                instance.kill()
        for instance in alive:
            instance.order(close=True)

        assert spent <= budget + 4 * CHUNK_NANO_USD + excess, f"seed {seed}"
    database = SQLiteDatabase(tmp_path / "app.sqlite")
    witnessed = spend.cost(spend.spent_by_hour(database, "acme", "2026-03").values())
    database.close()
    assert spent - 2 * (CHUNK_NANO_USD + 160_000_000) <= witnessed <= spent, (
        "a kill loses what was not flushed"
    )
