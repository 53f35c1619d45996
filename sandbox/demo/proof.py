"""The proof: every quantity followed from the provider to the invoice, by tenant and meter.

Pure: it is given what each source says and compares. The first line of the proof is

    provider = events + waived_upstream + estimate_error + unrecorded

the second ``events = warehouse = stripe + one_off + included + waived + parked``, the third
``invoice = stripe + one_off``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from sandbox.demo.script import Step
from tallygate.catalogue import Catalogue
from tallygate.clock import parse_rfc3339
from tallygate.records import COST_METER, METER_COLUMNS, METERS, TOKEN_METERS, TokenCounts

Bucket = tuple[str, str]
"""(tenant, meter)."""
Amounts = Mapping[Bucket, int]
"""Tokens, or nano-USD for the cost meter."""

SCRIPT: Final = "script"
GATEWAY: Final = "gateway"
ROUTER: Final = "log router"
SEAL: Final = "seal"
SEND: Final = "send"
INVOICE: Final = "invoice"
STAGES: Final = {
    SCRIPT: "what the gateway says of a request is what the script asked for",
    GATEWAY: "provider's ledger → usage events",
    ROUTER: "usage events → warehouse",
    SEAL: "warehouse → sealed deltas",
    SEND: "sealed deltas → Stripe's summaries",
    INVOICE: "Stripe's summaries → invoice lines",
}

_CLASS_FIELDS: Final = {
    "input": "input",
    "cached_input": "cached_input",
    "cache_write": "cache_write",
    "output": "output",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up, and the stage it shows at."""

    stage: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the proof; its fields are the columns of ``demo.json``."""

    tenant_id: str
    meter: str
    unit: str
    provider: int
    waived_upstream: int
    estimate_error: int
    unrecorded: int
    events: int
    warehouse: int
    included: int
    waived: int
    parked: int
    stripe: int
    one_off: int
    invoice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What each source says, over its own public interface."""

    provider_ledger: Sequence[Mapping[str, Any]]
    lines: Sequence[Mapping[str, Any]]
    """The captured stdout: usage events and admit lines, in order."""
    warehouse: Amounts
    sealed: Mapping[str, Amounts]
    """By disposition."""
    stripe: Amounts
    invoice: Amounts
    one_off: Amounts
    rejected: frozenset[str]
    """Request ids of rejected lines."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The table and what is wrong with it."""

    rows: list[Row]
    findings: list[Finding]
    events: int

    @property
    def verdict(self) -> str:
        """``balanced`` or ``unbalanced``."""
        return "unbalanced" if self.findings else "balanced"


@dataclass(slots=True)
class _FirstLine:
    """Sums of the first line of the proof."""

    provider: Counter[Bucket] = field(default_factory=Counter)
    events: Counter[Bucket] = field(default_factory=Counter)
    waived_upstream: Counter[Bucket] = field(default_factory=Counter)
    estimate_error: Counter[Bucket] = field(default_factory=Counter)
    unrecorded: Counter[Bucket] = field(default_factory=Counter)


def prove(
    steps: Sequence[Step], request_ids: Mapping[int, str], sources: Sources, catalogue: Catalogue
) -> Proof:
    """Compare all sources. ``request_ids`` holds, by step number, what the clients were told."""
    events = _first_of(line for line in sources.lines if line["event"] == "llm_usage")
    admits = _first_of(line for line in sources.lines if line["event"] == "llm_admit")
    by_request = _steps_by_request(steps, request_ids, events)
    findings = _against_script(steps, by_request, events, admits)
    first = _first_line(by_request, events, sources, catalogue)
    tenants = sorted({step.tenant_id for step in steps} | {event["tenant_id"] for event in events.values()})
    rows = [_row(tenant, meter, first, sources) for tenant in tenants for meter in METERS]
    for row in rows:
        findings += _findings(row, sources)
    return Proof(rows, findings, len(events))


def _first_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The first line of each request id: Cloud Logging may deliver one twice."""
    first: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        first.setdefault(line["request_id"], line)
    return first


def _steps_by_request(
    steps: Sequence[Step], request_ids: Mapping[int, str], events: Mapping[str, Mapping[str, Any]]
) -> dict[str, Step]:
    """The step of each request id: as the client was told, else by the idempotency key that it sent."""
    by_key = {step.idempotency_key: step for step in steps}
    found = {
        event["request_id"]: by_key[event["idempotency_key"]]
        for event in events.values()
        if event.get("idempotency_key") in by_key
    }
    by_number = {step.number: step for step in steps}
    return found | {request_id: by_number[number] for number, request_id in request_ids.items()}


def _against_script(
    steps: Sequence[Step],
    by_request: Mapping[str, Step],
    events: Mapping[str, Mapping[str, Any]],
    admits: Mapping[str, Mapping[str, Any]],
) -> list[Finding]:
    findings = []
    seen = Counter(by_request[request].number for request in events if request in by_request)
    admitted = {by_request[request].number for request in admits if request in by_request}
    for step in steps:
        wanted = 0 if step.case.killed else 1
        if seen[step.number] != wanted:
            text = f"step {step.number} ({step.case.name}): {seen[step.number]} usage events, not {wanted}"
            findings.append(Finding(GATEWAY, text))
        if step.case.killed and step.number not in admitted:
            findings.append(Finding(GATEWAY, f"step {step.number} ({step.case.name}): no admit line"))
    for request_id, event in events.items():
        case_step = by_request.get(request_id)
        if case_step is None:
            findings.append(Finding(SCRIPT, f"event {request_id} belongs to no step of the script"))
            continue
        case = case_step.case
        if case.attempts and request_id not in admits:
            findings.append(Finding(GATEWAY, f"event {request_id} has no admit line"))
        model = case.model if case.attempts else event["model"]  # a refusal may come before the body is read
        expected = (case_step.tenant_id, model, case.estimated, case.attempts)
        said = (event["tenant_id"], event["model"], event["estimated"], event["attempts"])
        if said != expected:
            names = "tenant, model, estimated, attempts"
            text = f"step {case_step.number} ({case.name}): {names} are {said}, not {expected}"
            findings.append(Finding(SCRIPT, text))
    return findings


def _first_line(
    by_request: Mapping[str, Step],
    events: Mapping[str, Mapping[str, Any]],
    sources: Sources,
    catalogue: Catalogue,
) -> _FirstLine:
    sums = _FirstLine()
    attempts = _by_attempt(sources.provider_ledger)
    for request_id, event in events.items():
        if request_id not in sources.rejected:
            _add(sums.events, event["tenant_id"], _event_amounts(event))
    for request_id, by_attempt in attempts.items():
        event_or_none = events.get(request_id)
        step = by_request.get(request_id)
        last = max(by_attempt)  # the gateway also counts attempts that never reached the provider
        tenant = step.tenant_id if step else event_or_none["tenant_id"] if event_or_none else "unknown"
        for attempt, (provider_model, tokens) in by_attempt.items():
            at = parse_rfc3339(event_or_none["timestamp"]) if event_or_none else None
            amounts = _priced(catalogue, provider_model, tokens, at)
            _add(sums.provider, tenant, amounts)
            if event_or_none is None or request_id in sources.rejected:
                _add(sums.unrecorded, tenant, amounts)
            elif attempt != last or _nothing_came(event_or_none):
                _add(sums.waived_upstream, tenant, amounts)
            elif event_or_none["estimated"]:
                billed = _event_amounts(event_or_none)
                _add(sums.estimate_error, tenant, {meter: amounts[meter] - billed[meter] for meter in METERS})
    return sums


def _by_attempt(ledger: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, tuple[str, TokenCounts]]]:
    grouped: dict[str, dict[int, dict[str, Any]]] = {}
    for row in ledger:
        entry = grouped.setdefault(row["request_id"], {}).setdefault(row["attempt"], {"model": row["model"]})
        name = _CLASS_FIELDS[row["class"]]
        entry[name] = entry.get(name, 0) + int(row["tokens"])
    return {
        request_id: {
            attempt: (entry.pop("model"), TokenCounts(**entry)) for attempt, entry in by_attempt.items()
        }
        for request_id, by_attempt in grouped.items()
    }


def _priced(catalogue: Catalogue, provider_model: str, tokens: TokenCounts, at: Any) -> dict[str, int]:
    model = next(m for m in catalogue.models.values() if m.provider_model == provider_model)
    price = model.price_at(at) if at else model.prices[-1]
    assert price is not None
    amounts = {meter: getattr(tokens, METER_COLUMNS[meter].removesuffix("_tokens")) for meter in TOKEN_METERS}
    return amounts | {COST_METER: price.cost_nano_usd(tokens)}


def _event_amounts(event: Mapping[str, Any]) -> dict[str, int]:
    return {meter: int(event[METER_COLUMNS[meter]]) if event["billable"] else 0 for meter in METERS}


def _nothing_came(event: Mapping[str, Any]) -> bool:
    return bool(event["status"] == "failure" and event["output_tokens"] == 0 and not event["estimated"])


def _add(sums: Counter[Bucket], tenant: str, amounts: Mapping[str, int]) -> None:
    for meter, amount in amounts.items():
        sums[tenant, meter] += amount


def _row(tenant: str, meter: str, first: _FirstLine, sources: Sources) -> Row:
    bucket = (tenant, meter)
    return Row(
        tenant_id=tenant,
        meter=meter,
        unit="nano-USD" if meter == COST_METER else "tokens",
        provider=first.provider[bucket],
        waived_upstream=first.waived_upstream[bucket],
        estimate_error=first.estimate_error[bucket],
        unrecorded=first.unrecorded[bucket],
        events=first.events[bucket],
        warehouse=sources.warehouse.get(bucket, 0),
        included=sources.sealed.get("included", {}).get(bucket, 0),
        waived=sources.sealed.get("waived", {}).get(bucket, 0),
        parked=sources.sealed.get("parked", {}).get(bucket, 0),
        stripe=sources.stripe.get(bucket, 0),
        one_off=sources.one_off.get(bucket, 0),
        invoice=sources.invoice.get(bucket, 0),
    )


def _findings(row: Row, sources: Sources) -> list[Finding]:
    """Each stage by its own equation, so that the first one that fails names the stage."""
    billable = sources.sealed.get("billable", {}).get((row.tenant_id, row.meter), 0)
    explained = row.events + row.waived_upstream + row.estimate_error + row.unrecorded
    one_off = sources.sealed.get("one_off", {}).get((row.tenant_id, row.meter), 0)
    accounted = one_off + row.included + row.waived + row.parked
    equations = (
        (GATEWAY, "provider", row.provider, "events + differences", explained),
        (ROUTER, "events", row.events, "warehouse", row.warehouse),
        (SEAL, "warehouse", row.warehouse, "sealed", billable + accounted),
        (SEND, "sealed billable", billable, "stripe", row.stripe),
        (SEND, "sealed one-off", one_off, "one_off", row.one_off),
        (INVOICE, "stripe + one_off", row.stripe + row.one_off, "invoice", row.invoice),
    )
    return [
        Finding(stage, f"{row.tenant_id} {row.meter}: {left_name} {left} ≠ {right_name} {right}")
        for stage, left_name, left, right_name, right in equations
        if left != right
    ]


def report(proof: Proof, *, requests: int, seed: int, seconds: float, versions: Mapping[str, str]) -> Any:
    """The content of ``demo.json``."""
    return {
        "rows": [asdict(row) for row in proof.rows],
        "requests": requests,
        "events": proof.events,
        "verdict": proof.verdict,
        "seed": seed,
        "duration_seconds": round(seconds),
        "versions": dict(versions),
    }
