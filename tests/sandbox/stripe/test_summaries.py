"""Meter event summaries: late, aligned, paged, and by the meter's formula."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Shop, make_meter, use

T0 = int(START.timestamp())
DAY = 86_400


def summaries(client: stripe.StripeClient, meter: str, customer: str, **params: Any) -> list[Any]:
    given: Any = {"customer": customer, "start_time": T0, "end_time": T0 + DAY, **params}
    return list(client.v1.billing.meters.event_summaries.list(meter, given).data)


def test_a_summary_shows_an_event_some_time_after_it_was_received(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, 5, "one", START)
    assert summaries(client, shop.tokens, shop.customer) == []

    double.advance(minutes=1)

    assert [row.aggregated_value for row in summaries(client, shop.tokens, shop.customer)] == [5.0]


def test_next_says_when_a_summary_will_show_an_event(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.clock.at = START + timedelta(seconds=30)

    use(client, shop.customer, 5, "one", START)

    assert double.get("/_sandbox/next")["at"] == "2026-01-01T00:02:00.000000Z"


def test_hours_are_grouped_newest_first_and_hours_without_use_are_left_out(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(hours=6)
    for identifier, hour, value in (("a", 0, 1), ("b", 0, 2), ("c", 3, 4)):
        use(client, shop.customer, value, identifier, START + timedelta(hours=hour, minutes=59))
    double.advance(minutes=5)

    rows = summaries(client, shop.tokens, shop.customer, value_grouping_window="hour")

    shown = [
        ((row.start_time - T0) // 3600, row.end_time - row.start_time, row.aggregated_value) for row in rows
    ]
    assert shown == [(3, 3600, 4.0), (0, 3600, 3.0)]


def test_a_page_has_ten_rows_unless_asked_otherwise(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(hours=12)
    for hour in range(12):
        use(client, shop.customer, 1, f"h{hour}", START + timedelta(hours=hour))
    double.advance(minutes=5)

    params: Any = {
        "customer": shop.customer, "start_time": T0, "end_time": T0 + DAY, "value_grouping_window": "hour",
    }  # fmt: skip
    first = client.v1.billing.meters.event_summaries.list(shop.tokens, params)

    assert (len(first.data), first.has_more) == (10, True)
    assert len(list(first.auto_paging_iter())) == 12


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [(T0 + 1, T0 + 3600, None), (T0 + 60, T0 + 7200, "hour"), (T0 + 3600, T0 + DAY, "day"), (T0, T0, None)],
    ids=["within a minute", "within an hour", "within a day", "empty"],
)
def test_a_range_that_is_not_aligned_is_refused(
    client: stripe.StripeClient, shop: Shop, start: int, end: int, window: str | None
) -> None:
    grouping = {} if window is None else {"value_grouping_window": window}

    with pytest.raises(stripe.InvalidRequestError):
        summaries(client, shop.tokens, shop.customer, start_time=start, end_time=end, **grouping)


def test_the_end_of_a_range_is_not_part_of_it(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.advance(hours=2)
    use(client, shop.customer, 1, "inside", START + timedelta(minutes=59, seconds=59))
    use(client, shop.customer, 2, "outside", START + timedelta(hours=1))
    double.advance(minutes=5)

    rows = summaries(client, shop.tokens, shop.customer, end_time=T0 + 3600)

    assert [row.aggregated_value for row in rows] == [1.0]


def test_a_pre_aggregated_meter_counts_the_event_received_last_in_each_window(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    meter = make_meter(client, "hourly", event_time_window="hour")
    double.advance(hours=2)
    for identifier, minutes, value in (("a", 50, 10), ("b", 5, 30), ("c", 61, 7)):
        use(client, shop.customer, value, identifier, START + timedelta(minutes=minutes), meter="hourly")
    double.advance(minutes=5)

    rows = summaries(client, meter.id, shop.customer, value_grouping_window="hour")

    assert [row.aggregated_value for row in rows] == [7.0, 30.0]
    assert [row.aggregated_value for row in summaries(client, meter.id, shop.customer)] == [37.0]


@pytest.mark.parametrize(("formula", "expected"), [("sum", 60.0), ("count", 3.0), ("last", 30.0)])
def test_the_formula_of_a_meter_decides_what_its_summary_holds(
    client: stripe.StripeClient, shop: Shop, double: Double, formula: str, expected: float
) -> None:
    meter = make_meter(client, "other", default_aggregation={"formula": formula})
    double.advance(hours=1)
    for minutes, value in ((10, 10), (50, 30), (20, 20)):
        use(client, shop.customer, value, f"m{minutes}", START + timedelta(minutes=minutes), meter="other")
    double.advance(minutes=5)

    assert [row.aggregated_value for row in summaries(client, meter.id, shop.customer)] == [expected]


def test_an_event_that_was_refused_later_is_in_no_summary(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    double.arm("async_reject", code="archived_meter")
    use(client, shop.customer, 5, "one", START)
    double.advance(minutes=5)

    assert summaries(client, shop.tokens, shop.customer) == []
    event: Any = client.v2.core.events.list().data[0]
    assert event.data.reason.error_types[0].code == "archived_meter"


def test_customers_do_not_see_each_others_use(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    other = client.v1.customers.create({"name": "borealis"}).id
    use(client, shop.customer, 5, "one", START)
    double.advance(minutes=5)

    assert summaries(client, shop.tokens, other) == []
    with pytest.raises(stripe.InvalidRequestError):
        summaries(client, shop.tokens, "cus_unknown")


def test_a_stale_read_shows_sums_of_some_time_ago(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, 5, "one", START)
    double.advance(minutes=5)
    double.arm("stale_read", match={"operation": "/v1/billing/meters/{id}/event_summaries"})

    stale = summaries(client, shop.tokens, shop.customer)
    fresh = summaries(client, shop.tokens, shop.customer)

    assert stale == []
    assert [row.aggregated_value for row in fresh] == [5.0]
