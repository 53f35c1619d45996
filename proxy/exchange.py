"""One request from its arrival to its usage event: what happened, what was used, what it cost."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy import usage
from proxy.asgi import CLIENT_GONE
from proxy.output import Lines
from proxy.paths import Endpoint
from proxy.wire import Call, Wire
from tallygate.catalogue import Catalogue, Model, usd
from tallygate.clock import Clock
from tallygate.records import AdmitLine, Status, TokenCounts, UsageEvent
from tallygate.tenants import ApiKey, Tenant

_TRACE: Final = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_IDEMPOTENCY_KEY: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_COUNT_ONLY: Final = "messages/count_tokens"
_BYTES_PER_TOKEN: Final = 4
"""The last resort of an estimate."""
log = logging.getLogger("tallygate.exchange")

Estimate = Callable[[str, Any, str], TokenCounts]
"""(provider model, request body, text that came) → counts by the model's tokenizer."""


@dataclass(frozen=True, slots=True)
class Emitter:
    """Writes this process's usage events and admit lines, numbered, on the real stdout."""

    lines: Lines
    clock: Clock
    catalogue: Catalogue
    estimate: Estimate
    project_id: str
    stream_id: str = field(default_factory=lambda: secrets.token_hex(8))
    _seq: list[int] = field(default_factory=lambda: [0])

    def next_seq(self) -> int:
        """The position of the next line."""
        self._seq[0] += 1
        return self._seq[0]


@dataclass(slots=True)
class Exchange:
    """One request of a tenant. :meth:`finish` emits its event, once, whatever else goes wrong."""

    emitter: Emitter
    endpoint: Endpoint
    tenant: Tenant
    key: ApiKey
    headers: Mapping[bytes, bytes]
    request_id: str
    wire: Wire = field(init=False)
    model: str = ""
    stream: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    first_chunk: float | None = None
    broke_off: bool = False
    """The client was told of an error in the middle of a stream."""
    finished: UsageEvent | None = None

    def __post_init__(self) -> None:
        self.wire = Wire(self.request_id)

    def admit(self) -> None:
        """Write the admit line: a provider may be called from now on."""
        line = AdmitLine(
            request_id=self.request_id,
            tenant_id=self.tenant.tenant_id,
            model=self.model,
            endpoint=self.endpoint.name,
            stream_id=self.emitter.stream_id,
            seq=self.emitter.next_seq(),
            timestamp=self.emitter.clock.now(),
            trace=self._trace(),
        )
        self.emitter.lines.write(line.to_wire())

    def finish(self, http_status: int, *, error: str | None = None, cancelled: bool = False) -> UsageEvent:
        """Write the usage event; a second call changes nothing.

        ``cancelled``: the request was ended from outside before its answer was complete.
        """
        if self.finished is None:
            self.finished = self._event(http_status, error, cancelled)
            self.emitter.lines.write(self.finished.to_wire())
        return self.finished

    def _event(self, http_status: int, error: str | None, cancelled: bool) -> UsageEvent:
        now, ended = self.emitter.clock.now(), time.monotonic()
        call = self._served_by(http_status)
        counts, estimated = self._counts(call, cancelled=cancelled)
        broke_off = self.broke_off or (not call.whole if call is not None else self._failed())
        status: Status = "cancelled" if cancelled else "success"
        if not cancelled and (http_status >= 400 or broke_off):
            status = "failure"
        served = self._served_model(call)
        price = served.price_at(now) if served else None
        cost = price.cost_nano_usd(counts) if price else 0
        trace = self._trace()
        return UsageEvent(
            request_id=self.request_id,
            tenant_id=self.tenant.tenant_id,
            key_id=self.key.key_id,
            customer_id=self.tenant.stripe_customer,
            model=self.model,
            provider_model=call.provider_model if call else None,
            served_model=served.name if served else None,
            prompt_tokens=counts.prompt,
            completion_tokens=counts.output,
            total_tokens=counts.total,
            input_tokens=counts.input,
            cached_input_tokens=counts.cached_input,
            cache_write_tokens=counts.cache_write,
            output_tokens=counts.output,
            reasoning_tokens=counts.reasoning,
            cost_usd=usd(cost),
            cost_nano_usd=cost,
            price_version=price.price_version if price else None,
            unpriced=price is None and counts.total > 0,
            estimated=estimated,
            latency_ms=_milliseconds(ended - self.began),
            added_latency_ms=_milliseconds(ended - self.began - self.wire.open_seconds(ended)),
            time_to_first_token_ms=(
                None if self.first_chunk is None else _milliseconds(self.first_chunk - self.began)
            ),
            status=status,
            http_status=http_status,
            error_type=error or ("stream_broken" if broke_off and status == "failure" else None),
            attempts=len(self.wire.calls),
            stream=self.stream,
            endpoint=self.endpoint.name,
            idempotency_key=self._idempotency_key(),
            timestamp=now,
            trace_id=trace.rpartition("/")[2] if trace else None,
            trace=trace,
            stream_id=self.emitter.stream_id,
            seq=self.emitter.next_seq(),
        )

    def _served_by(self, http_status: int) -> Call | None:
        """The call whose answer the client got, or would have got; None when there is none to bill."""
        if http_status >= 400 and http_status != CLIENT_GONE:
            return None
        if not self.wire.calls:
            return self._unseen()
        last = self.wire.calls[-1]
        return last if last.succeeded else None

    def _failed(self) -> bool:
        """Whether providers were asked and none answered."""
        return bool(self.wire.calls) and self.endpoint.name != _COUNT_ONLY

    def _unseen(self) -> Call | None:
        """An answer that no watched call can have brought: metered by what went to the client."""
        if not self.wire.passed.size or self.endpoint.name == _COUNT_ONLY:
            return None
        log.error("answered without a call that was seen", extra={"fields": {"model": self.model}})
        passed = self.wire.passed
        passed.content_type = "text/event-stream" if self.stream else "application/json"
        asked = self.emitter.catalogue.models.get(self.model)
        passed.provider_model = asked.provider_model if asked else None
        return passed

    def _counts(self, call: Call | None, *, cancelled: bool) -> tuple[TokenCounts, bool]:
        """What to bill, and whether it is an estimate."""
        if self.endpoint.name == _COUNT_ONLY:
            return TokenCounts(), False
        if call is None:  # a provider that was asked may charge for what nobody will ever see
            return TokenCounts(), cancelled and bool(self.wire.calls)
        body = call.body
        reported = usage.from_answer(call.content_type, body, truncated=call.truncated)
        if reported is not None:
            return reported, False
        text = usage.text_of_answer(call.content_type, body)
        if not text and not call.whole:  # a failure without output is not billed
            return TokenCounts(), cancelled
        estimate = self._estimate(call, text)
        prompt = usage.prompt_reported(body) if call.streamed else None
        if prompt is not None:
            return TokenCounts(prompt.input, prompt.cached_input, prompt.cache_write, estimate.output), True
        return estimate, True

    def _estimate(self, call: Call, text: str) -> TokenCounts:
        try:
            return self.emitter.estimate(call.provider_model or self.model, self.body, text)
        except Exception as error:
            log.error("the tokenizer failed", exc_info=error)
            prompt = len(usage.texts_of(list(self.body.values())).encode())
            return TokenCounts(
                input=max(1, prompt // _BYTES_PER_TOKEN), output=len(text.encode()) // _BYTES_PER_TOKEN
            )

    def _served_model(self, call: Call | None) -> Model | None:
        """The catalogue entry that served: the model asked for, or one of its fallbacks."""
        models = self.emitter.catalogue.models
        asked = models.get(self.model)
        if asked is None or call is None:
            return None
        entries = [asked, *(models[name] for name in asked.fallbacks)]
        same = [entry for entry in entries if entry.provider_model == call.provider_model]
        bases = [entry for entry in same if entry.api_base and call.url.startswith(entry.api_base)]
        return next(iter(bases or same), None)

    def _trace(self) -> str | None:
        """The trace that the platform opened for this request."""
        found = _TRACE.match(self.headers.get(b"traceparent", b"").decode("latin-1"))
        return f"projects/{self.emitter.project_id}/traces/{found.group(1)}" if found else None

    def _idempotency_key(self) -> str | None:
        text = self.headers.get(b"idempotency-key", b"").decode("latin-1")
        return text if _IDEMPOTENCY_KEY.fullmatch(text) else None


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
