"""``tallygate usage`` and ``tallygate invoice`` on a warehouse and a Stripe account with real usage."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from sandbox.layout import REPOSITORY
from tallygate.cli.errors import OperatorError
from tallygate.spend import document, document_id
from tests.functions.deployed import environment, function
from tests.sandbox.stripe.double import Host
from tests.sql.cases import COST, INPUT, UNPRICED, delta, item, line, segment
from tests.support.host import Host as ServerHost
from tests.support.invoiced import MUCH, invoice_of_a_month
from tests.support.stage import Stage, stage
from tests.support.stage_fixtures import bigquery_host, stripe_host
from tests.support.tool import Tool

__all__ = ["bigquery_host", "stripe_host"]

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
HOURS: Final = ["--from", "2026-03-10T14:00:00Z", "--to", "2026-03-10T15:00:00Z"]


@pytest.fixture
def on_stage(tmp_path: Path, bigquery_host: ServerHost, stripe_host: Host) -> Iterator[Stage]:
    with stage(tmp_path, bigquery_host, stripe_host) as here:
        yield here


@pytest.fixture
def tool(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(on_stage, monkeypatch)


def test_a_dry_replay_prints_the_difference_and_changes_nothing(tool: Tool, on_stage: Stage) -> None:
    on_stage.insert("ledger.billing_segments", segment())
    on_stage.insert(STDOUT, line("r1"))
    on_stage.insert("ledger.meter_deltas", delta(1, value=60))

    rows = json.loads(tool("usage", "replay", *HOURS, "--dry-run", "--format", "json"))

    assert {row["meter"]: row["value"] for row in rows} == {INPUT: 40, "llm_output_tokens": 20, COST: 5000}
    assert len(on_stage.deltas()) == 1


def test_a_replay_asks_the_reporter_which_alone_seals(
    tool: Tool, on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_stage.insert("ledger.billing_segments", segment(stripe_customer=on_stage.customer()))
    on_stage.insert(STDOUT, line("r1"))
    asked: list[Any] = []

    def reporter(name: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
        asked.append((url, body))
        return on_stage.report(**{f"{name}_": value for name, value in body.items()}).answer()

    monkeypatch.setattr("tallygate.cli.functions.post", reporter)
    monkeypatch.setenv("TALLYGATE_REPORTER_URL", "http://127.0.0.1:1")

    first = tool("usage", "replay", *HOURS, "--tenant", "acme")
    second = tool("usage", "replay", *HOURS, "--tenant", "acme")

    assert "sealed=3" in first
    assert "sealed" not in second
    assert asked == [
        ("http://127.0.0.1:1", {"from": HOURS[1], "to": HOURS[3], "tenant": "acme"}),
    ]
    assert sum(row["value"] for row in on_stage.deltas() if row["meter"] == INPUT) == 100


def test_an_hour_with_less_used_than_sealed_is_shown_apart(tool: Tool, on_stage: Stage) -> None:
    on_stage.insert("ledger.billing_segments", segment())
    on_stage.insert(STDOUT, line("r1"))
    on_stage.insert("ledger.meter_deltas", delta(1, value=101))

    shown = tool("usage", "replay", *HOURS, "--dry-run")

    assert "less used than sealed" in shown


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--from", HOURS[3], "--to", HOURS[1], "--dry-run"], "from: must be before to"),
        (["--from", "yesterday", "--to", HOURS[1], "--dry-run"], "from: must be an RFC 3339"),
        ([*HOURS, "--tenant", "stranger", "--dry-run"], "no billing segment names the tenant 'stranger'"),
        ([*HOURS, "--tenant", "Not!", "--dry-run"], "tenant: must match"),
        (HOURS, "TALLYGATE_REPORTER_URL: set it"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused_with_the_reason(
    tool: Tool, arguments: list[str], problem: str
) -> None:
    with pytest.raises(OperatorError, match=problem):
        tool("usage", "replay", *arguments)


@pytest.fixture
def unpriced(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> str:
    """The customer of tenant acme, which is charged by cost and has made a request without a price."""
    customer = on_stage.customer()
    on_stage.insert(
        "ledger.billing_segments", segment(stripe_customer=customer, charge_basis="cost", items=[item(COST)])
    )
    on_stage.insert(STDOUT, line("r1", **UNPRICED | {"served_model": "gpt-4o-mini"}))
    monkeypatch.setenv("TALLYGATE_CATALOGUE", str(REPOSITORY / "sandbox" / "config" / "catalogue.json"))
    return customer


def test_a_price_is_shown_before_it_is_given_and_given_once(
    tool: Tool, on_stage: Stage, unpriced: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = function("usage_reporter", environment(on_stage), monkeypatch)

    def reporter(name: str, url: str, body: dict[str, Any]) -> Any:
        return served.post("/", json=body).json

    monkeypatch.setattr("tallygate.cli.functions.post", reporter)
    monkeypatch.setenv("TALLYGATE_REPORTER_URL", "http://127.0.0.1:1")
    command = ["usage", "reprice", "--price-version", "gpt-4o-mini-2025-01"]

    (row,) = json.loads(tool(*command, "--dry-run", "--format", "json"))
    with pytest.raises(OperatorError, match="say --yes"):
        tool(*command)
    untouched = on_stage.rows("ledger.usage_ratings")
    first, second = tool(*command, "--yes"), tool(*command, "--yes")

    assert untouched == []
    # 100 × 150,000 + 20 × 600,000 pico-USD
    assert (row["tenant_id"], row["model"], row["requests"]) == ("acme", "gpt-4o-mini", 1)
    assert (row["total_tokens"], row["cost_nano_usd"]) == (120, 27000)
    assert "rated=1" in first
    assert "rated" not in second
    assert on_stage.billed() == {(unpriced, COST): 27000}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--price-version", "v9"], "has no 'v9': it has .*gpt-4o-mini-2025-01"),
        (["--price-version", "gpt-4o-mini-2025-01", "--tenant", "stranger", "--dry-run"], "names the tenant"),
        (["--price-version", "gpt-4o-mini-2025-01"], "TALLYGATE_REPORTER_URL: set it"),
        (
            ["--price-version", "gpt-4o-mini-2025-01", "--from", HOURS[3], "--to", HOURS[1]],
            "from: must be before to",
        ),
    ],
)
def test_a_price_that_can_t_be_given_is_refused_with_the_reason(
    tool: Tool, unpriced: str, arguments: list[str], problem: str
) -> None:
    with pytest.raises(OperatorError, match=problem):
        tool("usage", "reprice", *arguments)


def test_a_reporter_without_tls_is_refused(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYGATE_REPORTER_URL", "http://reporter.example")

    with pytest.raises(OperatorError, match="must be https"):
        tool("usage", "replay", *HOURS)


def test_a_tenant_is_shown_what_the_gateway_counted(tool: Tool, on_stage: Stage) -> None:
    hours = {"2026-03-10T14": Counter({"requests": 2, INPUT: 150, COST: 9})}
    on_stage.database.put("tenants", "acme", {"tenant_id": "acme"})
    on_stage.database.put(
        "spend", document_id("acme", "2026-03", "i1"), document("acme", "2026-03", "i1", hours)
    )

    rows = list(csv.DictReader(io.StringIO(tool("usage", "show", "--tenant", "acme", "--format", "csv"))))

    used = {row["meter"]: (row["used"], row["unit"]) for row in rows}
    assert used["requests"] == ("2", "requests")
    assert used[INPUT] == ("150", "tokens")
    assert used[COST] == ("9", "nano-USD")


def test_an_unknown_tenant_or_month_is_refused(tool: Tool) -> None:
    with pytest.raises(OperatorError, match="there is no tenant"):
        tool("usage", "show", "--tenant", "stranger")
    with pytest.raises(OperatorError, match="must be like 2026-03"):
        tool("usage", "show", "--tenant", "acme", "--month", "March")


@pytest.fixture
def invoice(on_stage: Stage) -> str:
    """An invoice of a month in which tenant acme made two requests, one of them late."""
    return invoice_of_a_month(on_stage)


def test_an_invoice_line_is_explained_down_to_its_requests(tool: Tool, invoice: str) -> None:
    rows = json.loads(tool("invoice", "explain", invoice, "--format", "json"))

    assert [(row["level"], row["value"], row["count"]) for row in rows] == [
        ("invoice line", 200, 1),
        ("summary", 200, None),
        ("sealed rows", 200, 2),
        ("hour", 200, 2),
        ("requests", 200, 2),
    ]


def test_the_requests_behind_a_line_are_listed(tool: Tool, invoice: str) -> None:
    listed = csv.DictReader(
        io.StringIO(tool("invoice", "explain", invoice, "--line", "1", "--requests", "--format", "csv"))
    )

    assert [(row["request_id"], row["value"]) for row in listed] == [("r1", "100"), ("r2", "100")]


def test_sums_that_differ_are_told_by_the_line(tool: Tool, on_stage: Stage, invoice: str) -> None:
    on_stage.insert(STDOUT, line("r3", at="2026-03-10T14:46:00Z", **MUCH, total_tokens=100))

    with pytest.raises(OperatorError, match="the sums differ in line 1"):
        tool("invoice", "explain", invoice)


@pytest.fixture
def one_off(on_stage: Stage) -> str:
    """The one-off invoice of a request that arrived after the last invoice; another one was in time."""
    client = on_stage.stripe.client()
    customer = on_stage.customer()
    price: Any = {
        "product": client.v1.products.create({"name": "Gateway"}).id,
        "currency": "usd",
        "unit_amount_decimal": "2",
        "recurring": {"interval": "month", "usage_type": "metered", "meter": on_stage.meters[INPUT]},
    }
    billed_by = {**item(INPUT), "price": client.v1.prices.create(price).id}
    ended = segment(stripe_customer=customer, items=[billed_by], valid_to="2026-03-10T14:20:00Z")
    on_stage.insert("ledger.billing_segments", ended)
    on_stage.insert(STDOUT, line("r1", at="2026-03-10T14:10:00Z", **MUCH, total_tokens=100))
    on_stage.report()
    on_stage.go_to("2026-03-10T17:00:00Z")
    on_stage.insert(STDOUT, line("r2", at="2026-03-10T14:10:00Z", **MUCH, total_tokens=100))
    on_stage.report(depth="daily")
    on_stage.go_to("2026-03-11T18:00:00Z")
    on_stage.report(depth="daily")
    (found,) = client.v1.invoices.list({"customer": customer}).data
    return str(found.id)


def test_a_line_of_a_one_off_invoice_is_explained_by_its_row_and_hour(tool: Tool, one_off: str) -> None:
    rows = json.loads(tool("invoice", "explain", one_off, "--format", "json"))

    assert [(row["level"], row["what"].rpartition(" ")[2], row["value"], row["count"]) for row in rows] == [
        ("invoice line", INPUT, 100, 1),
        ("sealed rows", "one-off", 100, 1),
        ("hour", "billable", 100, None),
        ("hour", "one_off", 100, None),
        ("requests", "hour", 200, 2),
    ]


def test_an_invoice_or_a_line_that_is_not_there_is_refused(tool: Tool, invoice: str) -> None:
    with pytest.raises(OperatorError, match="no metered line 9"):
        tool("invoice", "explain", invoice, "--line", "9")
    with pytest.raises(OperatorError, match="Stripe: "):
        tool("invoice", "explain", "in_none")
