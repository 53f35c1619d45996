"""Every request is measured by the SDK's own types."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from sandbox.stripe.operations import OPERATIONS
from sandbox.stripe.params import read_params
from tests.sandbox.stripe.double import START, Double, Shop, refusal, use


def raw_post(double: Double, path: str, **request: Any) -> httpx.Response:
    headers = {"authorization": "Bearer sk_test_double", **request.pop("headers", {})}
    return double.http.post(f"{double.url}{path}", headers=headers, **request)


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"identifer": "x"}, "parameter_unknown", "identifer"),
        ({"timestamp": "yesterday"}, "parameter_invalid_integer", "timestamp"),
        ({"payload": "5"}, "parameter_invalid_hash", "payload"),
    ],
)
def test_v1_names_the_parameter_that_is_wrong(
    client: stripe.StripeClient, params: dict[str, Any], code: str, param: str
) -> None:
    event: Any = {"event_name": "tokens", "payload": {"value": "1"}, **params}

    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.billing.meter_events.create(event)

    assert (*refusal(error.value), error.value.param) == (400, code, param)


def test_a_missing_parameter_is_named(client: stripe.StripeClient) -> None:
    params: Any = {"payload": {"value": "1"}}

    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: event_name") as error:
        client.v1.billing.meter_events.create(params)

    assert refusal(error.value) == (400, "parameter_missing")


def test_an_unknown_parameter_inside_a_list_is_named_with_its_place(
    client: stripe.StripeClient, shop: Shop
) -> None:
    params: Any = {"customer": shop.customer, "items": [{"prise": shop.flat_price}]}

    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.subscriptions.create(params)

    assert (error.value.code, error.value.param) == ("parameter_unknown", "items[0][prise]")


@pytest.mark.parametrize(
    "event",
    [
        {"event_name": "tokens", "payload": {"stripe_customer_id": "cus_1", "value": 12}},
        {"event_name": "tokens", "payload": {"value": "12"}, "timestamp": 1767225600},
        {"event_name": "tokens", "payload": {"value": "12"}, "timestamp": "today"},
        {"event_name": "tokens", "payload": ["12"]},
    ],
    ids=["number as value", "number as timestamp", "word as timestamp", "list as payload"],
)
def test_v2_coerces_nothing(client: stripe.StripeClient, shop: Shop, event: Any) -> None:
    with pytest.raises(stripe.StripeError) as error:
        client.v2.billing.meter_events.create(event)

    assert error.value.http_status == 400
    assert (error.value.code or "").startswith("parameter_invalid")


def test_v2_names_an_unknown_parameter(client: stripe.StripeClient) -> None:
    params: Any = {"event_name": "tokens", "payload": {"value": "1"}, "identifer": "x"}

    with pytest.raises(stripe.StripeError) as error:
        client.v2.billing.meter_events.create(params)

    assert refusal(error.value) == (400, "parameter_unknown")


def test_a_known_parameter_that_the_sandbox_does_not_carry_out_is_refused_not_ignored(
    client: stripe.StripeClient, shop: Shop
) -> None:
    params: Any = {
        "customer": shop.customer, "items": [{"price": shop.flat_price}], "days_until_due": 30,
    }  # fmt: skip

    with pytest.raises(stripe.InvalidRequestError, match="does not carry out `days_until_due`"):
        client.v1.subscriptions.create(params)


@pytest.mark.parametrize("limit", [0, 101])
def test_a_list_shows_between_1_and_100_objects(client: stripe.StripeClient, limit: int) -> None:
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.customers.list({"limit": limit})

    assert error.value.param == "limit"


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/v2/billing/meter_events", {"content": b"{"}),
        ("/v2/billing/meter_events", {"content": b"[1]"}),
        ("/v1/customers", {"content": b"name=%ff", "headers": {"content-type": "text/plain"}}),
        ("/v1/customers", {"content": b"\xff\xfe"}),
        ("/v1/customers", {"content": b"metadata=1&metadata[a]=2"}),
    ],
    ids=["broken JSON", "JSON list", "not UTF-8 when decoded", "not UTF-8", "value and map at once"],
)
def test_a_body_that_cannot_be_read_is_refused(double: Double, path: str, request_: dict[str, Any]) -> None:
    answer = raw_post(double, path, **request_)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/unheard_of"), ("DELETE", "/v1/customers"), ("GET", "/")]
)
def test_an_unknown_address_gets_404_in_the_shape_of_an_error(double: Double, method: str, path: str) -> None:
    answer = double.http.request(method, f"{double.url}{path}")

    assert answer.status_code == 404
    assert "Unrecognized request URL" in answer.json()["error"]["message"]


@pytest.mark.parametrize("key", ["sk_live_1234567890", "sk_test_", "pk_test_1234567890", "nonsense"])
def test_only_test_keys_are_taken_and_none_is_repeated_in_full(double: Double, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError) as error:
        double.client(key).v1.customers.list()

    assert error.value.http_status == 401
    assert key not in str(error.value)


def test_a_request_without_a_key_is_refused(double: Double) -> None:
    answer = double.http.get(f"{double.url}/v1/customers")

    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("You did not provide an API key")


def test_a_key_may_come_as_the_user_name_of_basic_authentication(double: Double) -> None:
    answer = double.http.get(f"{double.url}/v1/customers", auth=("sk_test_curl", ""))

    assert answer.status_code == 200


def test_an_answer_carries_its_request_id_and_the_key_and_version_of_the_request(
    client: stripe.StripeClient,
) -> None:
    made = client.v1.customers.create({"name": "a"}, {"idempotency_key": "mine"})

    headers = made.last_response.headers  # type: ignore[union-attr]
    assert headers["request-id"].startswith("req_")
    assert headers["idempotency-key"] == "mine"
    assert headers["stripe-version"] == stripe.api_version


def test_a_refused_request_changes_nothing(client: stripe.StripeClient, shop: Shop, double: Double) -> None:
    params: Any = {
        "customer": shop.customer, "items": [{"price": shop.flat_price}, {"price": shop.flat_price}],
    }  # fmt: skip

    with pytest.raises(stripe.InvalidRequestError):
        client.v1.subscriptions.create(params)

    assert len(client.v1.subscriptions.list({"customer": shop.customer}).data) == 1
    assert len(client.v1.invoices.list({"customer": shop.customer}).data) == 1


def test_forms_carry_nested_maps_lists_and_text_that_looks_like_form(
    client: stripe.StripeClient,
) -> None:
    made = client.v1.customers.create(
        {"name": "a&b=c[d]", "address": {"city": "Zürich", "line1": "+1 %20"}, "metadata": {"k[0]": "ü"}}
    )

    read = client.v1.customers.retrieve(made.id)
    assert (read.name, read.address.city, read.address.line1) == ("a&b=c[d]", "Zürich", "+1 %20")  # type: ignore[union-attr]


def test_a_fraction_keeps_its_digits(client: stripe.StripeClient, shop: Shop) -> None:
    assert str(client.v1.prices.retrieve(shop.cost_price).unit_amount_decimal) == "1E-7"
    assert client.v1.prices.retrieve(shop.flat_price).unit_amount == 5000


@pytest.mark.parametrize(
    "operation",
    [one for one in OPERATIONS if one.schema is not None],
    ids=lambda one: f"{one.method} {one.path}",
)
def test_the_types_of_every_operation_can_be_read(operation: Any) -> None:
    """A type that refers to something unresolvable would fail only on its first use."""
    with pytest.raises(Exception, match="unknown parameter: surely_unknown"):
        read_params(operation.schema, {"surely_unknown": "1"}, form=True)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.takes], ids=lambda one: one.path)
def test_what_an_operation_takes_is_known_to_the_sdk(operation: Any) -> None:
    assert operation.takes <= set(operation.schema.__annotations__)


def test_a_value_at_the_border_of_the_stores_numbers_is_kept_exactly(
    client: stripe.StripeClient, shop: Shop, double: Double
) -> None:
    use(client, shop.customer, "9" * 15, "most", START, meter="cost")

    assert double.get("/_sandbox/ledger")["events"][0]["value"] == "9" * 15
