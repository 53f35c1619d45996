"""docs/costs.md says what the scheduled runs read, as ``python -m tests.sql.sweeps`` computes it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from delivery.costs import PRICES
from sandbox.layout import REPOSITORY
from tests.sql.sweeps import LEAST, VOLUMES, Column, Job, Reading, Stretch, jobs, page, usd

PAGE = REPOSITORY / "docs" / "costs.md"
NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def found() -> list[Job]:
    return jobs()


def test_the_page_says_what_the_sweeps_read(found: list[Job]) -> None:
    block = re.search(r"<!-- sweeps -->\n(.*?)\n<!-- end -->", PAGE.read_text(), re.DOTALL)

    assert block is not None, "docs/costs.md has no block <!-- sweeps -->"
    assert block[1] == page(found), (
        f"docs/costs.md: between <!-- sweeps --> and <!-- end --> put\n{page(found)}"
    )


def test_a_million_requests_carry_their_part_of_it(found: list[Job]) -> None:
    volume = VOLUMES[0]
    size = sum(job.bytes_a_day(volume) for job in found)
    said = PRICES["per_million_requests"]["items"][
        f"BigQuery, scheduled runs at {volume // 10**6} million requests a day"
    ]

    computed = usd(size * 10**6 / volume)

    assert said == computed, f"delivery/list_prices.json says {said}, tests/sql/sweeps.py computes {computed}"


def test_runs_read_lines_no_further_back_than_they_look(found: list[Job]) -> None:
    """The recent runs must not read more than yesterday's partition; nothing reads a year of lines daily."""
    farthest = {
        job.name: max(
            (
                column.stretch.since
                for statement in job.statements
                for reading in statement
                if reading.table.startswith("usage_raw.")
                for column in reading.columns.values()
            ),
            default=timedelta(0),
        )
        for job in found
        if job.every == 1
    }

    assert farthest["usage-reporter-recent"] < timedelta(hours=4)
    assert farthest["usage-reporter-hourly"] <= timedelta(days=2)
    assert farthest["usage-reconciler-recent"] < timedelta(days=3)
    assert max(farthest.values()) < timedelta(days=70)


def test_whole_partitions_are_read_and_of_today_what_is_there() -> None:
    assert Stretch(timedelta(hours=3), timedelta(0)).days(NOON) == 0.5
    assert Stretch(timedelta(hours=13), timedelta(0)).days(NOON) == 1.5
    assert Stretch(timedelta(days=67), timedelta(days=35)).days(NOON) == 33


def test_a_small_table_is_billed_with_the_least() -> None:
    column = Column(8.0, Stretch(timedelta(hours=3), timedelta(0)))
    job = Job("j", "0 12 * * *", ((Reading("ledger.ledger_epochs", {"e": column}),),))

    assert job.bytes_a_day(10) == job.least_a_day() == LEAST
