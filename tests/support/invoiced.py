"""A month that ended in a final invoice, on a stage."""

from __future__ import annotations

from typing import Any, Final

from tests.sql.cases import INPUT, item, line, segment
from tests.support.stage import Stage

MUCH: Final[dict[str, Any]] = {"output_tokens": 0, "cost_nano_usd": "0"}
"""100 input tokens, with ``total_tokens``."""
BEGIN: Final = "2026-03-10T14:30:00Z"
END: Final = "2026-04-10T14:30:00Z"
_STDOUT: Final = "usage_raw.run_googleapis_com_stdout"


def subscribe(stage: Stage, cents: str = "0.01") -> str:
    """The customer of tenant acme, subscribed from :data:`BEGIN` on for so many cents an input token."""
    client = stage.stripe.client()
    customer = stage.customer()
    price: Any = {
        "product": client.v1.products.create({"name": "Gateway"}).id,
        "currency": "usd",
        "unit_amount_decimal": cents,
        "recurring": {"interval": "month", "usage_type": "metered", "meter": stage.meters[INPUT]},
    }
    items: Any = [{"price": client.v1.prices.create(price).id}]
    client.v1.subscriptions.create({"customer": customer, "items": items})
    bill_from_begin(stage, customer)
    return customer


def bill_from_begin(stage: Stage, customer: str, **changes: Any) -> None:
    """Let the ledger know how the month's usage is billed."""
    row = segment(
        stripe_customer=customer,
        items=[item(INPUT)],
        valid_from=BEGIN,
        period_start=BEGIN,
        period_end=END,
        **changes,
    )
    stage.insert("ledger.billing_segments", row)


def use_twice(stage: Stage) -> None:
    """Two requests of 100 input tokens in the first hour, the second one sealed late."""
    stage.go_to("2026-03-10T14:50:00Z")
    stage.insert(_STDOUT, line("r1", at="2026-03-10T14:40:00Z", **MUCH, total_tokens=100))
    stage.report()
    stage.insert(_STDOUT, line("r2", at="2026-03-10T14:45:00Z", **MUCH, total_tokens=100))
    stage.report()


def final_invoice(stage: Stage, customer: str) -> str:
    """The invoice of the month, some time after its end."""
    stage.go_to("2026-04-10T17:00:00Z")
    found = stage.stripe.client().v1.invoices.list({"customer": customer}).data
    return next(one.id for one in found if one.billing_reason == "subscription_cycle" and one.id)


def invoice_of_a_month(stage: Stage) -> str:
    """An invoice of a month in which tenant acme made two requests of 100 tokens, one of them late."""
    customer = subscribe(stage)
    use_twice(stage)
    return final_invoice(stage, customer)
