"""The verdict notices whatever is wrong with the books of a month."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.month import Played
from tests.faults.oracle import Books, Bucket, expected
from tests.faults.script import COST, SMALL, Script, write
from tests.faults.verdict import judge

SCRIPT = write(3, SMALL)


def right_books(script: Script = SCRIPT) -> Played:
    """A month that went as it should."""
    books = expected(script)
    invoiced: Counter[tuple[str, str]] = Counter()
    for (tenant, meter, _, class_), value in books.buckets.items():
        if class_ in ("billed", "one_off"):
            invoiced[tenant, meter] += value
    return Played(books, invoiced)


def billed(books: Books) -> Bucket:
    """Some bucket that is billed."""
    return next(key for key in books.buckets if key[3] == "billed")


def test_the_right_books_are_right() -> None:
    verdict = judge(SCRIPT, right_books())

    assert verdict.right
    assert (verdict.doubled, verdict.lost) == (0, 0)
    assert verdict.parked > 0
    assert verdict.unrecorded > 0


def _double(played: Played) -> None:
    played.books.buckets[billed(played.books)] *= 2


def _lose(played: Played) -> None:
    del played.books.buckets[billed(played.books)]


def _invoice_twice(played: Played) -> None:
    played.invoiced["by-cost", COST] += 1


def _miss_the_invoice(played: Played) -> None:
    played.invoiced["by-cost", COST] -= 1


@pytest.mark.parametrize(
    ("corrupt", "name"),
    [(_double, "doubled"), (_lose, "lost"), (_invoice_twice, "doubled"), (_miss_the_invoice, "lost")],
)
def test_what_is_doubled_or_lost_is_counted(corrupt: Callable[[Played], None], name: str) -> None:
    played = right_books()
    corrupt(played)

    verdict = judge(SCRIPT, played)

    assert not verdict.right
    assert getattr(verdict, name) > 0


def test_what_is_in_the_wrong_place_is_told() -> None:
    played = right_books()
    key = tenant, meter, hour, _ = billed(played.books)
    played.books.buckets[tenant, meter, hour, "parked"] += played.books.buckets.pop(key)

    verdict = judge(SCRIPT, played)

    assert (verdict.doubled, verdict.lost) == (0, 0)
    assert not verdict.right


@pytest.mark.parametrize("change", [{"unrecorded": set()}, {"rejected_lines": 99}])
def test_what_is_not_recorded_must_be_listed(change: dict[str, object]) -> None:
    played = right_books()
    played.books = replace(played.books, **change)  # type: ignore[arg-type]

    assert not judge(SCRIPT, played).right


def test_what_is_not_settled_is_told() -> None:
    played = right_books()
    played.unsettled.append("u1:x is sending")

    assert not judge(SCRIPT, played).right
