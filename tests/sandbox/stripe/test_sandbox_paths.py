"""``/_sandbox``: the clock's questions and the books."""

from __future__ import annotations

from datetime import timedelta

import stripe

from tallygate.clock import parse_rfc3339
from tests.sandbox.stripe.double import START, Double, Shop, use


def test_next_names_each_effect_in_turn(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    use(client, shop.customer, 5, "one", START)
    seen = []

    for _ in range(4):
        at = double.get("/_sandbox/next")["at"]
        seen.append(at)
        double.clock.at = parse_rfc3339(at)
        double.post("/_sandbox/tick")

    assert seen == [
        "2026-01-01T00:01:00.000000Z",  # the summary shows the event
        "2026-02-01T00:00:00.000000Z",  # the period ends
        "2026-02-01T01:00:00.000000Z",  # the draft becomes final
        "2026-03-01T00:00:00.000000Z",
    ]


def test_next_is_nothing_when_nothing_is_planned(double: Double) -> None:
    assert double.get("/_sandbox/next") == {"at": None}


def test_an_effect_that_a_request_carried_out_is_still_told_to_the_clock(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    """Who moves the clock runs jobs again when something happened, so it has to hear of it."""
    double.clock.at = START + timedelta(days=31)
    client.v1.customers.list()

    assert double.get("/_sandbox/next")["at"] == "2026-02-01T00:00:00.000000Z"
    double.post("/_sandbox/tick")
    assert double.get("/_sandbox/next")["at"] == "2026-02-01T01:00:00.000000Z"


def test_a_long_leap_carries_out_everything_at_its_own_time(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.clock.at = START + timedelta(days=95)

    double.post("/_sandbox/tick")

    invoices = client.v1.invoices.list({"customer": shop.customer}).data
    starts = [(one.period_start, one.status) for one in reversed(invoices)]
    month = [START, START, START + timedelta(days=31), START + timedelta(days=59)]
    assert starts == [(int(start.timestamp()), "paid") for start in month]
    assert invoices[0].status_transitions.finalized_at == int(
        (START + timedelta(days=90, hours=1)).timestamp()
    )


def test_the_ledger_has_the_shape_that_was_agreed_on(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(hours=2)
    use(client, shop.customer, 3, "one", START + timedelta(minutes=5))
    use(client, shop.customer, 4, "two", START + timedelta(minutes=55))
    use(client, shop.customer, 8, "three", START + timedelta(minutes=65))

    ledger = double.get("/_sandbox/ledger")

    assert ledger["meter_hours"] == [
        {"customer": shop.customer, "meter": "tokens", "hour": "2026-01-01T00:00:00.000000Z", "value": "7"},
        {"customer": shop.customer, "meter": "tokens", "hour": "2026-01-01T01:00:00.000000Z", "value": "8"},
    ]
    assert ledger["events"][0] == {
        "identifier": "one", "customer": shop.customer, "meter": "tokens",
        "timestamp": "2026-01-01T00:05:00.000000Z", "value": "3",
        "received_at": "2026-01-01T02:00:00.000000Z",
    }  # fmt: skip
    [invoice] = ledger["invoices"]
    assert set(invoice) == {"id", "customer", "status", "period_start", "period_end", "lines"}
    assert invoice["lines"] == [
        {"price": shop.flat_price, "meter": None, "quantity": "1", "amount": "5000"},
        {"price": shop.seat_price, "meter": None, "quantity": "3", "amount": "3000"},
    ]


def test_a_draft_in_the_ledger_shows_what_it_would_charge_now(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, 2_000_000, "one", START)
    double.advance(days=31)

    invoice = double.get("/_sandbox/ledger")["invoices"][-1]

    assert invoice["status"] == "draft"
    assert {"price": shop.tokens_price, "meter": "tokens", "quantity": "2000000", "amount": "600"} in invoice[
        "lines"
    ]


def test_health_is_open(double: Double) -> None:
    assert double.get("/_sandbox/health") == {}


def test_a_fault_of_an_unknown_kind_is_refused(double: Double) -> None:
    answer = double.http.post(f"{double.url}/_sandbox/faults", json={"kind": "earthquake", "count": 1})

    assert answer.status_code == 400
    assert "commit_then_drop" in answer.json()["error"]
