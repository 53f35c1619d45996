"""Schedules: changes of a running subscription that wait for the end of a billing period.

Only what that takes is carried out: a schedule is made from a subscription, its first phase is what runs,
its later ones begin at ends of periods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stripe import params as sdk

from sandbox.stripe.announcements import announce
from sandbox.stripe.calls import Call, Operation, in_range, names, page
from sandbox.stripe.collection import close
from sandbox.stripe.errors import StripeRefusalError, bad_parameter
from sandbox.stripe.periods import add_months
from sandbox.stripe.phases import SCHEDULE, as_given, release, shown_phase
from sandbox.stripe.standing import SUBSCRIPTION, running, show
from sandbox.stripe.store import Document, merge_metadata
from sandbox.stripe.wire import new_id

_PHASE: Final = names("items start_date end_date duration proration_behavior metadata")
_ITEM: Final = names("price quantity metadata")
_MOST_MONTHS: Final = 60


def _create(call: Call) -> Document:
    if "from_subscription" not in call.params:
        raise bad_parameter("The sandbox makes schedules from subscriptions only.", "from_subscription")
    if set(call.params) - {"from_subscription", "expand"}:
        raise bad_parameter(
            "You cannot set other parameters together with `from_subscription`; update the schedule then.",
            "from_subscription", None,
        )  # fmt: skip
    subscription = running(call.store, call.params["from_subscription"], "from_subscription")
    if subscription["schedule"]:
        raise bad_parameter("The subscription is attached to a schedule already.", "from_subscription", None)
    first = subscription["items"][0]
    schedule_id = new_id("sub_sched")
    phase = shown_phase(
        [as_given(item) for item in subscription["items"]],
        first["current_period_start"],
        first["current_period_end"],
        {},
    )
    schedule: Document = {
        "id": schedule_id,
        "object": "subscription_schedule",
        "application": None,
        "billing_mode": {"type": "flexible", "flexible": {}, "updated_at": None},
        "canceled_at": None,
        "completed_at": None,
        "created": call.seconds,
        "current_phase": {name: phase[name] for name in ("start_date", "end_date")},
        "customer": subscription["customer"],
        "default_settings": {
            "application_fee_percent": None, "billing_cycle_anchor": "automatic",
            "billing_thresholds": None, "collection_method": "charge_automatically",
            "default_payment_method": None, "description": None,
            "invoice_settings": {"issuer": {"type": "self"}}, "on_behalf_of": None, "transfer_data": None,
        },
        "end_behavior": "release",
        "livemode": False,
        "metadata": {},
        "pause_schedules": [],
        "phases": [phase],
        "released_at": None,
        "released_subscription": None,
        "status": "active",
        "subscription": subscription["id"],
        "test_clock": None,
    }  # fmt: skip
    call.store.add(SCHEDULE, schedule, owner=subscription["customer"])
    announce(call.store, call.now, "subscription_schedule.created", schedule)
    subscription["schedule"] = schedule_id
    _save_subscription(call, subscription)
    return schedule


def _bare(item: Mapping[str, Any]) -> tuple[str, int]:
    return item["price"], item.get("quantity", 1)


def _active(call: Call) -> Document:
    schedule = call.store.get(SCHEDULE, call.id)
    if schedule["status"] != "active":
        raise StripeRefusalError(
            400, f"You cannot change a subscription schedule that is {schedule['status']}.", None
        )
    return schedule


def _update(call: Call) -> Document:
    schedule = _active(call)
    if "phases" in call.params:
        subscription = call.store.get(SUBSCRIPTION, schedule["subscription"])
        schedule["phases"] = _phases(call, schedule, subscription)
    if "end_behavior" in call.params:
        if call.params["end_behavior"] not in ("release", "cancel"):
            raise bad_parameter("The sandbox ends schedules by `release` or `cancel`.", "end_behavior")
        schedule["end_behavior"] = call.params["end_behavior"]
    merge_metadata(schedule, call.params)
    current, schedule["current_phase"] = schedule["current_phase"], None
    for phase in schedule["phases"]:
        if phase["start_date"] == current["start_date"]:
            schedule["current_phase"] = {name: phase[name] for name in ("start_date", "end_date")}
    call.store.save(schedule)
    announce(call.store, call.now, "subscription_schedule.updated", schedule)
    return schedule


def _phases(call: Call, schedule: Document, subscription: Document) -> list[Document]:
    given = call.params["phases"]
    if not given:
        raise bad_parameter("A schedule has at least one phase.", "phases", None)
    phases: list[Document] = []
    start = schedule["current_phase"]["start_date"]
    for number, one in enumerate(given):
        where = f"phases[{number}]"
        _check_phase(call, one, where)
        if one.get("start_date", start) != start:
            raise bad_parameter(
                "The first phase begins with the current one, every other where the one before it ends.",
                f"{where}[start_date]", None,
            )  # fmt: skip
        end = _end(one, start, subscription, where, last=number == len(given) - 1)
        phases.append(shown_phase(one["items"], start, end, one))
        start = end
    running_items = [as_given(item) for item in subscription["items"]]
    if sorted(map(_bare, given[0]["items"])) != sorted(map(_bare, running_items)):
        raise bad_parameter(
            "The sandbox changes what runs at the end of a period only: the first phase has the "
            "subscription's own items.", "phases[0][items]",
        )  # fmt: skip
    return phases


def _check_phase(call: Call, given: Mapping[str, Any], where: str) -> None:
    _refuse_others(given, _PHASE, where)
    if not given.get("items"):
        missing = f"{where}[items]"
        raise bad_parameter(f"Missing required param: {missing}.", missing, "parameter_missing")
    for item in given["items"]:
        _refuse_others(item, _ITEM, f"{where}[items]")
        price = call.store.get("price", item.get("price", ""), param=f"{where}[items][price]")
        if not price["recurring"] or not price["active"]:
            raise bad_parameter("The price must be active and recurring.", f"{where}[items][price]", None)
        if price["recurring"]["usage_type"] == "metered" and "quantity" in item:
            raise bad_parameter(
                "You cannot set the quantity of a metered item.", f"{where}[items][quantity]", None
            )


def _refuse_others(given: Mapping[str, Any], taken: frozenset[str], where: str) -> None:
    for name in given:
        if name not in taken:
            raise bad_parameter(
                f"The sandbox does not carry out `{name}` here.", f"{where}[{name}]", "parameter_unsupported"
            )


def _end(given: Mapping[str, Any], start: int, subscription: Document, where: str, *, last: bool) -> int:
    """When a phase ends: on a boundary of the billing cycle."""
    duration = given.get("duration")
    end: Any = given.get("end_date")
    if duration is not None and end is not None:
        raise bad_parameter("Give either `end_date` or `duration`.", f"{where}[duration]", None)
    if duration is not None:
        if duration["interval"] != "month":
            raise bad_parameter("The sandbox bills by the month only.", f"{where}[duration][interval]")
        end = add_months(start, duration.get("interval_count", 1))
    if end is None and last:
        end = add_months(start, 1)
    boundaries = {add_months(subscription["billing_cycle_anchor"], months) for months in range(_MOST_MONTHS)}
    if end not in boundaries or end <= start:
        raise bad_parameter(
            "The sandbox ends phases where billing periods end, within five years.", f"{where}[end_date]"
        )
    ends: int = end
    return ends


def _retrieve(call: Call) -> Document:
    return call.store.get(SCHEDULE, call.id, stale=call.stale)


def _list(call: Call) -> Document:
    wanted = call.params
    every = call.store.every(SCHEDULE, owner=wanted.get("customer"), newest_first=True, stale=call.stale)
    return page(call, [one for one in every if in_range(one["created"], wanted.get("created"))])


def _release(call: Call) -> Document:
    schedule = _active(call)
    subscription = call.store.get(SUBSCRIPTION, schedule["subscription"])
    release(call.store, subscription, schedule, call.seconds)
    _save_subscription(call, subscription)
    return schedule


def _cancel(call: Call) -> Document:
    subscription = running(call.store, _active(call)["subscription"])
    close(call.store, call.now, subscription, reason="cancellation_requested")
    return call.store.get(SCHEDULE, call.id)


def _save_subscription(call: Call, subscription: Document) -> None:
    call.store.save(subscription)
    announce(call.store, call.now, "customer.subscription.updated", show(subscription))


_URL: Final = "/v1/subscription_schedules"
OPERATIONS: Final = (
    Operation("POST", _URL, sdk.SubscriptionScheduleCreateParams, _create),
    Operation("GET", _URL, sdk.SubscriptionScheduleListParams, _list, names(
        "customer created limit starting_after ending_before"
    )),
    Operation("GET", f"{_URL}/{{id}}", sdk.SubscriptionScheduleRetrieveParams, _retrieve),
    Operation(
        "POST", f"{_URL}/{{id}}", sdk.SubscriptionScheduleUpdateParams, _update,
        names("phases end_behavior metadata proration_behavior"),
    ),
    Operation("POST", f"{_URL}/{{id}}/release", sdk.SubscriptionScheduleReleaseParams, _release, names("")),
    Operation("POST", f"{_URL}/{{id}}/cancel", sdk.SubscriptionScheduleCancelParams, _cancel, names("")),
)  # fmt: skip
