"""Compares a played month with what the oracle expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.month import Played
from tests.faults.oracle import Books, expected
from tests.faults.script import Script

_SHOWN: int = 12


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with the books; units are tokens and nano-USD."""

    doubled: int
    """Units in the books, or on invoices, beyond what was used."""
    lost: int
    """Units used that are nowhere, or that should be on an invoice and are not."""
    parked: int
    unrecorded: int
    """Requests."""
    problems: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether everything is where the oracle says."""
        return not (self.doubled or self.lost or self.problems)

    def __str__(self) -> str:
        shown = self.problems[:_SHOWN]
        rest = len(self.problems) - len(shown)
        return "\n  ".join(
            (
                f"doubled {self.doubled}, lost {self.lost}",
                *shown,
                *([f"… and {rest} more"] if rest else []),
            )
        )


def judge(script: Script, played: Played) -> Verdict:
    """The verdict on a month."""
    wanted, found = expected(script), played.books
    doubled, lost = _balance(wanted, found)
    invoiced_twice, not_invoiced = _invoices(wanted, played.invoiced)
    return Verdict(
        doubled=max(doubled, invoiced_twice),
        lost=max(lost, not_invoiced),
        parked=found.total("parked"),
        unrecorded=len(found.unrecorded),
        problems=tuple(_problems(wanted, played)),
    )


def _balance(wanted: Books, found: Books) -> tuple[int, int]:
    """Units too many and too few, each hour of a tenant's meter by itself."""
    over: Counter[tuple[object, ...]] = Counter()
    for (*bucket, _), value in found.buckets.items():
        over[tuple(bucket)] += value
    for (*bucket, _), value in wanted.buckets.items():
        over[tuple(bucket)] -= value
    return sum(v for v in over.values() if v > 0), -sum(v for v in over.values() if v < 0)


def _invoices(wanted: Books, invoiced: Counter[tuple[str, str]]) -> tuple[int, int]:
    over = Counter(invoiced)
    for (tenant, meter, _, class_), value in wanted.buckets.items():
        if class_ in ("billed", "one_off"):
            over[tenant, meter] -= value
    return sum(v for v in over.values() if v > 0), -sum(v for v in over.values() if v < 0)


def _problems(wanted: Books, played: Played) -> Iterator[str]:
    found = played.books
    for tenant, meter, hour, class_ in sorted(wanted.buckets.keys() | found.buckets.keys()):
        key = (tenant, meter, hour, class_)
        if wanted.buckets[key] != found.buckets[key]:
            yield (
                f"{tenant} {meter} {hour:%m-%d %H}h: {class_} is {found.buckets[key]}, "
                f"should be {wanted.buckets[key]}"
            )
    for tenant, request_id in sorted(wanted.unrecorded ^ found.unrecorded):
        missing = (tenant, request_id) in wanted.unrecorded
        yield f"{tenant} {request_id}: {'is not' if missing else 'is wrongly'} listed as unrecorded"
    if wanted.rejected_lines != found.rejected_lines:
        yield f"{found.rejected_lines} rejected lines, should be {wanted.rejected_lines}"
    yield from played.unsettled
    yield from (f"a run when all was done: {what}" for what in played.restless)
