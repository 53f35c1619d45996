"""Webhooks: signed, retried, and as unreliable as asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import stripe

from tests.sandbox.stripe.double import START, Double, Receiver, Shop, use

CREATED = ("customer.created", "customer.updated")
EVENT = "v1.billing.meter.error_report_triggered"


def endpoint(client: stripe.StripeClient, hook: Receiver, *types: str) -> stripe.WebhookEndpoint:
    params: Any = {"url": hook.url, "enabled_events": list(types or ["*"])}
    return client.v1.webhook_endpoints.create(params)


def destination(client: stripe.StripeClient, hook: Receiver, *types: str) -> Any:
    params: Any = {
        "name": "gateway", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": list(types),
        "webhook_endpoint": {"url": hook.url}, "include": ["webhook_endpoint.signing_secret"],
    }  # fmt: skip
    return client.v2.core.event_destinations.create(params)


@contextmanager
def stripe_time(now: datetime, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK checks signatures against the machine's clock: set it to the double's."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", now.timestamp)
        yield


def test_a_snapshot_event_is_delivered_signed(
    client: stripe.StripeClient, double: Double, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = str(endpoint(client, hook, *CREATED).secret)
    made = client.v1.customers.create({"name": "aurora"})

    double.post("/_sandbox/tick")

    [(body, header)] = hook.received
    with stripe_time(START, monkeypatch):
        event: Any = client.construct_event(body, header, secret)
        assert (event.type, event.data.object.id) == ("customer.created", made.id)
        with pytest.raises(stripe.SignatureVerificationError):
            client.construct_event(body, header, "whsec_another")
    with (
        stripe_time(START + timedelta(seconds=301), monkeypatch),
        pytest.raises(stripe.SignatureVerificationError),
    ):
        client.construct_event(body, header, secret)


def test_an_event_that_was_rewritten_on_the_way_does_not_verify(
    client: stripe.StripeClient, double: Double, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies are written so that parsing and dumping them again changes them, as Stripe's are."""
    secret = str(endpoint(client, hook).secret)
    client.v1.customers.create({"name": "aurora"})
    double.post("/_sandbox/tick")
    [(body, header)] = hook.received

    with stripe_time(START, monkeypatch), pytest.raises(stripe.SignatureVerificationError):
        client.construct_event(json.dumps(json.loads(body)), header, secret)


def test_after_a_roll_both_secrets_sign_for_a_day(
    client: stripe.StripeClient, double: Double, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = endpoint(client, hook)
    new = double.post(f"/_sandbox/webhook_endpoints/{made.id}/roll")["secret"]

    client.v1.customers.create({"name": "during"})
    double.post("/_sandbox/tick")
    double.advance(hours=24, seconds=1)
    client.v1.customers.create({"name": "after"})
    double.post("/_sandbox/tick")

    (first, first_header), (second, second_header) = hook.received
    with stripe_time(START, monkeypatch):
        client.construct_event(first, first_header, str(made.secret))
        client.construct_event(first, first_header, new)
    with stripe_time(double.clock.at, monkeypatch):
        client.construct_event(second, second_header, new)
        with pytest.raises(stripe.SignatureVerificationError):
            client.construct_event(second, second_header, str(made.secret))


def test_an_endpoint_gets_what_it_asked_for_while_it_is_enabled(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    made = endpoint(client, hook, "customer.updated")
    customer = client.v1.customers.create({"name": "a"}).id
    client.v1.customers.update(customer, {"name": "b"})
    double.post("/_sandbox/tick")
    client.v1.webhook_endpoints.update(made.id, {"disabled": True})
    client.v1.customers.update(customer, {"name": "c"})
    double.post("/_sandbox/tick")

    assert [body["data"]["object"]["name"] for body in hook.bodies] == ["b"]


def test_the_secret_of_an_endpoint_is_shown_only_once(client: stripe.StripeClient, hook: Receiver) -> None:
    made = endpoint(client, hook)

    assert str(made.secret).startswith("whsec_")
    assert "secret" not in client.v1.webhook_endpoints.retrieve(made.id).to_dict()
    assert hook.url == client.v1.webhook_endpoints.list().data[0].url


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_is_not_answered_with_2xx_is_sent_again_signed_anew(
    client: stripe.StripeClient, double: Double, hook: Receiver, status: int
) -> None:
    endpoint(client, hook)
    hook.statuses += [status, status]
    client.v1.customers.create({"name": "a"})

    double.advance(hours=2)

    assert len(hook.received) == 3
    assert len({body for body, _ in hook.received}) == 1
    assert len({header for _, header in hook.received}) == 3


def test_a_test_account_gives_up_after_three_retries_and_the_event_can_be_found(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    endpoint(client, hook, "customer.created")
    hook.statuses += [500] * 10
    lost = client.v1.customers.create({"name": "a"}).id
    double.advance(days=4)
    hook.statuses.clear()
    client.v1.customers.create({"name": "b"})
    double.post("/_sandbox/tick")

    assert len(hook.received) == 5
    missed = client.v1.events.list({"delivery_success": False, "type": "customer.*"}).data
    assert [event.data.object["id"] for event in missed] == [lost]


def test_nobody_listening_is_a_failed_try(client: stripe.StripeClient, double: Double) -> None:
    params: Any = {"url": "http://127.0.0.1:9/hook", "enabled_events": ["*"]}
    client.v1.webhook_endpoints.create(params)
    client.v1.customers.create({"name": "a"})

    double.post("/_sandbox/tick")

    assert double.get("/_sandbox/next")["at"] == "2026-01-01T00:10:00.000000Z"


def test_an_event_can_be_delivered_twice(client: stripe.StripeClient, double: Double, hook: Receiver) -> None:
    endpoint(client, hook)
    double.arm("webhook_duplicate")
    client.v1.customers.create({"name": "a"})

    double.post("/_sandbox/tick")

    assert len({body["id"] for body in hook.bodies}) == 1
    assert len(hook.bodies) == 2


def test_one_change_can_make_two_distinct_events(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    endpoint(client, hook)
    double.arm("webhook_duplicate", distinct=True)
    client.v1.customers.create({"name": "a"})

    double.post("/_sandbox/tick")

    assert len({body["id"] for body in hook.bodies}) == 2
    assert len({body["data"]["object"]["id"] for body in hook.bodies}) == 1


def test_an_event_can_be_lost_and_is_still_listed(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    endpoint(client, hook)
    double.arm("webhook_loss", match={"type": "customer.created"})
    client.v1.customers.create({"name": "a"})

    double.advance(days=1)

    assert hook.received == []
    assert [event.type for event in client.v1.events.list({"delivery_success": False}).data] == [
        "customer.created"
    ]


def test_an_event_can_be_delayed(client: stripe.StripeClient, double: Double, hook: Receiver) -> None:
    endpoint(client, hook)
    double.arm("webhook_delay", seconds=90)
    client.v1.customers.create({"name": "first"})
    client.v1.customers.create({"name": "second"})

    double.advance(seconds=89)
    assert [body["data"]["object"]["name"] for body in hook.bodies] == ["second"]
    double.advance(seconds=1)

    assert [body["data"]["object"]["name"] for body in hook.bodies] == ["second", "first"]


def test_events_can_be_shuffled_by_a_seed(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    endpoint(client, hook, "customer.updated")
    double.arm("webhook_shuffle", rate=1, seed=4, match={"type": "customer.updated"})
    customer = client.v1.customers.create({"name": "0"}).id
    for number in range(1, 7):
        client.v1.customers.update(customer, {"name": str(number)})

    double.advance(minutes=2)

    order = [body["data"]["object"]["name"] for body in hook.bodies]
    assert sorted(order) == list("123456")
    assert order != list("123456")


def test_two_changes_within_a_second_have_the_same_created(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    """So that ``created`` cannot tell which came last."""
    endpoint(client, hook)
    customer = client.v1.customers.create({"name": "a"}).id
    double.clock.at += timedelta(milliseconds=400)
    client.v1.customers.update(customer, {"name": "b"})

    double.post("/_sandbox/tick")

    assert {body["created"] for body in hook.bodies} == {int(START.timestamp())}


def test_a_thin_event_comes_without_data_and_is_fetched(
    client: stripe.StripeClient, double: Double, shop: Shop, hook: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = destination(client, hook, EVENT)
    use(client, "cus_unknown", 5, "lost", START)

    double.advance(minutes=5)

    [(body, header)] = hook.received
    assert "data" not in hook.bodies[0]
    secret = made.webhook_endpoint.signing_secret
    with stripe_time(START + timedelta(minutes=1), monkeypatch):
        notification: Any = client.parse_event_notification(body, header, secret)
        with pytest.raises(ValueError, match="parse_event_notification"):
            client.construct_event(body, header, secret)
    assert notification.fetch_event().data.reason.error_count == 1
    assert notification.fetch_related_object().id == shop.tokens


def test_lifecycle_events_have_thin_twins(
    client: stripe.StripeClient, double: Double, shop: Shop, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = destination(client, hook, "v1.customer.subscription.updated")

    client.v1.subscriptions.update(shop.subscription, {"cancel_at_period_end": True})
    double.post("/_sandbox/tick")

    [(body, header)] = hook.received
    with stripe_time(START, monkeypatch):
        notification: Any = client.parse_event_notification(
            body, header, made.webhook_endpoint.signing_secret
        )
    assert notification.fetch_related_object().cancel_at_period_end
    twin = client.v1.events.retrieve(notification.fetch_event().snapshot_event)
    assert twin.type == "customer.subscription.updated"


def test_a_meter_report_cannot_be_put_on_a_webhook_endpoint(
    client: stripe.StripeClient, hook: Receiver
) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        endpoint(client, hook, EVENT)


def test_a_destination_can_be_pinged_paused_and_removed(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    made = destination(client, hook, "v2.core.event_destination.ping")
    service = client.v2.core.event_destinations
    service.ping(made.id)
    double.post("/_sandbox/tick")
    assert service.disable(made.id).status == "disabled"
    service.ping(made.id)
    double.post("/_sandbox/tick")

    assert hook.types == ["v2.core.event_destination.ping"]
    assert service.enable(made.id).status == "enabled"
    assert service.retrieve(made.id, {"include": ["webhook_endpoint.url"]}).webhook_endpoint.url == hook.url  # type: ignore[union-attr]
    service.delete(made.id)
    assert service.list().data == []


def test_a_period_tells_its_story_in_events(
    client: stripe.StripeClient, double: Double, shop: Shop, hook: Receiver
) -> None:
    endpoint(client, hook)

    double.advance(days=31, hours=2)

    assert sorted(hook.types) == [
        "customer.subscription.updated", "invoice.created", "invoice.finalized", "invoice.paid",
        "invoice.payment_succeeded",
    ]  # fmt: skip


def test_an_invoice_waits_for_its_created_event_to_be_taken(
    client: stripe.StripeClient, double: Double, shop: Shop, hook: Receiver
) -> None:
    """A broken webhook delays every invoice."""
    endpoint(client, hook, "invoice.created")
    hook.statuses += [500, 500]

    double.advance(days=31, hours=1, minutes=5)
    assert client.v1.invoices.list({"customer": shop.customer}).data[0].status == "draft"
    double.advance(hours=1)

    assert client.v1.invoices.list({"customer": shop.customer}).data[0].status == "paid"
    assert hook.types == ["invoice.created"] * 3


def test_an_invoice_waits_no_longer_than_72_hours(
    client: stripe.StripeClient, double: Double, shop: Shop, hook: Receiver
) -> None:
    endpoint(client, hook, "invoice.created")
    hook.statuses += [500] * 20

    double.advance(days=31, hours=71, minutes=59)
    assert client.v1.invoices.list({"customer": shop.customer}).data[0].status == "draft"
    double.advance(minutes=1)

    assert client.v1.invoices.list({"customer": shop.customer}).data[0].status == "paid"


def test_an_endpoint_gets_nothing_that_happened_before_it_was_made(
    client: stripe.StripeClient, double: Double, hook: Receiver
) -> None:
    client.v1.customers.create({"name": "before"})
    endpoint(client, hook, "customer.created")
    client.v1.customers.create({"name": "after"})

    double.post("/_sandbox/tick")

    assert [body["data"]["object"]["name"] for body in hook.bodies] == ["after"]
