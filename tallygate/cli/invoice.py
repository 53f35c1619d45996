"""``tallygate invoice``: from an invoice's line to the requests behind it, with equal sums at every level."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import stripe
import typer
from google.api_core.exceptions import GoogleAPIError

from tallygate.cli.errors import OperatorError
from tallygate.cli.options import AsJson
from tallygate.cli.stripe_client import operators_key
from tallygate.cli.tables import Format, written
from tallygate.cli.warehouse import open_warehouse
from tallygate.metering.settings import ReporterSettings, reporter_settings
from tallygate.metering.warehouse import JobRunningError, Value, Warehouse
from tallygate.reconciliation.books import MeteredLine, StripeBooks
from tallygate.reconciliation.summaries import StripeReadError

app = typer.Typer(no_args_is_help=True)

_HOUR: Final = timedelta(hours=1)
_PAGE: Final = 100
_LEVELS: Final = ("line", "level", "what", "value", "count")
_REQUESTS: Final = (
    "ended_at", "request_id", "key_id", "model", "served_model", "price_version", "estimated", "value",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bucket:
    """An hour of usage and the segment that bills it, as a statement takes it."""

    usage_hour: datetime
    segment_id: str

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name."""
        return {"usage_hour": "TIMESTAMP", "segment_id": "STRING"}


@app.callback()
def group() -> None:
    """Invoices and their evidence."""


@app.command()
def explain(
    invoice: Annotated[str, typer.Argument(help="Stripe's id of the invoice.")],
    line: Annotated[int, typer.Option(help="Only this line, counted from 1.")] = 0,
    requests: Annotated[
        bool, typer.Option("--requests", help="List the requests of the line, not the sums.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format")] = Format.TABLE,
    as_json: AsJson = False,
) -> None:
    """Each metered line: its quantity, Stripe's sum, the sealed rows, the hours and the requests.

    A line of a one-off invoice has no sum of Stripe's: it charges one sealed row, shown with its whole hour.
    Exit code 1 when the sums of a line differ.
    """
    settings = reporter_settings()
    client, format_ = _client(settings), Format.JSON if as_json else format_
    try:
        lines = [one for one in StripeBooks(client).metered_lines(invoice) if line in (0, one.number)]
        if not lines:
            raise OperatorError(f"invoice {invoice} has no metered line{f' {line}' if line else ''}")
        explained = [_explained(client, open_warehouse(settings), one) for one in lines]
        if requests:
            found = [row for one in explained for row in one.requests()]
            print(written(found, _REQUESTS, format_))
            return
        rows = [row for one in explained for row in one.levels()]
        rows += _credit_notes(client, invoice)
    except stripe.StripeError as error:
        raise OperatorError(f"Stripe: {error.user_message or error}") from error
    except StripeReadError as error:
        raise OperatorError(f"Stripe: {error}") from error
    except (GoogleAPIError, JobRunningError) as error:
        raise OperatorError(f"the warehouse can't be read: {error}") from error
    print(written(rows, _LEVELS, format_))
    unequal = [str(one.line.number) for one in explained if not one.equal()]
    if unequal:
        raise OperatorError(f"the sums differ in line {', '.join(unequal)}")


def _explained(client: stripe.StripeClient, warehouse: Warehouse, line: MeteredLine) -> _Explained | _OneOff:
    if line.identifier is not None:
        return _OneOff(warehouse, line, line.identifier)
    return _Explained(client, warehouse, line)


class _OneOff:
    """One line of a one-off invoice with what is behind it: its row, and the bucket that it is sealed in."""

    def __init__(self, warehouse: Warehouse, line: MeteredLine, identifier: str) -> None:
        self.line = line
        self._warehouse = warehouse
        parameters: dict[str, Value] = {"identifier": identifier, "usage_hour": line.start}
        self.bucket = warehouse.read("explain_one_off", parameters)
        self.charged = sum(row["value"] for row in self.bucket if row["identifier"] == identifier)
        self.sealed = sum(row["value"] for row in self.bucket)
        self.hours = list(self._read("explain_hours"))

    def levels(self) -> Iterator[dict[str, Any]]:
        """One row for each level; what else is sealed of the hour is shown by where it ended."""
        yield self._level("invoice line", self.line.meter, self.line.quantity, 1)
        yield self._level("sealed rows", "one-off", self.charged, 1)
        ends: dict[str, int] = defaultdict(int)
        for row in self.bucket:
            ends[row["disposition"]] += row["value"]
        for disposition, value in sorted(ends.items()):
            if value:
                yield self._level("hour", f"{self.line.start:%Y-%m-%dT%H} {disposition}", value, None)
        requests = sum(row["requests"] for row in self.hours)
        yield self._level("requests", "the hour", sum(row["value"] for row in self.hours), requests)

    def requests(self) -> Iterator[dict[str, Any]]:
        """The requests of the hour: which of them came late is not kept."""
        return self._read("explain_requests")

    def equal(self) -> bool:
        """Whether the line is its row, and the hour's rows are its requests."""
        used = sum(int(row["value"]) for row in self.hours)
        return bool(self.line.quantity == self.charged and self.sealed == used)

    def _level(self, level: str, what: str, value: int, count: int | None) -> dict[str, Any]:
        return {"line": self.line.number, "level": level, "what": what, "value": value, "count": count}

    def _read(self, statement: str) -> Iterator[dict[str, Any]]:
        if not self.bucket:
            return
        parameters: dict[str, Value] = {
            "tenant_id": self.bucket[0]["tenant_id"],
            "meter": self.line.meter,
            "buckets": [Bucket(self.line.start, self.bucket[0]["segment_id"])],
            "window_start": self.line.start,
            "window_end": self.line.end,
        }
        yield from self._warehouse.read(statement, parameters)


class _Explained:
    """One line with what is behind it."""

    def __init__(self, client: stripe.StripeClient, warehouse: Warehouse, line: MeteredLine) -> None:
        self.line = line
        self._warehouse = warehouse
        parameters: dict[str, Value] = {
            "period_start": line.start,
            "period_end": line.end,
            "stripe_customer": line.customer,
            "meter": line.meter,
        }
        self.deltas = warehouse.read("explain_deltas", parameters)
        self.sent = [row for row in self.deltas if row["delivery"] in ("sent", "confirmed")]
        self.summary = _summary(client, line)
        self.hours = list(self._read("explain_hours"))

    def levels(self) -> Iterator[dict[str, Any]]:
        """One row for each level, from the invoice down; the hours one by one."""
        yield self._level("invoice line", self.line.meter, self.line.quantity, 1)
        period = f"{self.line.start:%Y-%m-%d}..{self.line.end:%Y-%m-%d}"
        yield self._level("summary", period, self.summary, None)
        yield self._level("sealed rows", "sent", sum(row["value"] for row in self.sent), len(self.sent))
        unsent = [row for row in self.deltas if row not in self.sent]
        if unsent:
            yield self._level("sealed rows", "not sent", sum(row["value"] for row in unsent), len(unsent))
        by_hour: dict[datetime, int] = defaultdict(int)
        for row in self.sent:
            by_hour[row["usage_hour"]] += row["value"]
        requests = {(row["usage_hour"]): 0 for row in self.hours}
        for row in self.hours:
            requests[row["usage_hour"]] += row["requests"]
        for hour, value in sorted(by_hour.items()):
            yield self._level("hour", f"{hour:%Y-%m-%dT%H}", value, requests.get(hour, 0))
        total = sum(row["value"] for row in self.hours)
        yield self._level("requests", "all hours", total, sum(row["requests"] for row in self.hours))

    def requests(self) -> Iterator[dict[str, Any]]:
        """The requests behind the line."""
        return self._read("explain_requests")

    def equal(self) -> bool:
        """Whether the sums agree from the invoice down to the requests."""
        sealed, used = (sum(int(row["value"]) for row in rows) for rows in (self.sent, self.hours))
        return self.line.quantity == self.summary == sealed == used

    def _level(self, level: str, what: str, value: int, count: int | None) -> dict[str, Any]:
        return {"line": self.line.number, "level": level, "what": what, "value": value, "count": count}

    def _read(self, statement: str) -> Iterator[dict[str, Any]]:
        """For each tenant of the sealed rows: nearly always one."""
        buckets: dict[str, set[Bucket]] = defaultdict(set)
        balances: dict[tuple[str, Bucket], int] = defaultdict(int)
        for row in self.sent:
            bucket = Bucket(row["usage_hour"], row["segment_id"])
            balances[row["tenant_id"], bucket] += row["value"]
        for (tenant_id, bucket), balance in balances.items():
            if balance:  # what a correction moved away altogether has no requests here
                buckets[tenant_id].add(bucket)
        for tenant_id, chosen in sorted(buckets.items()):
            hours = [bucket.usage_hour for bucket in chosen]
            parameters: dict[str, Value] = {
                "tenant_id": tenant_id,
                "meter": self.line.meter,
                "buckets": sorted(chosen, key=lambda bucket: (bucket.usage_hour, bucket.segment_id)),
                "window_start": min(hours),
                "window_end": max(hours) + _HOUR,
            }
            yield from self._warehouse.read(statement, parameters)


def _client(settings: ReporterSettings) -> stripe.StripeClient:
    key = operators_key(settings.secrets)
    settings.check_stripe_key(key)
    base = settings.stripe_api_base
    return stripe.StripeClient(key, base_addresses={"api": base} if base else None, max_network_retries=2)


def _summary(client: stripe.StripeClient, line: MeteredLine) -> int:
    """What Stripe's summaries hold of the line's period, which is cut to whole minutes."""
    meters = client.v1.billing.meters.list({"limit": _PAGE}).auto_paging_iter()
    meter_id = next(meter.id for meter in meters if meter.event_name == line.meter)
    start, end = (int(at.timestamp()) // 60 * 60 for at in (line.start, line.end))
    params: Any = {"customer": line.customer, "start_time": start, "end_time": end}
    return sum(
        int(row.aggregated_value)
        for row in client.v1.billing.meters.event_summaries.list(meter_id, params).data
    )


def _credit_notes(client: stripe.StripeClient, invoice: str) -> Sequence[dict[str, Any]]:
    notes = client.v1.credit_notes.list({"invoice": invoice, "limit": _PAGE}).auto_paging_iter()
    return [
        {"line": None, "level": "credit note", "what": note.id, "value": -note.amount, "count": None}
        for note in notes
    ]
