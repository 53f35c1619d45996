"""The account as a web application: the API, and what only a sandbox has."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.faults import FaultRegistry
from sandbox.stripe.api import FAULTS, DroppedError, StripeApi
from sandbox.stripe.checkout import SESSION, complete
from sandbox.stripe.endpoints import OLD_SECRET_KEPT, roll_secret
from sandbox.stripe.errors import StripeRefusalError
from sandbox.stripe.ledger import ledger
from sandbox.stripe.limits import BASIC_PER_SECOND, METER_EVENTS_PER_SECOND, RateLimit
from sandbox.stripe.payments import after_failure, outcome_of, set_after_failure, set_outcome
from sandbox.stripe.schedule import Schedule
from sandbox.stripe.sender import AT_ONCE, Sender
from sandbox.stripe.store import Store
from tallygate.clock import Clock, rfc3339

_METHODS: Final = ["GET", "POST", "DELETE", "PUT", "PATCH"]
LOOK_SECONDS: Final = 1.0
"""How often the clock is looked at between requests, in real time."""


class Account:
    """One account with everything that works on it."""

    def __init__(
        self,
        state: Path,
        clock: Clock,
        *,
        basic_per_second: float,
        meter_events_per_second: float,
        webhooks_at_once: int,
    ) -> None:
        self.store = Store(state / "stripe.sqlite")
        self.clock = clock
        self.faults = FaultRegistry(FAULTS)
        self.schedule = Schedule(self.store)
        self.sender = Sender(self.store, clock, self.faults, at_once=webhooks_at_once)
        self.changed = asyncio.Event()
        self.background: asyncio.Task[None] | None = None
        self.api = StripeApi(
            self.store, clock, self.faults, self.schedule,
            basic=RateLimit(basic_per_second), meter_events=RateLimit(meter_events_per_second),
        )  # fmt: skip

    async def answer(self, request: Request) -> Response:
        """Any path of the API."""
        try:
            given = await self.api.answer(request)
        except DroppedError:
            await _hang_up(request)
            return Response()
        finally:
            if request.method != "GET":
                self.changed.set()
        return JSONResponse(given.body, given.status, given.headers)

    async def next_effect(self, _: Request) -> Response:
        """When something happens next by itself."""
        at = self.schedule.next_at()
        return JSONResponse({"at": None if at is None else rfc3339(at)})

    async def tick(self, _: Request) -> Response:
        """Carry out everything due; answers when it is done and every webhook due was tried."""
        self.look()
        self.schedule.carry_out_due(self.clock.now())
        await self.sender.send_due()
        self.schedule.told()
        return JSONResponse({})

    async def books(self, _: Request) -> Response:
        """The ledger of the account."""
        self.schedule.carry_out_due(self.clock.now())
        return JSONResponse(ledger(self.store))

    async def roll(self, request: Request) -> Response:
        """Roll an endpoint's signing secret, which Stripe has in the Dashboard only."""
        given, endpoint = await _given(request), request.path_params["id"]

        def work() -> dict[str, str]:
            keep = timedelta(seconds=float(given.get("old_valid_seconds", OLD_SECRET_KEPT.total_seconds())))
            return {"secret": roll_secret(self.store, endpoint, self.clock.now(), keep)}

        return self._control(work)

    async def payment(self, request: Request) -> Response:
        """What comes of a customer's payments, which Stripe leaves to the customer's bank."""
        customer = request.path_params["id"]
        if request.method == "GET":
            return JSONResponse({"outcome": outcome_of(self.store, customer)})
        given = await _given(request)
        return self._control(lambda: set_outcome(self.store, customer, str(given.get("outcome"))))

    async def checkout_page(self, request: Request) -> Response:
        """The page of a session, for a reader; paid by posting to ``complete`` below it."""
        found = self.store.find(SESSION, request.path_params["id"])
        if found is None:
            return JSONResponse({"error": "there is no such session"}, 404)
        page = {name: found[name] for name in ("id", "status", "amount_total", "currency", "customer_email")}
        return JSONResponse({**page, "complete": f"{request.url.path}/complete"})

    async def checkout_complete(self, request: Request) -> Response:
        """A person pays."""
        given, session = await _given(request), request.path_params["id"]
        self.schedule.carry_out_due(self.clock.now())
        return self._control(lambda: complete(self.store, self.clock.now(), session, given))

    async def settings(self, request: Request) -> Response:
        """Settings that Stripe has in the Dashboard only."""
        if request.method == "GET":
            return JSONResponse({"after_failed_payments": after_failure(self.store)})
        given = await _given(request)
        return self._control(lambda: set_after_failure(self.store, str(given.get("after_failed_payments"))))

    def _control(self, work: Callable[[], object]) -> Response:
        """Work that no API request asked for, whole or not at all."""
        try:
            with self.store.transaction():
                answer = work()
        except StripeRefusalError as refusal:
            return JSONResponse(refusal.body(), refusal.status)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        self.changed.set()
        return JSONResponse({} if answer is None else answer)

    def look(self) -> None:
        """Raise what ended the work in the background, if something did."""
        if self.background is not None and self.background.done():
            self.background.result()

    async def health(self, _: Request) -> Response:
        """Whether everything runs."""
        self.look()
        return JSONResponse({})

    async def keep_up(self) -> None:
        """Time also passes by itself: carry out what is due and send what is new, without being asked."""
        while True:
            self.changed.clear()
            self.schedule.carry_out_due(self.clock.now())
            await self.sender.send_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):  # wait_for can swallow a cancellation
                    await self.changed.wait()


def stripe_app(
    state: Path,
    clock: Clock,
    *,
    basic_per_second: float = BASIC_PER_SECOND,
    meter_events_per_second: float = METER_EVENTS_PER_SECOND,
    webhooks_at_once: int = AT_ONCE,
) -> Starlette:
    """One account, kept under ``state``, living by ``clock``."""
    account = Account(
        state,
        clock,
        basic_per_second=basic_per_second,
        meter_events_per_second=meter_events_per_second,
        webhooks_at_once=webhooks_at_once,
    )

    async def broken(_: Request, __: Exception) -> Response:
        return JSONResponse(
            {"error": {"type": "api_error", "message": "The double failed; see its log."}}, 500
        )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        account.background = asyncio.create_task(account.keep_up())
        yield
        account.background.cancel()
        with suppress(asyncio.CancelledError):
            await account.background
        account.store.close()

    return Starlette(
        lifespan=lifespan,
        exception_handlers={Exception: broken},
        routes=[
            *account.faults.routes(),
            Route("/_sandbox/health", account.health),
            Route("/_sandbox/next", account.next_effect),
            Route("/_sandbox/tick", account.tick, methods=["POST"]),
            Route("/_sandbox/ledger", account.books),
            Route("/_sandbox/webhook_endpoints/{id}/roll", account.roll, methods=["POST"]),
            Route("/_sandbox/customers/{id}/payment", account.payment, methods=["GET", "POST"]),
            Route("/_sandbox/checkout/sessions/{id}", account.checkout_page),
            Route("/_sandbox/checkout/sessions/{id}/complete", account.checkout_complete, methods=["POST"]),
            Route("/_sandbox/settings", account.settings, methods=["GET", "POST"]),
            Route("/{path:path}", account.answer, methods=_METHODS),
        ],
    )


async def _given(request: Request) -> dict[str, Any]:
    """The object in a request's body; an empty one for anything else."""
    try:
        read = json.loads(await request.body() or b"{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


async def _hang_up(request: Request) -> None:
    """Close the connection without an answer; the server's own object holds it."""
    cycle: Any = getattr(request.receive, "__self__", None)
    if cycle is None:
        print("stripe: the connection could not be dropped", file=sys.stderr)
        return
    cycle.transport.abort()
    await asyncio.sleep(0)  # lets the server see that the connection is gone
