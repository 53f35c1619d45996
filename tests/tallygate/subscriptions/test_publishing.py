"""``plans apply`` against the double: by lookup keys, idempotent, never an edited price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.layout import REPOSITORY
from tallygate.catalogue import load_catalogue
from tallygate.plans import Plans, load_plans
from tallygate.records import METERS
from tallygate.subscriptions.prices import current_prices
from tallygate.subscriptions.publishing import PublishError, publish
from tests.sandbox.stripe.double import START, Host


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    here = Host()
    here.start()
    yield here
    here.stop()


@pytest.fixture
def client(host: Host, tmp_path: Path) -> Iterator[stripe.StripeClient]:
    with host.running(tmp_path / "stripe") as double:
        yield double.client()


@pytest.fixture
def plans() -> Plans:
    folder = REPOSITORY / "sandbox" / "config"
    return load_plans(folder / "plans.json", load_catalogue(folder / "catalogue.json", now=START))


def changed(plans: Plans, name: str, **changes: Any) -> Plans:
    return Plans({**plans.plans, name: replace(plans.plans[name], **changes)})


def prices(client: stripe.StripeClient) -> list[Any]:
    return list(client.v1.prices.list({"limit": 100}).auto_paging_iter())


def test_a_new_account_gets_meters_products_and_prices(client: stripe.StripeClient, plans: Plans) -> None:
    actions = publish(client, plans, dry_run=False)

    assert {meter.event_name for meter in client.v1.billing.meters.list({}).data} == set(METERS)
    assert sorted(current_prices(client, plans)) == sorted(
        [
            "starter-flat", "team-seat", "team-llm_input_tokens", "team-llm_cached_input_tokens",
            "team-llm_cache_write_tokens", "team-llm_output_tokens", "scale-flat", "scale-llm_cost_nano_usd",
        ]
    )  # fmt: skip
    assert len(actions) == len(METERS) + 3 + 8 + 1  # the portal


def test_a_second_run_does_nothing(client: stripe.StripeClient, plans: Plans) -> None:
    publish(client, plans, dry_run=False)

    assert publish(client, plans, dry_run=False) == []


def test_a_dry_run_tells_and_changes_nothing(client: stripe.StripeClient, plans: Plans) -> None:
    told = publish(client, plans, dry_run=True)

    assert prices(client) == []
    assert publish(client, plans, dry_run=False) == told


def test_a_changed_price_is_a_new_one_and_the_old_one_is_closed(
    client: stripe.StripeClient, plans: Plans
) -> None:
    publish(client, plans, dry_run=False)
    before = current_prices(client, plans)["team-seat"]

    actions = publish(client, changed(plans, "team", seat_cents=2500), dry_run=False)

    after = current_prices(client, plans)["team-seat"]
    assert [action.change for action in actions] == ["replace_price", "update_portal", "close_price"]
    assert client.v1.prices.retrieve(after).unit_amount == 2500
    old = client.v1.prices.retrieve(before)
    assert (old.unit_amount, old.active, old.lookup_key) == (2000, False, None)


def test_what_a_run_that_died_left_open_is_closed_by_the_next(
    client: stripe.StripeClient, plans: Plans
) -> None:
    publish(client, plans, dry_run=False)
    before = current_prices(client, plans)["team-seat"]
    publish(client, changed(plans, "team", seat_cents=2500), dry_run=False)
    client.v1.prices.update(before, {"active": True})

    actions = publish(client, changed(plans, "team", seat_cents=2500), dry_run=False)

    assert [(action.change, action.detail) for action in actions] == [("close_price", before)]


def test_a_price_that_lost_its_label_gets_it_back(client: stripe.StripeClient, plans: Plans) -> None:
    publish(client, plans, dry_run=False)
    price = current_prices(client, plans)["scale-flat"]
    client.v1.prices.update(price, {"metadata": {"tallygate_plan": ""}})

    actions = publish(client, plans, dry_run=False)

    assert [action.change for action in actions] == ["label_price"]
    metadata = client.v1.prices.retrieve(price).metadata
    assert metadata is not None
    assert metadata["tallygate_plan"] == "scale"


def test_prices_are_exact(client: stripe.StripeClient, plans: Plans) -> None:
    """Twenty percent on a nano-dollar: 0.00000012 cents, no float on the way."""
    publish(client, plans, dry_run=False)

    price = client.v1.prices.retrieve(current_prices(client, plans)["scale-llm_cost_nano_usd"])

    assert price.unit_amount_decimal == Decimal("0.00000012")


def test_what_was_switched_off_by_hand_is_switched_on_again(
    client: stripe.StripeClient, plans: Plans
) -> None:
    publish(client, plans, dry_run=False)
    meter = client.v1.billing.meters.list({}).data[0]
    client.v1.billing.meters.deactivate(meter.id)
    client.v1.products.update("tallygate-team", {"active": False})

    actions = publish(client, plans, dry_run=False)

    assert [(action.change, action.name) for action in actions] == [
        ("reactivate_meter", meter.event_name),
        ("unarchive_product", "tallygate-team"),
    ]
    assert client.v1.billing.meters.retrieve(meter.id).status == "active"
    assert client.v1.products.retrieve("tallygate-team").active
    assert publish(client, plans, dry_run=False) == []


def test_a_meter_that_counts_otherwise_stops_everything(client: stripe.StripeClient, plans: Plans) -> None:
    client.v1.billing.meters.create(
        {
            "event_name": METERS[0],
            "display_name": "made by hand",
            "default_aggregation": {"formula": "count"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
        }
    )

    with pytest.raises(PublishError, match="does not sum"):
        publish(client, plans, dry_run=False)
    assert prices(client) == []

    (wrong,) = client.v1.billing.meters.list({}).data
    client.v1.billing.meters.deactivate(wrong.id)
    publish(client, plans, dry_run=False)
    assert client.v1.billing.meters.retrieve(wrong.id).status == "inactive"
    assert {meter.event_name for meter in client.v1.billing.meters.list({"status": "active"}).data} == set(
        METERS
    )
