"""Checkout: a page on which a person subscribes; here, ``complete`` is that person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from stripe.params import checkout as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, in_range, names, page
from sandbox.stripe.customers import new_customer
from sandbox.stripe.errors import StripeRefusalError, bad_parameter, declined, missing_object
from sandbox.stripe.payments import MISSING, WORKS, set_outcome
from sandbox.stripe.periods import cents
from sandbox.stripe.store import Document, Store, merge_metadata
from sandbox.stripe.subscriptions import begin
from sandbox.stripe.timers import set_timer
from sandbox.stripe.wire import at, new_id, unix

SESSION: Final = "checkout_session"
EXPIRY: Final = "checkout_expiry"
OPEN_FOR: Final = timedelta(hours=24)
_SHORTEST: Final = timedelta(minutes=30)
_LINE: Final = "checkout_line"
_SUBSCRIPTION_DATA: Final = names(
    "metadata description trial_period_days trial_end trial_settings billing_mode billing_cycle_anchor "
    "billing_cycle_anchor_config proration_behavior"
)


def show(session: Document) -> Document:
    """A session as the API shows it: without what it will make a subscription of."""
    return {name: value for name, value in session.items() if name != "wanted"}


def _create(call: Call) -> Document:
    params = call.params
    if params.get("mode") != "subscription":
        raise bad_parameter("The sandbox has only sessions of mode `subscription`.", "mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise bad_parameter("The sandbox has only hosted pages.", "ui_mode")
    if not params.get("success_url"):
        raise bad_parameter("Missing required param: success_url.", "success_url", "parameter_missing")
    data = params.get("subscription_data", {})
    for name in data:
        if name not in _SUBSCRIPTION_DATA:
            raise bad_parameter(
                f"The sandbox does not carry out `{name}` here.", f"subscription_data[{name}]",
                "parameter_unsupported",
            )  # fmt: skip
    customer = _customer(call)
    session_id = new_id("cs_test")
    lines = [_line(call, session_id, given) for given in params.get("line_items", [])]
    if not lines:
        raise bad_parameter("Missing required param: line_items.", "line_items", "parameter_missing")
    trial = "trial_period_days" in data or "trial_end" in data
    total = 0 if trial else sum(line["amount_total"] for line in lines)
    session: Document = {
        "id": session_id,
        "object": "checkout.session",
        "allow_promotion_codes": None,
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": call.seconds,
        "currency": "usd",
        "custom_fields": [],
        "custom_text": {
            "after_submit": None, "shipping_address": None, "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": customer,
        "customer_creation": None if customer else "always",
        "customer_details": None,
        "customer_email": params.get("customer_email"),
        "expires_at": _expires(call),
        "invoice": None,
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": {},
        "mode": "subscription",
        "payment_intent": None,
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "shipping_options": [],
        "status": "open",
        "subscription": None,
        "success_url": params["success_url"],
        "ui_mode": "hosted_page",
        "url": f"{call.base}/_sandbox/checkout/sessions/{session_id}",
        "wanted": {"items": [line["item"] for line in lines], "trial": trial, **data},
    }  # fmt: skip
    merge_metadata(session, params)
    call.store.add(SESSION, session, owner=customer)
    for line in lines:
        call.store.add(_LINE, line, owner=session_id)
    set_timer(call.store, EXPIRY, session_id, session["expires_at"])
    return show(session)


def _customer(call: Call) -> str | None:
    customer: str | None = call.params.get("customer")
    if customer is None:
        return None
    if "customer_email" in call.params:
        raise bad_parameter("You may only give one of `customer` and `customer_email`.", "customer", None)
    if call.store.get("customer", customer, param="customer").get("deleted"):
        raise missing_object("customer", customer, "customer")
    return customer


def _expires(call: Call) -> int:
    expires: int = call.params.get("expires_at", unix(call.now + OPEN_FOR))
    if not unix(call.now + _SHORTEST) <= expires <= unix(call.now + OPEN_FOR):
        raise bad_parameter("`expires_at` must be 30 minutes to 24 hours ahead.", "expires_at", None)
    return expires


def _line(call: Call, session_id: str, given: Mapping[str, Any]) -> Document:
    for name in given:
        if name not in ("price", "quantity"):
            raise bad_parameter(
                f"The sandbox does not carry out `{name}` here.", f"line_items[{name}]",
                "parameter_unsupported",
            )  # fmt: skip
    price = call.store.get("price", given.get("price", ""), param="line_items[price]")
    if not price["active"] or not price["recurring"]:
        raise bad_parameter("The price must be active and recurring.", "line_items[price]", None)
    metered = price["recurring"]["usage_type"] == "metered"
    if metered and "quantity" in given:
        raise bad_parameter("Quantity must not be given for a metered price.", "line_items[quantity]", None)
    if not metered and given.get("quantity", 0) < 1:
        raise bad_parameter("Quantity is required, at least 1.", "line_items[quantity]", "parameter_missing")
    amount = 0 if metered else cents(price, given["quantity"])
    return {
        "id": new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": "usd",
        "description": price["nickname"],
        "price": price,
        "quantity": given.get("quantity"),
        "item": dict(given),
    }


def _retrieve(call: Call) -> Document:
    return show(call.store.get(SESSION, call.id, stale=call.stale))


def _list(call: Call) -> Document:
    wanted = call.params
    every = call.store.every(SESSION, owner=wanted.get("customer"), newest_first=True, stale=call.stale)
    chosen = [
        show(session)
        for session in every
        if wanted.get("subscription") in (None, session["subscription"])
        and wanted.get("status") in (None, session["status"])
        and in_range(session["created"], wanted.get("created"))
    ]
    return page(call, chosen)


def _lines(call: Call) -> Document:
    call.store.get(SESSION, call.id)
    every = call.store.every(_LINE, owner=call.id)
    return page(call, [{name: value for name, value in line.items() if name != "item"} for line in every])


def _open(store: Store, session_id: str) -> Document:
    session = store.get(SESSION, session_id)
    if session["status"] != "open":
        raise StripeRefusalError(
            400, f"Only Checkout Sessions with a status in [\"open\"] can be expired or paid. "
            f"This one has a status of {session['status']}.",
        )  # fmt: skip
    return session


def _expire(call: Call) -> Document:
    return show(_close_unused(call.store, call.now, _open(call.store, call.id)))


def expire_at(store: Store, due: int, session_id: str) -> None:
    """A session that nobody used is over."""
    session = store.get(SESSION, session_id)
    if session["status"] == "open":
        _close_unused(store, at(due), session)


def _close_unused(store: Store, now: datetime, session: Document) -> Document:
    set_timer(store, EXPIRY, session["id"], None)
    session |= {"status": "expired", "url": None}
    store.save(session)
    announce(store, now, "checkout.session.expired", show(session))
    return session


def complete(store: Store, now: datetime, session_id: str, given: Mapping[str, Any]) -> Document:
    """What a person does on the page: gives an address and a card, and subscribes. The session as it is then.

    ``card``: ``works`` (unless said otherwise) or ``declines``, upon which the page stays open; ``missing``
    where none is asked for. ``email`` and ``name`` are put on a new customer.

    Raises:
        StripeRefusalError: 402 when the card is declined; 400 when the session is not open, or when it wants
            a card and none is given.
    """
    session = _open(store, session_id)
    card = given.get("card", WORKS)
    free = session["amount_total"] == 0 and session["payment_method_collection"] == "if_required"
    if card == MISSING and not free:
        raise bad_parameter("This session asks for a card.", "card", None)
    if card not in (WORKS, MISSING):
        raise declined(keeps_work=False)
    customer = session["customer"] or _new_customer(store, now, session, given)
    set_outcome(store, customer, card)
    wanted = {name: value for name, value in session["wanted"].items() if name != "trial"}
    params = {"customer": customer, "payment_behavior": "error_if_incomplete", **wanted}
    made = begin(Call(store, now, "/v1/subscriptions", {}, params, new_id("req")))
    set_timer(store, EXPIRY, session_id, None)
    paid = "no_payment_required" if session["wanted"]["trial"] else "paid"
    person = store.get("customer", customer)
    session |= {
        "customer": customer,
        "customer_details": {
            "address": None, "email": person["email"], "name": person["name"], "phone": None,
            "tax_exempt": "none", "tax_ids": [],
        },
        "invoice": made["latest_invoice"],
        "payment_status": paid,
        "status": "complete",
        "subscription": made["id"],
        "url": None,
    }  # fmt: skip
    store.save(session)
    announce(store, now, "checkout.session.completed", show(session))
    return show(session)


def _new_customer(store: Store, now: datetime, session: Document, given: Mapping[str, Any]) -> str:
    email = session["customer_email"] or str(given.get("email", "someone@example.com"))
    document = new_customer(unix(now), {"email": email, "name": given.get("name")})
    store.add("customer", document)
    announce(store, now, "customer.created", document)
    made: str = document["id"]
    return made


_URL: Final = "/v1/checkout/sessions"
OPERATIONS: Final = (
    Operation(
        "POST", _URL, sdk.SessionCreateParams, _create,
        names(
            "mode line_items customer customer_email client_reference_id subscription_data success_url "
            "cancel_url metadata expires_at payment_method_collection ui_mode locale"
        ),
    ),
    Operation("GET", _URL, sdk.SessionListParams, _list, names(
        "customer subscription status created limit starting_after ending_before"
    )),
    Operation("GET", f"{_URL}/{{id}}", sdk.SessionRetrieveParams, _retrieve),
    Operation("GET", f"{_URL}/{{id}}/line_items", sdk.SessionListLineItemsParams, _lines),
    Operation("POST", f"{_URL}/{{id}}/expire", sdk.SessionExpireParams, _expire),
)  # fmt: skip
