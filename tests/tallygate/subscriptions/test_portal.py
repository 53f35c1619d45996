"""What ``plans apply`` lets the customer portal do, on the double."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.layout import REPOSITORY
from tallygate.catalogue import load_catalogue
from tallygate.plans import Plans, load_plans
from tallygate.subscriptions.portal import find_configuration, portal_link
from tallygate.subscriptions.prices import NotPublishedError, current_prices
from tallygate.subscriptions.publishing import PublishError, publish
from tests.sandbox.stripe.double import START, Host


@pytest.fixture
def client(stripe_host: Host, tmp_path: Path) -> Iterator[stripe.StripeClient]:
    with stripe_host.running(tmp_path / "stripe") as double:
        yield double.client()


@pytest.fixture
def plans() -> Plans:
    folder = REPOSITORY / "sandbox" / "config"
    return load_plans(folder / "plans.json", load_catalogue(folder / "catalogue.json", now=START))


def features(client: stripe.StripeClient) -> dict[str, Any]:
    found = find_configuration(client)
    assert found is not None
    content: dict[str, Any] = found.features.to_dict()
    return content


def test_the_portal_allows_seats_cards_invoices_and_leaving_and_no_more(
    client: stripe.StripeClient, plans: Plans
) -> None:
    publish(client, plans, dry_run=False)

    given = features(client)

    assert {name for name, feature in given.items() if feature["enabled"]} == {
        "invoice_history", "payment_method_update", "subscription_cancel", "subscription_update",
    }  # fmt: skip
    assert given["subscription_cancel"]["mode"] == "at_period_end"
    update = given["subscription_update"]
    assert update["default_allowed_updates"] == ["quantity"]
    assert [(one["product"], one["prices"]) for one in update["products"]] == [
        ("tallygate-team", [current_prices(client, plans)["team-seat"]])
    ]
    assert update["products"][0]["adjustable_quantity"]["minimum"] == 1


def test_what_somebody_allowed_in_the_dashboard_is_taken_back(
    client: stripe.StripeClient, plans: Plans
) -> None:
    publish(client, plans, dry_run=False)
    found = find_configuration(client)
    assert found is not None
    wider: Any = {
        "features": {
            "customer_update": {"enabled": True, "allowed_updates": ["email"]},
            "subscription_cancel": {"enabled": True, "mode": "immediately"},
            "subscription_update": {"enabled": True, "default_allowed_updates": ["price", "quantity"]},
        }
    }
    client.v1.billing_portal.configurations.update(found.id, wider)

    actions = publish(client, plans, dry_run=False)

    assert [action.change for action in actions] == ["update_portal"]
    assert not features(client)["customer_update"]["enabled"]
    assert publish(client, plans, dry_run=False) == []


def test_without_seats_nothing_of_a_subscription_can_be_changed(
    client: stripe.StripeClient, plans: Plans
) -> None:
    publish(client, plans, dry_run=False)
    without = Plans({name: replace(plan, seat_cents=None) for name, plan in plans.plans.items()})

    publish(client, without, dry_run=False)

    assert not features(client)["subscription_update"]["enabled"]
    assert publish(client, without, dry_run=False) == []


def test_a_configuration_of_another_product_is_left_alone(client: stripe.StripeClient, plans: Plans) -> None:
    given: Any = {"features": {"invoice_history": {"enabled": True}}}
    other = client.v1.billing_portal.configurations.create(given)

    publish(client, plans, dry_run=False)

    after = client.v1.billing_portal.configurations.retrieve(other.id)
    ours = find_configuration(client)
    assert after.features.to_dict() == other.features.to_dict()
    assert ours is not None
    assert ours.id != other.id


def test_more_plans_with_seats_than_the_portal_takes_are_refused(
    client: stripe.StripeClient, plans: Plans
) -> None:
    team = plans.plans["team"]
    many = Plans({f"team-{number}": replace(team, name=f"team-{number}") for number in range(11)})

    with pytest.raises(PublishError, match="11 plans have seats"):
        publish(client, many, dry_run=False)


def test_a_link_needs_the_configuration(client: stripe.StripeClient, plans: Plans) -> None:
    customer = client.v1.customers.create({"name": "acme"}).id
    with pytest.raises(NotPublishedError, match="plans apply"):
        portal_link(client, customer, "https://example.com")

    publish(client, plans, dry_run=False)

    assert portal_link(client, customer, "https://example.com").startswith("http")
