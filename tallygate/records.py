"""The records that cross a boundary: each defined once, with its fields, units and meaning.

Everything that states a record again (the warehouse's schema files, SQL, Terraform, docs) is checked against
these definitions by tests that read both sides.

A *wire* form is the JSON object of one log line. Cloud Logging's BigQuery sink writes JSON numbers as
FLOAT64, so an integer that may exceed 2**53 (``cost_nano_usd``) travels as a decimal string.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

from tallygate.clock import rfc3339

SCHEMA_VERSION: Final = 1
"""Version of the usage event and the admit line. Additions keep it; a changed meaning raises it."""

USAGE_EVENT: Final = "llm_usage"
ADMIT_EVENT: Final = "llm_admit"

Status = Literal["success", "failure", "cancelled"]
ChargeBasis = Literal["none", "tokens", "cost"]

TOKEN_METERS: Final = (
    "llm_input_tokens",
    "llm_cached_input_tokens",
    "llm_cache_write_tokens",
    "llm_output_tokens",
)
COST_METER: Final = "llm_cost_nano_usd"
METERS: Final = (*TOKEN_METERS, COST_METER)
"""One meter per billable unit. Units: tokens, and nano-USD for the last."""

METER_COLUMNS: Final = {
    "llm_input_tokens": "input_tokens",
    "llm_cached_input_tokens": "cached_input_tokens",
    "llm_cache_write_tokens": "cache_write_tokens",
    "llm_output_tokens": "output_tokens",
    "llm_cost_nano_usd": "cost_nano_usd",
}
"""The field of a usage event that each meter sums."""

BASIS_METERS: Final[dict[ChargeBasis, tuple[str, ...]]] = {
    "none": (),
    "tokens": TOKEN_METERS,
    "cost": (COST_METER,),
}
"""The meters that a plan's charge basis bills; the others are ``included``."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a field means; ``key`` is its name on the wire where that differs."""

    description: str
    key: str | None = None
    as_text: bool = False
    """An integer that travels as a decimal string."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Disjoint token classes of one request; each in tokens, together the total."""

    input: int = 0
    """Uncached input."""
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0
    """Reasoning included."""
    reasoning: int = 0
    """Of ``output``."""

    @property
    def prompt(self) -> int:
        """All tokens that went in."""
        return self.input + self.cached_input + self.cache_write

    @property
    def total(self) -> int:
        """The sum of the disjoint classes."""
        return self.prompt + self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitLine:
    """Written before a request's first provider call.

    An admit line without a usage event is a request whose usage is *unrecorded*.
    """

    request_id: Annotated[str, Column("Minted by the gateway; joins the admit line and the usage event.")]
    tenant_id: Annotated[str, Column("The tenant whose key was presented.")]
    model: Annotated[str, Column("The model that the tenant asked for, by its catalogue name.")]
    endpoint: Annotated[str, Column("The API path, without /v1, for example chat/completions.")]
    stream_id: Annotated[str, Column("Random per process: names that process's stream of lines.")]
    seq: Annotated[int, Column("Position in that stream, from 1: a lost line shows as a gap.")]
    timestamp: Annotated[datetime, Column("When the request was admitted.")]
    trace: Annotated[str | None, Column("Cloud Trace resource.", key="logging.googleapis.com/trace")] = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object of the line."""
        return _wire(self, ADMIT_EVENT, insert_id=f"{self.request_id}-admit", severity="INFO")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One JSON line per finished request, success or failure. Never a prompt, completion, key or header."""

    request_id: Annotated[str, Column("Minted by the gateway; also the log entry's insertId.")]
    tenant_id: Annotated[str, Column("The tenant whose key was presented.")]
    key_id: Annotated[str, Column("The API key's public id.")]
    customer_id: Annotated[str | None, Column("Stripe customer; informative only.")] = None
    subscription_item_id: Annotated[str | None, Column("Stripe subscription item; informative only.")] = None
    model: Annotated[str, Column("The model that the tenant asked for, by its catalogue name.")]
    provider_model: Annotated[str | None, Column("The provider's model that served the request.")] = None
    served_model: Annotated[str | None, Column("Catalogue entry that served; its price applies.")] = None
    prompt_tokens: Annotated[int, Column("Tokens in, all classes.")] = 0
    completion_tokens: Annotated[int, Column("Tokens out, reasoning included.")] = 0
    total_tokens: Annotated[int, Column("prompt_tokens + completion_tokens: the four disjoint classes.")] = 0
    input_tokens: Annotated[int, Column("Uncached input tokens.")] = 0
    cached_input_tokens: Annotated[int, Column("Input tokens read from the provider's prompt cache.")] = 0
    cache_write_tokens: Annotated[int, Column("Input tokens written to the provider's prompt cache.")] = 0
    output_tokens: Annotated[int, Column("Output tokens, reasoning included.")] = 0
    reasoning_tokens: Annotated[int, Column("Reasoning tokens, of output_tokens.")] = 0
    cost_usd: Annotated[str, Column("Cost in USD, decimal: cost_nano_usd for people.")] = "0"
    cost_nano_usd: Annotated[int, Column("Cost in nano-USD, rounded once, half up.", as_text=True)] = 0
    price_version: Annotated[str | None, Column("The catalogue price that was applied.")] = None
    unpriced: Annotated[bool, Column("No price was known; the cost is 0 and not final.")] = False
    billable: Annotated[bool, Column("Whether the tokens count for billing.")] = True
    estimated: Annotated[bool, Column("The provider did not report the counts.")] = False
    latency_ms: Annotated[int, Column("From the request's arrival to its last byte, in milliseconds.")] = 0
    added_latency_ms: Annotated[int, Column("Of latency_ms, time without an open provider call.")] = 0
    time_to_first_token_ms: Annotated[int | None, Column("To the first body chunk, in milliseconds.")] = None
    status: Annotated[Status, Column("success, failure or cancelled.")]
    http_status: Annotated[int, Column("Status of the answer; 499 when the client had gone.")]
    error_type: Annotated[str | None, Column("Machine-readable kind of failure.")] = None
    attempts: Annotated[int, Column("Provider calls made, retries and fallbacks included.")] = 0
    stream: Annotated[bool, Column("Whether the answer was streamed.")] = False
    endpoint: Annotated[str, Column("The API path, without /v1, for example chat/completions.")]
    idempotency_key: Annotated[str | None, Column("The client's header, if well formed.")] = None
    timestamp: Annotated[datetime, Column("End of the request: decides the hour and the period.")]
    trace_id: Annotated[str | None, Column("Trace id, 32 hex digits.")] = None
    trace: Annotated[str | None, Column("Cloud Trace resource.", key="logging.googleapis.com/trace")] = None
    stream_id: Annotated[str, Column("Random per process: names that process's stream of lines.")]
    seq: Annotated[int, Column("Position in that stream, from 1: a lost line shows as a gap.")]

    def to_wire(self) -> dict[str, Any]:
        """The JSON object of the line."""
        severity = "WARNING" if self.status == "failure" else "INFO"
        return _wire(self, USAGE_EVENT, insert_id=self.request_id, severity=severity)


LIFTED: Final = frozenset(
    {"severity", "time", "logging.googleapis.com/insertId", "logging.googleapis.com/trace"}
)
"""Keys that Cloud Logging takes out of a line into the log entry; they are no part of ``jsonPayload``."""


def _wire(record: AdmitLine | UsageEvent, event: str, *, insert_id: str, severity: str) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "event": event,
        "schema_version": SCHEMA_VERSION,
        "severity": severity,
        "time": rfc3339(record.timestamp),
        "logging.googleapis.com/insertId": insert_id,
    }
    for name, column in columns(type(record)).items():
        value = getattr(record, name)
        if value is None:
            continue
        if isinstance(value, datetime):
            value = rfc3339(value)
        elif column.as_text:
            value = str(value)
        wire[column.key or name] = value
    return wire


def columns(record: type[Any]) -> Mapping[str, Column]:
    """The fields of a record by name, in order, with what each means."""
    if record not in _COLUMNS:  # reading the hints takes longer than writing a line
        hints = get_type_hints(record, include_extras=True)
        _COLUMNS[record] = {f.name: _column(hints[f.name]) for f in dataclasses.fields(record)}
    return _COLUMNS[record]


_COLUMNS: Final[dict[type[Any], Mapping[str, Column]]] = {}


def _column(hint: Any) -> Column:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{hint} carries no Column")
    return next(extra for extra in get_args(hint)[1:] if isinstance(extra, Column))


def json_payload_fields() -> list[dict[str, str]]:
    """The fields of ``jsonPayload`` in the raw usage table, as BigQuery schema fields.

    Numbers are FLOAT64, as the Cloud Logging sink writes them.
    """
    fields = {
        "event": ("STRING", f"{USAGE_EVENT} or {ADMIT_EVENT}."),
        "schema_version": ("FLOAT64", "Version of the record."),
    }
    for record in (UsageEvent, AdmitLine):
        hints = get_type_hints(record)
        for name, column in columns(record).items():
            if (column.key or name) in LIFTED or name in fields:
                continue
            fields[name] = (_sink_type(hints[name], column), column.description)
    return [
        {"name": name, "type": type_, "mode": "NULLABLE", "description": description}
        for name, (type_, description) in fields.items()
    ]


def json_schema(record: type[AdmitLine] | type[UsageEvent]) -> dict[str, Any]:
    """JSON schema of a record's line."""
    event = USAGE_EVENT if record is UsageEvent else ADMIT_EVENT
    properties: dict[str, Any] = {
        "event": {"const": event},
        "schema_version": {"const": SCHEMA_VERSION},
        "severity": {"enum": ["INFO", "WARNING"]},
        "time": {"type": "string", "format": "date-time", "description": "The same value as timestamp."},
        "logging.googleapis.com/insertId": {"type": "string"},
    }
    required = list(properties)
    hints = get_type_hints(record)
    for field in dataclasses.fields(record):
        column = columns(record)[field.name]
        key = column.key or field.name
        properties[key] = _json_type(hints[field.name], column) | {"description": column.description}
        if type(None) not in get_args(hints[field.name]):
            required.append(key)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": record.__name__,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _plain(hint: Any) -> Any:
    """The type of a field without ``None``."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _sink_type(hint: Any, column: Column) -> str:
    plain = _plain(hint)
    if plain is bool:
        return "BOOL"
    if plain is int and not column.as_text:
        return "FLOAT64"
    return "STRING"


def _json_type(hint: Any, column: Column) -> dict[str, Any]:
    plain = _plain(hint)
    if get_origin(plain) is Literal:
        return {"enum": list(get_args(plain))}
    if plain is bool:
        return {"type": "boolean"}
    if plain is int and column.as_text:
        return {"type": "string", "pattern": "^[0-9]{1,18}$"}
    if plain is int:
        return {"type": "integer", "minimum": 0}
    if plain is datetime:
        return {"type": "string", "format": "date-time"}
    return {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentItem:
    """The subscription item that bills one meter within a segment."""

    meter: str
    subscription_item: str
    price: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingSegment:
    """A span of time in which one tenant's usage is billed in one way. Append-only.

    A boundary learned later is a new row with the same ``segment_id`` and a later ``known_at``; the newest
    row of a segment holds. A tenant without a Stripe customer has one with ``stripe_customer`` None.
    """

    segment_id: str
    tenant_id: str
    stripe_customer: str | None
    subscription_id: str | None
    plan: str
    charge_basis: ChargeBasis
    items: tuple[SegmentItem, ...]
    period_start: datetime
    period_end: datetime
    valid_from: datetime
    valid_to: datetime | None
    """Exclusive; None while it is open."""
    known_at: datetime
