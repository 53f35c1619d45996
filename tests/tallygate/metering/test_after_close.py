"""Usage that arrives after a tenant's last invoice: on one one-off invoice, or waived in rows of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pytest

from tallygate.metering.one_off import OneOffItem
from tallygate.metering.report import Run, report
from tallygate.metering.sinks import Answer
from tallygate.metering.sinks.stripe_invoices import IDENTIFIER_KEY, StripeInvoices
from tests.sql.cases import INPUT, ONLY_INPUT, line, segment
from tests.support.stage import Stage

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
SEGMENTS: Final = "ledger.billing_segments"
ITEMS: Final = "/v1/invoiceitems"
ENDED: Final = "2026-03-10T14:20:00Z"
LATE: Final = 5000
"""Input tokens that arrive late; at 0.1 cents each they cost five dollars."""


@dataclass
class Leaver:
    """A tenant whose subscription has ended, and whose last invoice is final."""

    stage: Stage
    customer: str
    price: str

    def arrives(self, request_id: str, tokens: int = LATE) -> None:
        """A line of the time before the end arrives now."""
        changes = {**ONLY_INPUT, "input_tokens": tokens, "total_tokens": tokens}
        self.stage.insert(STDOUT, line(request_id, **changes))

    def day(self, invoices: StripeInvoices | None = None, **changes: Any) -> Run:
        """A day later the daily run."""
        self.stage.advance(hours=24)
        return self.daily(invoices, **changes)

    def daily(self, invoices: StripeInvoices | None = None, **changes: Any) -> Run:
        """The daily run, now."""
        made = invoices or self.stage.invoices()
        reporter = self.stage.reporter(invoices=lambda: made, **changes)
        return report(reporter, self.stage.window(depth="daily"))

    def sums(self) -> dict[str, int]:
        """What the ledger holds, by disposition."""
        sums: dict[str, int] = {}
        for row in self.stage.deltas():
            sums[row["disposition"]] = sums.get(row["disposition"], 0) + row["value"]
        return {name: value for name, value in sums.items() if value}

    def states(self) -> list[tuple[str, str | None]]:
        """Where the rows for one-off invoices stand."""
        rows = [row for row in self.stage.deliveries() if row["disposition"] == "one_off"]
        return [(row["delivery"], row["delivery_reason"]) for row in rows]

    def invoices(self) -> list[tuple[str | None, list[tuple[str, int, int]]]]:
        """Status of each invoice, with identifier, quantity and cents of its lines."""
        listed = self.stage.stripe.client().v1.invoices.list({"customer": self.customer}).data
        return [
            (
                invoice.status,
                [(row.metadata[IDENTIFIER_KEY], row.quantity or 0, row.amount) for row in invoice.lines.data],
            )
            for invoice in listed
        ]

    def identifiers(self) -> list[str]:
        """Of the rows for one-off invoices."""
        return [row["identifier"] for row in self.stage.deltas() if row["disposition"] == "one_off"]


@pytest.fixture
def leaver(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Leaver:
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.001)
    monkeypatch.setattr("stripe._http_client.HTTPClient.MAX_DELAY", 0.001)
    monkeypatch.setattr("tallygate.metering.one_off._BACKOFF_SECONDS", 0.001)
    client = on_stage.stripe.client()
    params: Any = {
        "currency": "usd",
        "unit_amount_decimal": "0.1",
        "product_data": {"name": "Input tokens"},
        "recurring": {"interval": "month", "usage_type": "metered", "meter": on_stage.meters[INPUT]},
    }
    made = Leaver(on_stage, on_stage.customer(), client.v1.prices.create(params).id)
    items = [{"meter": INPUT, "subscription_item": "si_1", "price": made.price}]
    on_stage.insert(SEGMENTS, segment(stripe_customer=made.customer, items=items, valid_to=ENDED))
    on_stage.go_to("2026-03-10T16:00:00Z")
    return made


def test_late_usage_waits_a_day_and_is_on_one_one_off_invoice(leaver: Leaver) -> None:
    leaver.arrives("r1")

    first = leaver.daily()
    parked = leaver.sums()
    second = leaver.day()
    leaver.stage.advance(hours=2)
    third = leaver.daily()

    assert (first.parked, first.one_off, parked) == (1, 0, {"parked": LATE})
    assert (second.one_off, second.backlog) == (1, 0)
    assert leaver.sums() == {"one_off": LATE}
    assert leaver.invoices() == [("paid", [(leaver.identifiers()[0], LATE, 500)])]
    assert (third.one_off, leaver.states()) == (0, [("confirmed", None)])
    assert leaver.stage.billed() == {}, "it was sent to a meter as well"


def test_what_costs_less_than_the_minimum_is_waived_in_rows_of_its_own(leaver: Leaver) -> None:
    leaver.arrives("r1", 999)
    leaver.daily()

    run = leaver.day()

    assert (run.one_off, leaver.sums(), leaver.invoices()) == (0, {"waived": 999}, [])
    waived = [row for row in leaver.stage.deltas() if row["disposition"] == "waived"]
    assert [(row["value"], row["reason"], row["late"]) for row in waived] == [(999, "below_minimum", True)]
    assert leaver.day().sealed == 0, "a decision is made once"


def test_the_minimum_is_of_all_that_came(leaver: Leaver) -> None:
    leaver.arrives("r1", 600)
    leaver.daily()
    leaver.stage.advance(hours=12)
    leaver.arrives("r2", 600)
    leaver.daily()
    leaver.stage.advance(hours=12)

    too_soon = leaver.daily()
    leaver.day()

    assert too_soon.one_off == 0, "more came less than a day ago"
    assert leaver.sums() == {"one_off": 1200}
    assert sum(amount for _, lines in leaver.invoices() for _, _, amount in lines) == 120


def test_a_tenant_that_comes_back_has_it_on_the_next_invoice(leaver: Leaver) -> None:
    leaver.arrives("r1")
    leaver.daily()
    start = "2026-03-11T00:00:00Z"
    items = [{"meter": INPUT, "subscription_item": "si_2", "price": leaver.price}]
    back = segment(
        "seg2", stripe_customer=leaver.customer, items=items, subscription_id="sub_2", valid_from=start,
        period_start=start, period_end="2026-04-11T00:00:00Z", known_at=start,
    )  # fmt: skip
    leaver.stage.insert(SEGMENTS, back)

    leaver.day()

    assert (leaver.sums(), leaver.invoices()) == ({"billable": LATE}, [])
    assert leaver.stage.billed() == {(leaver.customer, INPUT): LATE}


def test_more_that_comes_after_the_decision_is_decided_by_itself(leaver: Leaver) -> None:
    leaver.arrives("r1")
    leaver.daily()
    leaver.day()
    leaver.arrives("r2", 10)
    leaver.daily()

    leaver.day()

    assert leaver.sums() == {"one_off": LATE, "waived": 10}
    assert len(leaver.invoices()) == 1


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("commit_then_drop", ITEMS),
        ("commit_then_500", ITEMS),
        pytest.param("conflict_409", ITEMS, marks=pytest.mark.soak),
        pytest.param("rate_limit_429", ITEMS, marks=pytest.mark.soak),
        ("commit_then_500", "/v1/invoices"),
        pytest.param("commit_then_drop", "/v1/invoices", marks=pytest.mark.soak),
    ],
)
def test_an_answer_that_is_lost_neither_doubles_nor_loses(leaver: Leaver, kind: str, path: str) -> None:
    leaver.arrives("r1")
    leaver.daily()
    leaver.stage.stripe.arm(kind, match={"path": path, "method": "POST"})

    leaver.day()
    leaver.day()

    finals = [lines for status, lines in leaver.invoices() if lines]
    assert finals == [[(leaver.identifiers()[0], LATE, 500)]]
    assert leaver.states()[0][0] in ("sent", "confirmed")
    assert leaver.stage.injected(kind) == 1


def test_an_item_that_was_never_made_is_made_again_after_two_looks(leaver: Leaver) -> None:
    """Version 1 repeats its 500 for a day, so only the list of items can say that nothing was done."""
    leaver.arrives("r1")
    leaver.daily()
    leaver.stage.stripe.arm("error_500", match={"path": ITEMS, "method": "POST"})

    failed = leaver.day()
    looked = leaver.day()
    too_soon = leaver.daily()
    states = leaver.states()
    leaver.stage.advance(hours=7)
    again = leaver.daily()

    assert (failed.one_off, failed.backlog, states) == (0, 1, [("sending", "unknown_outcome")])
    assert (looked.one_off, too_soon.one_off, again.one_off) == (0, 0, 1)
    assert [lines for _, lines in leaver.invoices() if lines] == [[(leaver.identifiers()[0], LATE, 500)]]


class _Killed(BaseException):
    """The process is gone."""


class _Dying(StripeInvoices):
    """Dies right after the call of a name has been carried out."""

    def __init__(self, stage: Stage, call: str) -> None:
        super().__init__("sk_test_double", api_base=stage.stripe.url)
        self._dies_after = call

    def draft(self, customer: str, key: str) -> str:
        made = super().draft(customer, key)
        self._die("draft")
        return made

    def add(self, invoice: str, item: OneOffItem, idempotency_key: str) -> Answer:
        answer = super().add(invoice, item, idempotency_key)
        self._die("add")
        return answer

    def release(self, invoice: str) -> None:
        super().release(invoice)
        self._die("release")

    def _die(self, call: str) -> None:
        if call == self._dies_after:
            raise _Killed


@pytest.mark.parametrize("call", [pytest.param("draft", marks=pytest.mark.soak), "add", "release"])
def test_a_run_that_dies_is_taken_up_by_the_next(leaver: Leaver, call: str) -> None:
    leaver.arrives("r1")
    leaver.daily()
    with pytest.raises(_Killed):
        leaver.day(_Dying(leaver.stage, call))

    leaver.day()
    leaver.stage.advance(hours=2)

    assert leaver.invoices() == [("paid", [(leaver.identifiers()[0], LATE, 500)])]
    assert leaver.states()[0][0] in ("sent", "confirmed")


def test_nothing_is_doubled_when_stripe_has_forgotten_the_key(leaver: Leaver) -> None:
    """The run dies after Stripe made the item; the next one comes a week later."""
    leaver.arrives("r1")
    leaver.daily()
    with pytest.raises(_Killed):
        leaver.day(_Dying(leaver.stage, "add"))

    leaver.stage.advance(days=7)
    leaver.daily()

    assert [len(lines) for _, lines in leaver.invoices()] == [1]


def test_a_customer_that_is_gone_is_parked(leaver: Leaver) -> None:
    leaver.arrives("r1")
    leaver.daily()
    leaver.stage.stripe.client().v1.customers.delete(leaver.customer)

    run = leaver.day()

    assert (run.one_off, run.parked) == (0, 1)
    assert leaver.states() == [("parked", "customer_not_found")]


def test_a_refused_key_fails_the_run_and_pages(leaver: Leaver, capsys: pytest.CaptureFixture[str]) -> None:
    leaver.arrives("r1")
    leaver.daily()

    run = leaver.day(leaver.stage.invoices("sk_live_of_another_account"))

    assert run.error is not None
    assert '"event": "sending_stopped"' in capsys.readouterr().out
    assert leaver.sums() == {"parked": LATE}


def test_a_price_that_is_gone_leaves_it_parked(leaver: Leaver) -> None:
    items = [{"meter": INPUT, "subscription_item": "si_1", "price": "price_nothing"}]
    known = "2026-03-10T15:00:00Z"
    other = segment(stripe_customer=leaver.customer, items=items, valid_to=ENDED, known_at=known)
    leaver.stage.insert(SEGMENTS, other)
    leaver.arrives("r1")
    leaver.daily()

    leaver.day()

    assert (leaver.sums(), leaver.invoices()) == ({"parked": LATE}, [])
