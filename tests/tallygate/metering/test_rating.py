"""Usage that had no price is given one later, each request once, and what was parked for it is billed."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tallygate.catalogue import Price, load_catalogue
from tallygate.metering.rating import PriceRow, prices_from, prices_of, rate
from tallygate.metering.report import Run, report
from tallygate.metering.window import RequestError
from tallygate.records import TokenCounts
from tests.sql.cases import (
    COST,
    PRICES_TYPE,
    RATE,
    RATINGS,
    SEGMENTS,
    STDOUT,
    UNPRICED,
    item,
    line,
    price,
    rating,
    segment,
)
from tests.support.googlesql import Case, DuckDb
from tests.support.stage import BEGIN, Stage

PRICE: Final = PriceRow("small", "the-small", "v1", 1500, 0, 0, 2000)
HOURS: Final = {"from_": "2026-03-10T14:00:00Z", "to": "2026-03-10T15:00:00Z"}


def reprice(stage: Stage, given: PriceRow = PRICE, **body: Any) -> Run:
    """One run of the reporter that gives a price."""
    window = stage.window(**HOURS, price_version=given.price_version, **body)
    return report(stage.reporter(), window, [given])


@pytest.fixture
def customer(on_stage: Stage) -> str:
    """The customer of tenant acme, which is charged by cost and has made a request without a price."""
    made = on_stage.customer()
    on_stage.insert(SEGMENTS, segment(stripe_customer=made, charge_basis="cost", items=[item(COST)]))
    on_stage.insert(STDOUT, line("r1", **UNPRICED))
    return made


def totals(stage: Stage) -> dict[tuple[str, str | None], int]:
    """What the ledger holds of cost and input, by disposition and reason."""
    sums: dict[tuple[str, str | None], int] = {}
    for row in stage.deltas():
        key = row["disposition"], row["reason"]
        sums[key] = sums.get(key, 0) + row["value"]
    return {key: value for key, value in sums.items() if value}


def test_what_was_parked_is_billed_once_it_has_a_price(on_stage: Stage, customer: str) -> None:
    on_stage.report()
    parked = totals(on_stage)

    run = reprice(on_stage)
    again = reprice(on_stage)

    assert parked == {("parked", "unpriced"): 120}
    assert (run.error, run.rated, run.sent) == (None, 1, 1)
    assert totals(on_stage) == {("billable", None): 190, ("included", "charge_basis"): 120}
    assert on_stage.billed() == {(customer, COST): 190}
    assert (again.error, again.rated, again.sealed) == (None, 0, 0)


def test_a_price_that_was_given_is_not_given_again_under_another_version(
    on_stage: Stage, customer: str
) -> None:
    reprice(on_stage)

    other = reprice(on_stage, PriceRow("small", "the-small", "v2", 9000, 0, 0, 9000))

    assert (other.rated, other.sealed) == (0, 0)
    assert on_stage.billed() == {(customer, COST): 190}


def test_a_rehearsal_counts_and_writes_nothing(on_stage: Stage, customer: str) -> None:
    run = reprice(on_stage, dry_run=True)

    assert (run.rated, on_stage.rows("ledger.usage_ratings")) == (1, [])


def test_two_runs_that_rate_at_once_rate_each_request_once(on_stage: Stage, customer: str) -> None:
    """Both see a request without a price; the job's id keeps the second from rating it again."""
    window = on_stage.window(**HOURS, price_version="v1")
    on_stage.warehouse_fault("snapshot_overlap", seconds=1.0, match={"table": RATINGS})

    def run(run_id: str) -> int:
        return rate(on_stage.warehouse(), window, [PRICE], ledger_epoch="e1", now=BEGIN, run_id=run_id)

    with ThreadPoolExecutor(2) as pool:
        rated = list(pool.map(run, ("a", "b")))

    assert sorted(rated) == [0, 1]
    assert len(on_stage.rows(RATINGS)) == 1


def catalogue(tmp_path: Path) -> Path:
    """One model with two prices."""
    first = {
        "price_version": "v1",
        "effective_from": "2026-01-01T00:00:00Z",
        "pico_usd_per_token": {"input": 1500, "cached_input": 1, "cache_write": 2, "output": 2000},
    }
    later = first | {"price_version": "v2", "effective_from": "2027-01-01T00:00:00Z"}
    model = {
        "provider": "openai", "provider_model": "the-small", "mode": "chat", "price_class": "small",
        "prices": [first, later], "max_output_tokens": 10, "api_key_env": "KEY",
    }  # fmt: skip
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps({"models": {"small": model}}))
    return path


def test_a_version_is_looked_up_whenever_its_price_comes_into_force(tmp_path: Path) -> None:
    rows = prices_from(catalogue(tmp_path), "v2", BEGIN)

    assert rows == [PriceRow("small", "the-small", "v2", 1500, 1, 2, 2000)]


def test_an_unknown_version_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    known = load_catalogue(catalogue(tmp_path), now=BEGIN)

    with pytest.raises(RequestError, match="has no 'v9': it has v1, v2"):
        prices_of(known, "v9")
    with pytest.raises(RequestError, match="TALLYGATE_CATALOGUE is not set"):
        prices_from(None, "v1", BEGIN)


def test_the_statement_rates_as_the_catalogue_does(tmp_path: Path) -> None:
    """Beside the proxy's own rounding, on counts and prices up to their bounds, each with its own price."""
    chance = random.Random(7)
    most = (10**9, 10**12)
    cases: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((0, 0, 0, 1), (0, 0, 0, 499)),
        ((0, 0, 0, 1), (0, 0, 0, 500)),
        ((most[0],) * 4, (most[1],) * 4),
    ]
    for _ in range(200):
        scale = chance.choice([10, 10**4, 10**9])
        counts = tuple(chance.randint(0, scale) for _ in range(4))
        cases.append(
            (counts, tuple(chance.randint(0, chance.choice([1500, 10**6, 10**12])) for _ in range(4)))
        )
    engine = DuckDb(tmp_path)

    answer = engine.answer(
        Case(
            name="many",
            sql="rate.sql",
            parameters=RATE | {"prices": (PRICES_TYPE, [_price_row(n, p) for n, (_, p) in enumerate(cases)])},
            tables={
                STDOUT: [_request(n, counts) for n, (counts, _) in enumerate(cases)],
                SEGMENTS: [segment()],
                RATINGS: [rating("other")],
            },
        )
    )
    engine.close()

    found = {row["request_id"]: row["cost_nano_usd"] for row in answer.rows if row["request_id"] != "other"}
    assert found == {
        f"r{n}": Price("v1", BEGIN, *pico).cost_nano_usd(TokenCounts(*counts))
        for n, (counts, pico) in enumerate(cases)
        if sum(counts)
    }


def _price_row(number: int, pico: tuple[int, ...]) -> dict[str, Any]:
    names = ("input_pico", "cached_input_pico", "cache_write_pico", "output_pico")
    return price(f"m{number}", **dict(zip(names, pico, strict=True)))


def _request(number: int, counts: tuple[int, ...]) -> dict[str, Any]:
    names = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens")
    given: dict[str, Any] = dict(zip(names, counts, strict=True))
    return line(f"r{number}", served_model=f"m{number}", total_tokens=sum(counts), **given, **UNPRICED)
