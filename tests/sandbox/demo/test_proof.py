"""The proof notices whatever does not add up, and names the stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.demo import proof as stages
from sandbox.demo.proof import Sources, prove
from sandbox.demo.script import Case, Step, script
from tallygate.catalogue import Catalogue, load_catalogue
from tallygate.clock import parse_rfc3339
from tallygate.records import COST_METER, METERS, TokenCounts

CATALOGUE = Path(__file__).parents[3] / "sandbox" / "config" / "catalogue.json"
AT = "2026-03-01T10:00:00.000000Z"
CHAT = Case("chat", "chat", "gpt-4o-mini")
RETRY = Case("retry", "chat", "gpt-4o-mini", attempts=2)
NO_USAGE = Case("no usage", "chat", "gpt-4o-mini", estimated=True)
STEPS = [
    Step(1, "aurora", CHAT, "a"),
    Step(2, "aurora", RETRY, "b"),
    Step(3, "borealis", NO_USAGE, "c"),
]
IDS = {1: "req-1", 2: "req-2", 3: "req-3"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(CATALOGUE, now=parse_rfc3339(AT))


def _cost(catalogue: Catalogue, input_tokens: int, output_tokens: int) -> int:
    price = catalogue.models["gpt-4o-mini"].prices[-1]
    return price.cost_nano_usd(TokenCounts(input=input_tokens, output=output_tokens))


def _event(catalogue: Catalogue, step: Step, input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "event": "llm_usage",
        "request_id": IDS[step.number],
        "tenant_id": step.tenant_id,
        "model": step.case.model,
        "status": "success",
        "estimated": step.case.estimated,
        "attempts": step.case.attempts,
        "billable": True,
        "timestamp": AT,
        "idempotency_key": step.idempotency_key,
        "input_tokens": input_tokens,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": output_tokens,
        "cost_nano_usd": str(_cost(catalogue, input_tokens, output_tokens)),
    }


def _ledger(request_id: str, attempt: int, input_tokens: int, output_tokens: int) -> list[dict[str, Any]]:
    common = {"request_id": request_id, "attempt": attempt, "model": "gpt-4o-mini"}
    return [
        {**common, "class": "input", "tokens": input_tokens},
        {**common, "class": "output", "tokens": output_tokens},
    ]


@pytest.fixture
def sources(catalogue: Catalogue) -> Sources:
    """Two requests of aurora (one retried, its first attempt cost 4 tokens) and one estimated of borealis."""
    events = [
        _event(catalogue, STEPS[0], 10, 20),
        _event(catalogue, STEPS[1], 5, 7),
        _event(catalogue, STEPS[2], 8, 9),
    ]
    admits = [{**event, "event": "llm_admit"} for event in events]
    sums: Counter[tuple[str, str]] = Counter()
    fields = {"llm_input_tokens": "input_tokens", "llm_output_tokens": "output_tokens"}
    for event in events:
        for meter, name in fields.items():
            sums[event["tenant_id"], meter] += event[name]
        sums[event["tenant_id"], COST_METER] += int(event["cost_nano_usd"])
    billed = {bucket: value for bucket, value in sums.items() if bucket[0] == "aurora"}
    included = {bucket: value for bucket, value in sums.items() if bucket[0] == "borealis"}
    return Sources(
        provider_ledger=[
            *_ledger("req-1", 1, 10, 20),
            *_ledger("req-2", 1, 4, 0),
            *_ledger("req-2", 2, 5, 7),
            *_ledger("req-3", 1, 8, 11),
        ],
        lines=[*admits, *events],
        warehouse=dict(sums),
        sealed={"billable": billed, "included": included},
        stripe=dict(billed),
        invoice=dict(billed),
        one_off={},
        rejected=frozenset(),
    )


def test_a_system_that_lost_nothing_is_balanced(sources: Sources, catalogue: Catalogue) -> None:
    proof = prove(STEPS, IDS, sources, catalogue)

    assert proof.findings == []
    assert proof.verdict == "balanced"
    assert len(proof.rows) == 2 * len(METERS)


def test_differences_to_the_provider_are_shown_not_hidden(sources: Sources, catalogue: Catalogue) -> None:
    rows = {(row.tenant_id, row.meter): row for row in prove(STEPS, IDS, sources, catalogue).rows}

    assert rows["aurora", "llm_input_tokens"].waived_upstream == 4
    assert rows["borealis", "llm_output_tokens"].estimate_error == 2
    assert rows["borealis", "llm_output_tokens"].provider == 11


Corruption = Callable[[Sources], Sources]


def _lines(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Corruption:
    return lambda sources: replace(sources, lines=change([dict(line) for line in sources.lines]))


def _without_last(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return lines[:-1]


def _altered(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines[3]["input_tokens"] += 1
    return lines


def _foreign(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines[3]["tenant_id"] = "borealis"
    return lines


def _unestimated(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines[5]["estimated"] = False
    return lines


def _more(amounts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {**amounts, ("aurora", "llm_input_tokens"): amounts["aurora", "llm_input_tokens"] + 15}


@pytest.mark.parametrize(
    ("corrupt", "stage"),
    [
        pytest.param(_lines(_without_last), stages.GATEWAY, id="a usage event is missing"),
        pytest.param(_lines(_altered), stages.GATEWAY, id="an event has other counts"),
        pytest.param(_lines(_foreign), stages.SCRIPT, id="an event names another tenant"),
        pytest.param(_lines(_unestimated), stages.SCRIPT, id="an estimate is passed off as reported"),
        pytest.param(
            lambda s: replace(s, warehouse=_more(s.warehouse)), stages.ROUTER, id="a line counts twice"
        ),
        pytest.param(
            lambda s: replace(s, sealed={**s.sealed, "billable": _more(s.sealed["billable"])}),
            stages.SEAL,
            id="a delta is doubled",
        ),
        pytest.param(
            lambda s: replace(s, stripe=_more(s.stripe)), stages.SEND, id="a meter event is doubled"
        ),
        pytest.param(
            lambda s: replace(s, one_off={("aurora", "llm_input_tokens"): 15}),
            stages.SEND,
            id="an item on a one-off invoice is of no sealed row",
        ),
        pytest.param(
            lambda s: replace(s, invoice=_more(s.invoice)), stages.INVOICE, id="an invoice line is too high"
        ),
    ],
)
def test_each_corruption_is_noticed_at_its_stage(
    corrupt: Corruption, stage: str, sources: Sources, catalogue: Catalogue
) -> None:
    proof = prove(STEPS, IDS, corrupt(sources), catalogue)

    assert proof.verdict == "unbalanced"
    order = list(stages.STAGES)
    assert min((finding.stage for finding in proof.findings), key=order.index) == stage


def test_usage_on_a_one_off_invoice_or_waived_is_accounted_for(
    sources: Sources, catalogue: Catalogue
) -> None:
    bucket = ("aurora", "llm_input_tokens")
    moved = {**sources.sealed["billable"], bucket: 0}
    late = {"one_off": {bucket: 10}, "waived": {bucket: 5}}
    after = replace(
        sources, sealed={**sources.sealed, "billable": moved, **late}, stripe={**sources.stripe, bucket: 0},
        one_off={bucket: 10}, invoice={**sources.invoice, bucket: 10},
    )  # fmt: skip

    proof = prove(STEPS, IDS, after, catalogue)

    assert proof.findings == []
    row = next(row for row in proof.rows if (row.tenant_id, row.meter) == bucket)
    assert (row.events, row.stripe, row.one_off, row.waived, row.invoice) == (15, 0, 10, 5, 10)


def test_a_redelivered_line_changes_nothing(sources: Sources, catalogue: Catalogue) -> None:
    again = replace(sources, lines=[*sources.lines, *sources.lines])

    assert prove(STEPS, IDS, again, catalogue) == prove(STEPS, IDS, sources, catalogue)


def test_a_rejected_line_is_unrecorded(sources: Sources, catalogue: Catalogue) -> None:
    rejected = replace(sources, rejected=frozenset({"req-3"}), warehouse={}, sealed={}, stripe={}, invoice={})

    rows = {(row.tenant_id, row.meter): row for row in prove(STEPS, IDS, rejected, catalogue).rows}

    assert rows["borealis", "llm_output_tokens"].unrecorded == 11
    assert rows["borealis", "llm_output_tokens"].events == 0


def test_the_script_is_the_same_for_the_same_seed_and_holds_every_case() -> None:
    plans = {"aurora": "starter", "borealis": "team", "corvus": "scale"}

    steps = script(plans, seed=7, requests=300)

    assert steps == script(plans, seed=7, requests=300)
    assert steps != script(plans, seed=8, requests=300)
    assert len(steps) >= 300
    by_tenant = {tenant: {step.case.name for step in steps if step.tenant_id == tenant} for tenant in plans}
    assert "fallback" in by_tenant["aurora"]
    assert "completion, streamed" in by_tenant["borealis"]
    assert "cache read, streamed" in by_tenant["corvus"]
