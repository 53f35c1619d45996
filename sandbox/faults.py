"""Faults that a double injects on request: armed, listed and cleared over HTTP, drawn with a seed.

The HTTP shape is fixed (``/_sandbox/faults``): ``POST`` arms one of ``{"kind", "count" | "rate", "seed",
"match"}`` and answers ``{"fault_id"}``, ``GET`` lists them with ``injected``, ``DELETE`` clears.
Further keys of the body (for example ``seconds`` of a latency) are the fault's parameters.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_RESERVED = ("kind", "count", "rate", "seed", "match")


class FaultError(ValueError):
    """A request to arm a fault that makes no sense; the message says what to write instead."""


@dataclass(slots=True)
class Fault:
    """One armed fault: fires for the next ``count`` matching occasions, or for a ``rate`` of them."""

    fault_id: str
    kind: str
    count: int | None
    rate: float | None
    seed: int
    match: Mapping[str, Any]
    parameters: Mapping[str, Any]
    injected: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def fires(self, attributes: Mapping[str, Any]) -> bool:
        """Whether this occasion is hit; counts it if so."""
        if any(attributes.get(name) != wanted for name, wanted in self.match.items()):
            return False
        if self.count is not None and self.injected >= self.count:
            return False
        if self.rate is not None and self._random.random() >= self.rate:
            return False
        self.injected += 1
        return True

    def describe(self) -> dict[str, Any]:
        """The fault as ``GET`` lists it."""
        return {
            "fault_id": self.fault_id,
            "kind": self.kind,
            "count": self.count,
            "rate": self.rate,
            "seed": self.seed,
            "match": dict(self.match),
            "injected": self.injected,
            **self.parameters,
        }


class FaultRegistry:
    """The faults of one double. Thread-safe."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self.kinds = kinds
        self._faults: dict[str, Fault] = {}
        self._made = 0
        self._lock = threading.Lock()

    def arm(self, body: Mapping[str, Any]) -> Fault:
        """Arm a fault from a request's body.

        Raises:
            FaultError: for an unknown kind, or unless exactly one of count and rate is usable.
        """
        if not isinstance(body, Mapping):
            raise FaultError("a fault is an object: kind, count or rate, seed, match")
        kind, count, rate = body.get("kind"), body.get("count"), body.get("rate")
        if kind not in self.kinds:
            raise FaultError(f"kind must be one of {', '.join(sorted(self.kinds))}, not {kind!r}")
        if (count is None) == (rate is None):
            raise FaultError("give either count (a whole number ≥ 1) or rate (0 < rate ≤ 1)")
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise FaultError("count must be a whole number ≥ 1")
        if rate is not None and (not isinstance(rate, int | float) or not 0 < rate <= 1):
            raise FaultError("rate must be a number above 0 and at most 1")
        match = body.get("match", {})
        if not isinstance(match, Mapping):
            raise FaultError("match must be an object of attribute and value")
        with self._lock:
            self._made += 1
            fault = Fault(
                fault_id=f"fault-{self._made}",
                kind=str(kind),
                count=count,
                rate=rate,
                seed=int(body.get("seed", 0)),
                match=dict(match),
                parameters={k: v for k, v in body.items() if k not in _RESERVED},
            )
            self._faults[fault.fault_id] = fault
        return fault

    def take(self, kind: str, **attributes: Any) -> Fault | None:
        """The first armed fault of ``kind`` that hits this occasion, counted as injected; else None."""
        with self._lock:
            return next((f for f in self._faults.values() if f.kind == kind and f.fires(attributes)), None)

    def describe(self) -> list[dict[str, Any]]:
        """All armed faults, in the order of arming."""
        with self._lock:
            return [fault.describe() for fault in self._faults.values()]

    def clear(self) -> None:
        """Disarm all."""
        with self._lock:
            self._faults.clear()

    def routes(self) -> list[Route]:
        """The HTTP face of this registry."""
        return [Route("/_sandbox/faults", self._answer, methods=["GET", "POST", "DELETE"])]

    async def _answer(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"faults": self.describe()})
        if request.method == "DELETE":
            self.clear()
            return JSONResponse({})
        try:
            fault = self.arm(await request.json())
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"fault_id": fault.fault_id})
