"""A function's process that can be killed, or halted, at any call that it makes.

The function is loaded from its file as the platform loads it. Everything it does to the world goes through
BigQuery's client, the usage sink, Stripe's invoices or the app database: each of these calls is counted here,
and after its death a process has no effect any more, not even in its ``finally`` blocks.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from functions_framework import create_app
from requests.adapters import HTTPAdapter

from tallygate.metering.report import Reporter
from tallygate.metering.send import SendPolicy
from tallygate.metering.sinks import Answer, MeterEvent, UsageSink
from tallygate.metering.warehouse import Warehouse
from tallygate.reconciliation.reconcile import Reconciler
from tests.functions.deployed import SOURCE

T = TypeVar("T")

_HALTED_SECONDS: Final = 60
"""Real time after which a halted process is taken for a fault of the harness."""


class Killed(BaseException):
    """The process is dead. No ``except Exception`` of the product sees it, as none would see SIGKILL."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a process ends or halts: at its n-th call, or at the first whose name begins so."""

    call: int | None = None
    name: str | None = None
    answered: bool = False
    """Once the call has had its effect; else before it."""
    halts: bool = False
    """It does not die but waits to be woken."""

    def meets(self, number: int, name: str, *, answered: bool) -> bool:
        """Whether this is the moment."""
        here = number == self.call or (self.name is not None and name.startswith(self.name))
        return here and answered == self.answered


@dataclass(slots=True)
class Life:
    """One process, as the calls that it makes."""

    fate: Fate | None = None
    calls: int = 0
    dead: bool = False
    halted: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, name: str, work: Callable[[], T]) -> T:
        """Make a call of the product, or what fate has for it.

        Raises:
            Killed: the process is dead, or dies here.
        """
        with self._lock:
            self.calls += 1
            number = self.calls
        self._meet(number, name, answered=False)
        result = work()
        self._meet(number, name, answered=True)
        return result

    def _meet(self, number: int, name: str, *, answered: bool) -> None:
        with self._lock:
            met = self.fate is not None and self.fate.meets(number, name, answered=answered)
            if met and self.fate is not None and not self.fate.halts:
                self.dead = True
            if self.dead:
                raise Killed(name)
        if met:
            self.fate = None
            self.halted.set()
        if self.halted.is_set() and not self.woken.wait(_HALTED_SECONDS):
            raise AssertionError("a halted process was never woken")


class Function:
    """One process of a function. Make a new one when it has died."""

    def __init__(self, target: str) -> None:
        self.life = Life()
        self._app = create_app(target, str(SOURCE))
        module: Any = sys.modules["main"]
        module.Reporter = self._reporter
        module.Reconciler = self._reconciler
        self._made: list[Reporter | Reconciler] = []

    def close(self) -> None:
        """Let go of what the end of a process would let go of."""
        for made in self._made:
            made.warehouse().client.close()
            made.database.close()
        self._made.clear()

    def post(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """The answer to a request of the scheduler: its status and its body.

        Raises:
            Killed: the process died before it answered.
        """
        answer = self._app.test_client().post("/", json=dict(body))
        return answer.status_code, answer.get_json(silent=True) or {}

    def _reporter(self, **given: Any) -> Reporter:
        """The reporter as the function makes it, with its ways out counted and its waits cut short."""
        made = Reporter(**given)
        self._made.append(made)
        policy = SendPolicy(closes_after=made.invoice_grace, backoff_seconds=0.001, budget_seconds=30)
        database: Any = _Counted(made.database, "database", self.life)
        one_offs = made.invoices
        assert one_offs is not None
        invoices: Any = lambda: _Counted(one_offs(), "invoices", self.life)  # noqa: E731
        return replace(
            made,
            warehouse=lambda: self._warehouse(made.warehouse()),
            sink=lambda: _Sink(made.sink(), self.life),
            database=database,
            policy=policy,
            invoices=invoices,
        )

    def _reconciler(self, **given: Any) -> Reconciler:
        """The reconciler as the function makes it, with its ways out counted."""
        made = Reconciler(**given)
        self._made.append(made)
        read: Any = made.stripe
        summaries: Any = None if read is None else lambda: _Counted(read(), "summaries", self.life)
        books: Any = lambda: _Counted(made.books(), "books", self.life)  # noqa: E731 - as the field wants it
        database: Any = _Counted(made.database, "database", self.life)
        return replace(
            made,
            warehouse=lambda: self._warehouse(made.warehouse()),
            stripe=summaries,
            books=books,
            database=database,
        )

    def _warehouse(self, made: Warehouse) -> Warehouse:
        made.client._http.mount("http://", _Adapter(self.life))
        return made


class _Adapter(HTTPAdapter):
    """BigQuery's way out."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        answers: list[Any] = []
        send = super().send

        def work() -> Any:
            answers.append(send(request, *args, **options))
            return answers[0]

        try:
            return self._life.call(_job_id(request.body), work)
        except Killed:
            for answer in answers:
                answer.close()  # as the end of the process would
            raise


def _job_id(body: bytes | str | None) -> str:
    """The id of the job that a request submits."""
    if not body:
        return "warehouse"
    read: Any = json.loads(body)
    return str(read.get("jobReference", {}).get("jobId", "warehouse"))


@dataclass(frozen=True, slots=True)
class _Sink:
    """The way out to Stripe."""

    sink: UsageSink
    life: Life

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        return self.life.call("sink", lambda: self.sink.send(event, idempotency_key))


class _Counted:
    """An object whose every call is counted."""

    def __init__(self, behind: Any, name: str, life: Life) -> None:
        self._behind = behind
        self._name = name
        self._life = life

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._behind, name)
        called = f"{self._name}.{name}"
        return lambda *args, **options: self._life.call(called, lambda: method(*args, **options))


LEASE: Final = timedelta(minutes=10)
"""For how long a dead run keeps its followers out."""
