"""The way of one request through the API: read, authenticate, limit, recall, carry out, answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import stripe
from starlette.requests import Request

from sandbox.faults import FaultRegistry
from sandbox.stripe.calls import Call, Operation, names
from sandbox.stripe.errors import INVALID, StripeRefusalError
from sandbox.stripe.expand import expand
from sandbox.stripe.idempotency import Answer, check_key, fingerprint, recall, remember
from sandbox.stripe.limits import Gate, RateLimit, concurrent, conflict, key_in_use, rate_limited
from sandbox.stripe.meter_events import customer_of, session_holds
from sandbox.stripe.operations import find_operation, finders
from sandbox.stripe.params import read_params
from sandbox.stripe.schedule import Schedule
from sandbox.stripe.store import Store
from sandbox.stripe.wire import FormError, decode_form, new_id
from tallygate.clock import Clock

FAULTS: Final = names(
    "commit_then_drop commit_then_500 error_500 rate_limit_429 conflict_409 latency outage stale_read "
    "async_reject webhook_duplicate webhook_shuffle webhook_delay webhook_loss"
)
WORK_SECONDS: Final = 0.002
"""How long a call takes at least, so that calls on one customer and meter can meet."""
_METER_EVENTS: Final = ("/v1/billing/meter_events", "/v2/billing/meter_events")
_KEYS: Final = ("sk_test_", "rk_test_")


class DroppedError(Exception):
    """The connection is to be closed without an answer."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as it was understood, before its parameters are checked."""

    operation: Operation
    place: Mapping[str, str]
    version: str
    path: str
    raw: Mapping[str, Any]
    form: bool
    key: str | None
    request_id: str
    base: str

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.operation.method

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"


class StripeApi:
    """One account. For one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        faults: FaultRegistry,
        schedule: Schedule,
        *,
        basic: RateLimit,
        meter_events: RateLimit,
    ) -> None:
        self.store = store
        self.schedule = schedule
        self.clock = clock
        self.faults = faults
        self._basic = basic
        self._meter_events = meter_events
        self._gate = Gate()

    async def answer(self, request: Request) -> Answer:
        """The answer to any request of the API.

        Raises:
            DroppedError: a fault closes the connection.
        """
        request_id = new_id("req")
        headers = {
            "request-id": request_id,
            "stripe-version": request.headers.get("stripe-version", stripe.api_version),
        }
        if "idempotency-key" in request.headers:
            headers["idempotency-key"] = request.headers["idempotency-key"]
        try:
            exchange = await self._understand(request, request_id)
            answer = await self._pass_on(exchange)
        except StripeRefusalError as refusal:
            answer = Answer(refusal.status, refusal.body(), refusal.headers)
        return replace(answer, headers={**headers, **answer.headers})

    async def _understand(self, request: Request, request_id: str) -> Exchange:
        path = request.url.path
        if self.faults.take("outage", method=request.method, path=path) is not None:
            raise DroppedError
        found = find_operation(request.method, path)
        if found is None:
            message = f"Unrecognized request URL ({request.method}: {path})."
            raise StripeRefusalError(404, message, None)
        operation, place = found
        self._authenticate(request, operation)
        version = path.split("/")[1]
        form = version == "v1" or request.method == "GET"
        key = request.headers.get("idempotency-key") if request.method != "GET" else None
        if key is not None:
            check_key(key)
        raw = await _read_body(request, form)
        return Exchange(
            operation, place, version, path, raw, form, key, request_id, str(request.base_url).rstrip("/")
        )

    def _authenticate(self, request: Request, operation: Operation) -> None:
        token = _token(request.headers.get("authorization", ""))
        if operation.session:
            held = session_holds(self.store, token, self.clock.now())
            if held:
                return
            if held is False:
                raise StripeRefusalError(
                    401, "The session's token has expired.", "billing_meter_event_session_expired",
                    "temporary_session_expired",
                )  # fmt: skip
        elif token.startswith(_KEYS) and len(token) > len(_KEYS[0]):
            return
        if not token:
            message = (
                "You did not provide an API key. You need to provide your API key in the Authorization "
                "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
            raise StripeRefusalError(401, message, None)
        raise StripeRefusalError(401, f"Invalid API Key provided: {_masked(token)}", None)

    async def _pass_on(self, exchange: Exchange) -> Answer:
        """Faults and limits in front of the work, and the way out behind it."""
        about = self._about(exchange)
        bucket = self._meter_events if exchange.path in _METER_EVENTS else self._basic
        if not bucket.take() or self.faults.take("rate_limit_429", **about):
            raise rate_limited()
        if self.faults.take("conflict_409", **about):
            raise conflict(exchange.version)
        named = exchange.path in _METER_EVENTS and isinstance(about["customer"], str)
        pair = (about["customer"], about["meter"]) if named else None
        key = None if exchange.key is None else (exchange.version, exchange.key)
        with (
            self._gate.hold(key, lambda: key_in_use(exchange.key or "")),
            self._gate.hold(pair, lambda: concurrent(exchange.version)),
        ):
            await asyncio.sleep(self._latency(about))
            self.schedule.carry_out_due(self.clock.now())
            return self._carry_out(exchange, about)

    def _about(self, exchange: Exchange) -> dict[str, Any]:
        """What faults can be matched by."""
        raw = exchange.raw
        customer, meter = raw.get("customer"), raw.get("event_name")
        payload = raw.get("payload")
        if exchange.path in _METER_EVENTS and isinstance(meter, str) and isinstance(payload, Mapping):
            customer = customer_of(self.store, meter, payload)
        return {
            "method": exchange.method,
            "path": exchange.path,
            "operation": exchange.operation.path,
            "version": exchange.version,
            "customer": customer,
            "meter": meter,
            "identifier": raw.get("identifier"),
        }

    def _latency(self, about: Mapping[str, Any]) -> float:
        fault = self.faults.take("latency", **about)
        return WORK_SECONDS if fault is None else float(fault.parameters.get("seconds", 1))

    def _carry_out(self, exchange: Exchange, about: Mapping[str, Any]) -> Answer:
        now = self.clock.now()
        print_ = fingerprint(exchange.method, exchange.path, exchange.raw)
        if exchange.key is not None:
            kept = recall(self.store, exchange.version, exchange.key, print_, now)
            if kept is not None:
                return kept
        call = self._call(exchange, about)
        with self.store.transaction():
            done = self._broken_before(exchange, about) or self._work(exchange.operation, call)
            shown = self._broken_after(exchange, about) if done.status == 200 else None
            if exchange.key is not None:
                kept = (shown or done) if exchange.version == "v1" else done
                remember(self.store, exchange.version, exchange.key, print_, now, kept, exchange.request_id)
        changed = done.status == 200 and exchange.changes
        if changed and self.faults.take("commit_then_drop", **about):
            raise DroppedError
        return shown or done

    def _broken_before(self, exchange: Exchange, about: Mapping[str, Any]) -> Answer | None:
        return _broken(exchange) if self.faults.take("error_500", **about) else None

    def _broken_after(self, exchange: Exchange, about: Mapping[str, Any]) -> Answer | None:
        broken = exchange.changes and self.faults.take("commit_then_500", **about)
        return _broken(exchange) if broken else None

    def _call(self, exchange: Exchange, about: Mapping[str, Any]) -> Call:
        operation = exchange.operation
        raw = dict(exchange.raw)
        token = {"page": str(raw.pop("page"))} if operation.paged and "page" in raw else {}
        params = read_params(operation.schema, raw, form=exchange.form)
        for name in params:
            if operation.takes is not None and name not in operation.takes and name != "expand":
                message = f"The sandbox does not carry out `{name}` here."
                raise StripeRefusalError(400, message, "parameter_unsupported", param=name)
        event = exchange.path in _METER_EVENTS or operation.session
        reject = self.faults.take("async_reject", **about) if event else None
        code = "meter_event_customer_not_found" if reject is None else reject.parameters.get("code")
        stale = not exchange.changes and self.faults.take("stale_read", **about) is not None
        return Call(
            store=self.store,
            now=self.clock.now(),
            url=exchange.path,
            place=exchange.place,
            params=params | token,
            key=exchange.key or exchange.request_id,
            stale=stale,
            base=exchange.base,
            reject_later=None if reject is None else code or "meter_event_customer_not_found",
        )

    def _work(self, operation: Operation, call: Call) -> Answer:
        """Do it, whole or not at all, inside the transaction that is open."""
        self.store.execute("SAVEPOINT work")
        try:
            body = operation.handler(call)
            expand(body, call.params.get("expand", ()), finders(self.store))
        except StripeRefusalError as refusal:
            if not refusal.keeps_work:
                self.store.execute("ROLLBACK TO work")
            return Answer(refusal.status, refusal.body(), refusal.headers)
        return Answer(200, body)


def _broken(exchange: Exchange) -> Answer:
    """500. Where its key makes it stick, the SDK is told that trying again is of no use."""
    error = {
        "type": "api_error",
        "message": "An unknown error occurred. Please try again in a few minutes.",
    }
    sticks = exchange.version == "v1" and exchange.key is not None
    return Answer(500, {"error": error}, {"stripe-should-retry": "false"} if sticks else {})


async def _read_body(request: Request, form: bool) -> Mapping[str, Any]:
    try:
        if not form:
            return _json_object(await request.body())
        query = decode_form(request.url.query)
        return query | decode_form((await request.body()).decode())
    except FormError as error:
        raise StripeRefusalError(
            400, f"Invalid nesting: {error}", "parameter_invalid", param=str(error)
        ) from None
    except UnicodeDecodeError:
        raise StripeRefusalError(400, "The body is not UTF-8.", None) from None


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        read = json.loads(body or b"{}")
    except ValueError:
        raise StripeRefusalError(400, "The body is not JSON.", "invalid_json", INVALID) from None
    if not isinstance(read, dict):
        raise StripeRefusalError(400, "The body must be a JSON object.", "invalid_json", INVALID)
    return read


def _token(header: str) -> str:
    """The key of a bearer header, or the user name of a basic one."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _masked(token: str) -> str:
    return f"{token[:7]}{'*' * max(len(token) - 11, 4)}{token[-4:]}" if len(token) > 11 else "*" * len(token)
