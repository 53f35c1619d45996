"""What an environment costs while nobody uses it, and per million requests: the tables of docs/costs.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from delivery.costs import PRICES, standing_cost

_SERVICE: Final = "google_cloud_run_v2_service"
_CENT: Final = Decimal("0.01")


class UnpricedError(Exception):
    """A plan has a type that delivery/list_prices.json neither prices nor calls free."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a bill."""

    what: str
    count: int
    usd: Decimal
    """A month, or per million requests."""


def standing_items(planned: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Item]:
    """What is paid a month for standing there, by type; free types are left out.

    ``planned`` gives each resource's type and values.

    Raises:
        UnpricedError: names every type without a price.
    """
    resources = list(planned)
    counts = Counter(kind for kind, _ in resources)
    known = PRICES["monthly"].keys() | PRICES["free"].keys() | PRICES["announced"].keys()
    if unpriced := sorted(counts.keys() - known):
        raise UnpricedError(
            f"delivery/list_prices.json has no price of {', '.join(unpriced)}: add one, or say why it is free"
        )
    totals = {kind: Decimal(0) for kind in counts}
    for kind, values in resources:
        totals[kind] += standing_cost(kind, values) + _parts("parts", kind, values)
    for kind, flat in PRICES["flat"].items():
        if counts[kind] > flat["up_to"]:
            raise UnpricedError(f"delivery/list_prices.json prices up to {flat['up_to']} of {kind}")
        if counts[kind]:
            totals[kind] = Decimal(flat["monthly"])
    return [Item(kind, counts[kind], _cents(usd)) for kind, usd in sorted(totals.items()) if usd]


def announced_items(planned: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Item]:
    """What Google has announced a price for: by the lower and by the higher one of those that are told."""
    items = []
    resources = list(planned)
    for kind, entry in sorted(PRICES["announced"].items()):
        parts = sum(len(values.get(entry["part"]) or []) for of, values in resources if of == kind)
        for price in (entry["lower"], entry["higher"]):
            items.append(Item(f"{kind}: {entry['part']} at {price}", parts, _cents(Decimal(price) * parts)))
    return items


def sources_table() -> str:
    """Where each price was read, in Markdown."""
    rows = []
    for row in PRICES["sources"]["rows"]:
        place = (
            f"[{row['source'].removeprefix('https://')}]({row['source']})" if row["source"] else "not found"
        )
        note = f", {row['note']}" if "note" in row else ""
        rows.append(f"| {row['what']} | {row['usd']} | {place}{note} |")
    return "\n".join(["| what | USD | read at |", "|---|---|---|", *rows])


def request_items(profile: Mapping[str, Any], *, public: bool) -> list[Item]:
    """What a million requests cost with a scaling profile, beside the instances that stand there anyway."""
    prices = PRICES["per_million_requests"]
    at_once = Decimal(profile["concurrency"]) * Decimal(prices["filled"])
    seconds = Decimal(10**6) * Decimal(prices["seconds"]) / at_once
    gib = Decimal(str(profile["memory"]).removesuffix("Gi"))
    second = Decimal(profile["cpu"]) * Decimal(prices["cloud_run_vcpu_second"]) + gib * Decimal(
        prices["cloud_run_gib_second"]
    )
    items = {
        "Cloud Run, requests": Decimal(prices["cloud_run_request"]),
        "Cloud Run, CPU and memory": seconds * second,
        **{name: Decimal(usd) for name, usd in prices["items"].items()},
        **({name: Decimal(usd) for name, usd in prices["public_items"].items()} if public else {}),
    }
    return [Item(name, 1, _cents(usd)) for name, usd in items.items()]


def total(items: Iterable[Item]) -> Decimal:
    """The sum of a bill."""
    return sum((item.usd for item in items), Decimal(0))


def choices(items: Iterable[Item], unit: str) -> str:
    """Items of which one will be on the bill, in Markdown."""
    rows = [f"| {item.what.removeprefix('google_')} | {item.count} | {item.usd} |" for item in items]
    return "\n".join([f"| what | how many | {unit} |", "|---|---|---|", *rows])


def table(items: Iterable[Item], unit: str) -> str:
    """A bill in Markdown, with its total."""
    listed = list(items)
    rows = [f"| {item.what.removeprefix('google_')} | {item.count} | {item.usd} |" for item in listed]
    return "\n".join(
        [f"| what | how many | {unit} |", "|---|---|---|", *rows, f"| **total** | | **{total(listed)}** |"]
    )


def _parts(table_name: str, kind: str, values: Mapping[str, Any]) -> Decimal:
    entry = PRICES[table_name].get(kind)
    return Decimal(entry["monthly"]) * len(values.get(entry["part"]) or []) if entry else Decimal(0)


def _cents(usd: Decimal) -> Decimal:
    return usd.quantize(_CENT)
