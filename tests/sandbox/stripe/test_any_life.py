"""Whatever becomes of its payments, what a subscription used is charged once, and each month once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sandbox.stripe.double import Double, Shop, use

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 10**6)),
        st.tuples(st.just("advance"), st.integers(1, 25)),
        st.tuples(st.just("pays"), st.sampled_from(["works", "declines", "missing"])),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("seats"), st.integers(1, 9)),
        st.tuples(st.just("hold"), st.sampled_from(["keep_as_draft", ""])),
    ),
    min_size=4,
    max_size=12,
)


class Life:
    """One subscription of a customer of its own, and what was done with it."""

    def __init__(self, double: Double, shop: Shop, number: int) -> None:
        self.double, self.client, self.shop, self.number = double, double.client(), shop, number
        self.customer = self.client.v1.customers.create({"name": f"life {number}"}).id
        items: Any = [{"price": shop.seat_price, "quantity": 1}, {"price": shop.tokens_price}]
        made = self.client.v1.subscriptions.create({"customer": self.customer, "items": items})
        self.id, self.seat = made.id, made["items"].data[0].id
        self.used = 0

    def do(self, step: str, value: Any, place: int) -> None:
        """One step of a life."""
        if step == "use":
            use(self.client, self.customer, value, f"{self.number}:{place}", self.double.clock.at)
            self.used += value
        elif step == "advance":
            self.double.advance(days=value, seconds=17)
        elif step == "pays":
            self.double.pays(self.customer, value)
        elif step == "settle":
            self.settle()
        elif step == "seats":
            self.client.v1.subscription_items.update(self.seat, {"quantity": value})
        else:
            held: Any = {"behavior": value} if value else ""
            self.client.v1.subscriptions.update(self.id, {"pause_collection": held})

    def settle(self) -> None:
        """Pay everything that is open."""
        self.double.pays(self.customer, "works")
        for invoice in self.client.v1.invoices.list({"customer": self.customer, "status": "open"}).data:
            self.client.v1.invoices.pay(invoice.id)

    def end(self) -> None:
        """Leave, with a last invoice, and pay whatever is left."""
        self.double.advance(minutes=1)
        self.client.v1.subscriptions.update(self.id, {"pause_collection": ""})
        self.double.pays(self.customer, "works")
        self.client.v1.subscriptions.cancel(self.id, {"invoice_now": True})
        self.double.advance(hours=2)
        for invoice in self.client.v1.invoices.list({"customer": self.customer, "limit": 100}).data:
            if invoice.status in ("draft", "open"):
                self.client.v1.invoices.pay(invoice.id)


@settings(max_examples=15)
@given(steps=_STEPS)
def test_what_was_used_is_charged_once_whatever_payments_do(
    double: Double, shop: Shop, steps: list[tuple[str, Any]]
) -> None:
    life = Life(double, shop, len(double.client().v1.customers.list({"limit": 100}).data))
    for place, (step, value) in enumerate(steps):
        life.do(step, value, place)
    life.end()

    invoices = life.client.v1.invoices.list({"customer": life.customer, "limit": 100}).data
    metered, months = 0, Counter[int]()
    for invoice in invoices:
        # an invoice shows its first ten lines only
        lines = list(life.client.v1.invoices.line_items.list(invoice.id, {"limit": 100}).auto_paging_iter())
        for line in lines:
            assert line.pricing is not None
            assert line.pricing.price_details is not None
            assert line.parent is not None
            assert line.parent.subscription_item_details is not None
            if line.pricing.price_details.price == shop.tokens_price:
                metered += line.quantity or 0
            elif not line.parent.subscription_item_details.proration:
                months[line.period.start] += 1
        assert invoice.status == "paid"
        assert invoice.total == sum(line.amount for line in lines)
        assert invoice.amount_paid == max(invoice.total, 0)
    assert metered == life.used
    assert set(months.values()) <= {1}
    assert len({invoice.number for invoice in invoices}) == len(invoices)
    assert life.client.v1.subscriptions.retrieve(life.id).status == "canceled"
