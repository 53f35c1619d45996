"""The ledger suite seals what it put in, counts calls, and refuses a wrong sum."""

from __future__ import annotations

import pytest

from sandbox.bench import explain_suite, ledger_suite
from sandbox.bench.ledger_suite import Size, run
from sandbox.bench.warehouse import WrongSumError


def test_calls_to_stripe_do_not_grow_with_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tenants with three meters are 3,000 calls, however many requests there were."""
    monkeypatch.setattr(ledger_suite, "MULTIPLES", (1, 3))
    said: list[str] = []

    numbers = run(said.append, Size(events=3000, requests=1000, explained=0))

    assert numbers["stripe_calls"] == {"1": 3000, "3": 3000}
    assert numbers["events"] == 3000
    assert numbers["events_per_second"] > 0
    assert 0 < numbers["peak_rss_mib"] < 2048
    assert len(said) == 3


def test_a_wrong_sum_ends_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_suite, "TOKENS", 0)

    with pytest.raises(WrongSumError, match="sealed"):
        run(lambda _: None, Size(events=1000, explained=0))


@pytest.mark.soak
def test_a_line_is_explained_by_the_command_as_it_is_typed() -> None:
    """The suite itself checks that the sums are equal and every request is listed."""
    explained = explain_suite.run(500, listed=True)

    assert explained.sums_seconds > 0
    assert explained.list_seconds


@pytest.mark.soak
def test_requests_that_are_not_all_listed_end_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_suite, "TOKENS", 0)

    with pytest.raises(WrongSumError, match="invoice explain printed"):
        explain_suite.run(500)
