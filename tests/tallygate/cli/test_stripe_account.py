"""``tallygate stripe`` on the double: links that bind, a portal, one webhook for one URL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stripe

from tallygate.secrets import FileSecrets
from tallygate.subscriptions.connecting import VERSION_KEY
from tallygate.subscriptions.events import THIN_EVENTS
from tests.sandbox.stripe.double import Double
from tests.tallygate.cli.conftest import Run

HOOK = "https://gateway.example/stripe"
PAID = ("--success-url", "https://example.com/thanks")
BACK = ("--return-url", "https://example.com/account")


def destinations(client: stripe.StripeClient) -> list[Any]:
    return list(client.v2.core.event_destinations.list({"include": ["webhook_endpoint.url"]}).data)


@pytest.fixture
def published(run: Run, double: Double) -> None:
    run("plans", "apply")
    run("tenants", "add", "acme", "--plan", "team")


@pytest.mark.usefixtures("published")
def test_a_checkout_link_is_marked_as_ours(run: Run, client: stripe.StripeClient) -> None:
    made = json.loads(run("stripe", "checkout-link", "acme", "--seats", "4", *PAID, "--json"))

    session = client.v1.checkout.sessions.retrieve(made["session_id"])
    lines = client.v1.checkout.sessions.line_items.list(made["session_id"]).data
    assert made["url"] == session.url
    assert session.client_reference_id == "acme"
    assert session.metadata is not None
    assert session.metadata["tallygate_tenant"] == "acme"
    assert [line.quantity for line in lines if line.quantity] == [4]
    assert len(lines) == 5


@pytest.mark.usefixtures("published")
def test_who_has_subscribed_gets_no_second_link_but_a_portal(
    run: Run, double: Double, client: stripe.StripeClient
) -> None:
    made = json.loads(run("stripe", "checkout-link", "acme", *PAID, "--json"))
    assert "tenant acme has no Stripe customer yet" in run("stripe", "portal-link", "acme", *BACK)
    double.post(f"/_sandbox/checkout/sessions/{made['session_id']}/complete")
    customer = client.v1.checkout.sessions.retrieve(made["session_id"]).customer
    assert isinstance(customer, str)
    run("tenants", "bind", "acme", customer)

    assert "a second subscription would stop its meters" in run("stripe", "checkout-link", "acme", *PAID)
    told = json.loads(run("stripe", "portal-link", "acme", *BACK, "--json"))
    assert told["customer"] == customer
    assert told["url"].startswith("http")


@pytest.fixture
def subscribed(run: Run, published: None, double: Double, client: stripe.StripeClient) -> str:
    """The customer of tenant acme, who has three seats."""
    made = json.loads(run("stripe", "checkout-link", "acme", "--seats", "3", *PAID, "--json"))
    double.post(f"/_sandbox/checkout/sessions/{made['session_id']}/complete")
    customer = client.v1.checkout.sessions.retrieve(made["session_id"]).customer
    assert isinstance(customer, str)
    run("tenants", "bind", "acme", customer)
    return customer


def test_seats_change_at_once(run: Run, client: stripe.StripeClient, subscribed: str) -> None:
    assert "Give acme 7 seats" in run("stripe", "seats", "acme", "7")
    told = json.loads(run("stripe", "seats", "acme", "7", "--yes", "--json"))

    (subscription,) = client.v1.subscriptions.list({"customer": subscribed}).data
    quantities = [getattr(item, "quantity", None) for item in subscription["items"].data]
    assert told == {"tenant_id": "acme", "subscription": subscription.id, "seats": 7}
    assert [one for one in quantities if one] == [7]


def test_leaving_is_with_the_period_or_at_once(
    run: Run, client: stripe.StripeClient, subscribed: str
) -> None:
    assert run("stripe", "cancel", "acme", "--yes").endswith("ends when the period ends\n")
    (subscription,) = client.v1.subscriptions.list({"customer": subscribed}).data
    assert (subscription.status, subscription.cancel_at_period_end) == ("active", True)

    assert run("stripe", "cancel", "acme", "--now", "--yes").endswith("ends now\n")
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert "has no running subscription" in run("stripe", "cancel", "acme", "--yes")
    assert "has 0 items of seats, not one" in run("stripe", "seats", "acme", "2", "--yes")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("checkout-link", "nobody", *PAID), "there is no tenant nobody"),
        (("checkout-link", "acme", "--plan", "gold", *PAID), "there is no plan 'gold'"),
        (("checkout-link", "acme", "--success-url", "thanks"), "--success-url: must be a URL"),
        (("checkout-link", "acme", *PAID), "run 'tallygate plans apply'"),
        (("portal-link", "acme", *BACK), "run 'tallygate plans apply'"),
        (("connect-webhook", "--url", "gateway"), "--url: must be a URL"),
    ],
)
@pytest.mark.usefixtures("double")
def test_what_cannot_be_linked_says_what_to_do(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    run("tenants", "add", "acme", "--plan", "team", "--customer", "cus_1")

    told = run("stripe", *arguments)

    assert problem in told or "No such customer" in told
    assert told.endswith("exit 1")


def test_a_connected_webhook_asks_for_what_is_handled_and_its_secret_is_kept_unseen(
    run: Run, secrets: Path, client: stripe.StripeClient
) -> None:
    told = run("stripe", "connect-webhook", "--url", HOOK)

    (made,) = destinations(client)
    (secret,) = FileSecrets(secrets).newest("stripe-webhook-secret", 9)
    assert told == f"{made.id} sends to {HOOK}: made\n"
    assert secret.startswith("whsec_")
    assert (made.webhook_endpoint.url, sorted(made.enabled_events)) == (HOOK, sorted(THIN_EVENTS))
    assert made.metadata[VERSION_KEY] == "1"


def test_a_url_gets_no_second_destination(run: Run, client: stripe.StripeClient) -> None:
    run("stripe", "connect-webhook", "--url", HOOK)
    (made,) = destinations(client)

    assert run("stripe", "connect-webhook", "--url", HOOK) == f"{made.id} sends to {HOOK}: unchanged\n"

    client.v2.core.event_destinations.update(made.id, {"enabled_events": ["v1.invoice.created"]})
    client.v2.core.event_destinations.disable(made.id)
    assert run("stripe", "connect-webhook", "--url", HOOK).endswith("changed\n")
    (after,) = destinations(client)
    assert (after.id, after.status, sorted(after.enabled_events)) == (
        made.id, "enabled", sorted(THIN_EVENTS),
    )  # fmt: skip


def test_a_roll_keeps_the_new_secret_before_the_old_destination_goes(
    run: Run, secrets: Path, client: stripe.StripeClient
) -> None:
    run("stripe", "connect-webhook", "--url", HOOK)
    (old,) = FileSecrets(secrets).newest("stripe-webhook-secret", 9)
    (before,) = destinations(client)

    assert "say --yes" in run("stripe", "connect-webhook", "--url", HOOK, "--roll")
    rolled = json.loads(run("stripe", "connect-webhook", "--url", HOOK, "--roll", "--yes", "--json"))

    (after,) = destinations(client)
    newest, kept = FileSecrets(secrets).newest("stripe-webhook-secret", 2)
    assert (rolled["outcome"], rolled["destination_id"]) == ("rolled", after.id)
    assert after.id != before.id
    assert (kept, newest != old) == (old, True)
    assert old not in json.dumps(rolled)
    assert newest not in json.dumps(rolled)


def test_a_secret_that_cannot_be_kept_leaves_no_destination(
    run: Run, client: stripe.StripeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise OSError("no room")

    monkeypatch.setattr("tallygate.cli.secret_store.FileStore.add", refuse)

    with pytest.raises(OSError, match="no room"):
        run("stripe", "connect-webhook", "--url", HOOK)
    assert destinations(client) == []


def test_a_lost_secret_is_mended_by_a_roll(run: Run, client: stripe.StripeClient) -> None:
    """As a run leaves it that was killed before it kept the secret."""
    run("stripe", "connect-webhook", "--url", HOOK)
    (made,) = destinations(client)
    client.v2.core.event_destinations.update(made.id, {"metadata": {VERSION_KEY: None}})

    assert "--roll makes a new one" in run("stripe", "connect-webhook", "--url", HOOK)
    assert run("stripe", "connect-webhook", "--url", HOOK, "--roll", "--yes").endswith("rolled\n")
    assert run("stripe", "connect-webhook", "--url", HOOK).endswith("unchanged\n")
    assert len(destinations(client)) == 1


def test_a_destination_that_somebody_made_is_left_alone(run: Run, client: stripe.StripeClient) -> None:
    made = client.v2.core.event_destinations.create(
        {
            "name": "by hand", "type": "webhook_endpoint", "event_payload": "thin",
            "enabled_events": ["v1.invoice.created"], "webhook_endpoint": {"url": HOOK},
        }
    )  # fmt: skip

    told = run("stripe", "connect-webhook", "--url", HOOK, "--roll", "--yes")

    assert f"{made.id} sends to {HOOK} and was not made here" in told
    assert [one.id for one in destinations(client)] == [made.id]


def test_a_key_of_the_other_mode_is_refused(
    run: Run, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLYGATE_LIVEMODE", "true")

    assert "--url: must be an https URL" in run(
        "stripe", "connect-webhook", "--url", "http://gateway.example"
    )
    told = run("stripe", "connect-webhook", "--url", HOOK)
    assert "Stripe's API key is a test key but TALLYGATE_LIVEMODE is true" in told
    assert told.endswith("exit 2")
