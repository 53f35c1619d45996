"""Plays a month: real functions, real SQL, the real SDKs, against doubles on a clock that jumps."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from google.cloud import bigquery

from tallygate.appdb.faults import arm, armed, faults_path
from tallygate.clock import OffsetFileClock
from tallygate.metering import warehouse
from tests.faults.oracle import Books, Class
from tests.faults.process import LEASE, Fate, Function, Killed
from tests.faults.script import (
    COST,
    NEXT_PERIOD_END,
    ONE_OFF_MINIMUM_CENTS,
    OVERLAPS,
    PERIOD_START,
    STRIPE_FAULTS,
    TOKENS,
    UNIT_CENTS,
    Account,
    Job,
    Request,
    Run,
    Script,
    Span,
    Trouble,
)
from tests.functions.deployed import environment
from tests.sandbox.stripe.double import use
from tests.support.stage import APP_DATABASE, Hosts, Stage, stage

STDOUT: Final = "usage_raw.run_googleapis_com_stdout"
_ROWS_AT_ONCE: Final = 400
_OUTLIVES_SECONDS: Final = 0.2
"""How long a job goes on, in real time, after its client has died."""
_LOOK_SECONDS: Final = 0.02
"""How often, in real time, a slow run is looked at."""
_AFTERWARDS: Final = timedelta(hours=3)
"""After the end of the second period: its invoice is final."""


@dataclass(slots=True)
class Played:
    """A month that is over, as the ledger, Stripe and the views show it."""

    books: Books
    invoiced: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Quantities on final invoices, by tenant and meter."""
    unsettled: list[str] = field(default_factory=list)
    """Sealed rows that are neither confirmed to be sent nor given up."""
    injected: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    """How runs ended: done, skipped, failed, killed."""
    restless: list[str] = field(default_factory=list)
    """What a run still found to do when all was done."""


def play(script: Script, folder: Path, on: Hosts) -> Played:
    """Play a month in an empty folder, to the end of the period after it."""
    with (
        stage(folder, on.bigquery, on.stripe, PERIOD_START) as here,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment(here).items():
            patch.setenv(name, value)
        patch.setenv("TALLYGATE_ONE_OFF_MINIMUM_CENTS", str(ONE_OFF_MINIMUM_CENTS))
        patch.setattr(OffsetFileClock, "now", lambda _: here.now)  # the functions' time stands as ours does
        _compress_waits(patch)
        return _Month(script, here).play()


def _compress_waits(patch: pytest.MonkeyPatch) -> None:
    """The clients of BigQuery and Stripe wait seconds before they try again; months have no time for that."""
    for retry in (bigquery.DEFAULT_RETRY, bigquery.retry.DEFAULT_JOB_RETRY, warehouse._RETRY):
        patch.setattr(retry, "_initial", 0.005)
        patch.setattr(retry, "_maximum", 0.05)
    patch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.005)
    patch.setattr("stripe._http_client.HTTPClient.MAX_DELAY", 0.05)
    patch.setattr("tallygate.metering.one_off._BACKOFF_SECONDS", 0.001)


class _Month:
    def __init__(self, script: Script, here: Stage) -> None:
        self._script = script
        self._here = here
        self._customers: dict[str, str] = {}
        self._processes: dict[Job, Function] = {}
        self._lines = sorted(_lines(script), key=lambda line: line["receiveTimestamp"])
        self._database_faults = faults_path(here.folder / APP_DATABASE)
        self._played = Played(Books())
        self._known = PERIOD_START - timedelta(days=1)
        self._prices: dict[str, str] = {}
        self._cancels: list[tuple[datetime, str]] = []

    def play(self) -> Played:
        self._open()
        for number, run in enumerate(self._script.runs):
            self._cancel(until=run.at)
            self._here.advance(seconds=(run.at - self._here.now).total_seconds())
            if number == 0 and self._script.foreign:
                self._send_foreign()
            self._learn(run.at)
            self._deliver(run)
            self._run(run)
        self._here.advance(seconds=(NEXT_PERIOD_END + _AFTERWARDS - self._here.now).total_seconds())
        self._look_once_more()
        self._read_books()
        for process in self._processes.values():
            process.close()
        return self._played

    def _process(self, job: Job) -> Function:
        """The job's process, which is started when there is none."""
        if job not in self._processes:
            self._processes[job] = Function(job)
        return self._processes[job]

    # --- before ------------------------------------------------------------------------------

    def _open(self) -> None:
        """Customers with a price for every meter; the script's spans decide what is billed."""
        client = self._here.stripe.client()
        product = client.v1.products.create({"name": "Gateway"}).id
        prices = self._prices
        for meter in (*TOKENS, COST):
            recurring = {"interval": "month", "usage_type": "metered", "meter": self._here.meters[meter]}
            params: Any = {
                "product": product,
                "currency": "usd",
                "unit_amount_decimal": str(UNIT_CENTS),
                "recurring": recurring,
            }
            prices[meter] = client.v1.prices.create(params).id
        for account in self._script.accounts:
            if any(span.has_customer for span in account.spans):
                customer = self._here.customer(account.tenant_id)
                items: Any = [{"price": price} for price in prices.values()]
                made = client.v1.subscriptions.create({"customer": customer, "items": items})
                self._customers[account.tenant_id] = customer
                if account.leaves is not None:
                    self._cancels.append((account.leaves, made.id))
        self._learn(PERIOD_START)

    def _cancel(self, until: datetime) -> None:
        """Subscriptions end, with a last invoice."""
        while self._cancels and self._cancels[0][0] <= until:
            at, subscription = self._cancels.pop(0)
            self._here.advance(seconds=(at - self._here.now).total_seconds())
            self._here.stripe.client().v1.subscriptions.cancel(subscription, {"invoice_now": True})

    def _learn(self, until: datetime) -> None:
        """Write down the spans that have become known: a span ends where the tenant's next one starts."""
        rows = [
            self._segment(account, span)
            for account in self._script.accounts
            for span in account.spans
            if self._known < span.known_at <= until
        ]
        if rows:
            self._here.insert("ledger.billing_segments", *rows)
        self._known = until

    def _segment(self, account: Account, span: Span) -> dict[str, Any]:
        return {
            "segment_id": span.segment_id,
            "tenant_id": account.tenant_id,
            "stripe_customer": self._customers[account.tenant_id] if span.has_customer else None,
            "subscription_id": f"sub-{account.tenant_id}" if span.has_customer else None,
            "plan": span.basis,
            "charge_basis": span.basis,
            "items": [
                {
                    "meter": meter,
                    "subscription_item": f"si-{span.segment_id}-{number}",
                    "price": self._prices[meter],
                }
                for number, meter in enumerate(span.items)
            ],
            "period_start": _text(span.period[0]),
            "period_end": _text(span.period[1]),
            "valid_from": _text(span.start),
            "valid_to": _text(span.end) if span.end is not None and span.end == account.leaves else None,
            "known_at": _text(span.known_at),
        }

    def _send_foreign(self) -> None:
        """Let someone else take identifiers of this ledger, which has to be named for that."""
        self._process("usage_reporter").post({"depth": "recent"})
        (epoch,) = self._here.rows("ledger.ledger_epochs")
        stranger = self._here.customer("stranger")
        for bucket in self._script.foreign:
            seconds = int(bucket.hour.timestamp())
            identifier = f"u1:{epoch['ledger_epoch']}:{bucket.tenant_id}:{bucket.meter}:{seconds}:1"
            use(self._here.stripe.client(), stranger, 7, identifier, PERIOD_START, meter=bucket.meter)
        self._customers["stranger"] = stranger

    # --- lines -------------------------------------------------------------------------------

    def _deliver(self, run: Run) -> None:
        """Write what has arrived, as the sink does: again what was not taken."""
        due = [line for line in self._lines if line["receiveTimestamp"] <= _text(run.at)]
        self._lines = self._lines[len(due) :]
        if run.trouble.kind == "insert_all_partial" and due:
            self._here.warehouse_fault("insert_all_partial", match={"table": STDOUT}, share=run.trouble.rate)
        seconds = self._script.late_visible.get(run.at)
        if seconds is not None and due:
            self._here.warehouse_fault("late_visibility", match={"table": STDOUT}, seconds=seconds)
        for start in range(0, len(due), _ROWS_AT_ONCE):
            self._insert(due[start : start + _ROWS_AT_ONCE])
        self._count_faults()

    def _insert(self, lines: list[dict[str, Any]]) -> None:
        while lines:
            errors = self._here.client.insert_rows_json(
                f"{self._here.client.project}.{STDOUT}",
                lines,
                row_ids=[None] * len(lines),
                skip_invalid_rows=True,
            )
            lines = [lines[error["index"]] for error in errors]

    # --- runs --------------------------------------------------------------------------------

    def _run(self, run: Run) -> None:
        trouble = run.trouble
        outage = any(outage.start <= run.at < outage.end for outage in self._script.outages)
        if outage:
            self._here.stripe.arm("outage", rate=1.0)
        fate = self._arm(trouble)
        process = self._process(run.job)
        process.life.fate, process.life.calls = fate, 0
        if trouble.kind in OVERLAPS:
            self._overlap(process, run)
        else:
            self._post(process, run)
        process.life.fate = None
        if process.life.dead or trouble.kind in OVERLAPS:
            self._processes.pop(run.job).close()
        self._count_faults()

    def _arm(self, trouble: Trouble) -> Fate | None:
        here, draws = self._here, {"rate": trouble.rate, "seed": trouble.seed}
        match trouble.kind:
            case "killed":
                return Fate(call=trouble.call, answered=trouble.answered)
            case "halted":
                return Fate(call=trouble.call, answered=trouble.answered, halts=True)
            case "killed_while_sealing":
                prefix = self._next_seal()
                here.warehouse_fault(
                    "job_continues_after_client_dies",
                    match={"job_id": f"{prefix}-1"},
                    seconds=_OUTLIVES_SECONDS,
                )
                return Fate(name=prefix, answered=True)
            case "killed_while_sending":
                return Fate(name="sink", answered=True)
            case "killed_while_billing":
                return Fate(name="invoices.add", answered=True)
            case "snapshot_overlap":
                here.warehouse_fault(
                    "snapshot_overlap",
                    match={"table": "ledger.meter_deltas"},
                    seconds=trouble.overlap_seconds,
                )
            case "warehouse_500":
                here.warehouse_fault("error_500", rate=min(trouble.rate, 0.6), seed=trouble.seed)
            case "warehouse_500_after":
                here.warehouse_fault("error_500", rate=min(trouble.rate, 0.6), seed=trouble.seed, after=True)
            case "database_outage":
                arm(
                    self._database_faults,
                    {"kind": "outage", "count": 1, "rate": None, "seed": 0, "match": {}},
                )
            case kind if kind in STRIPE_FAULTS:
                here.stripe.arm(kind, **draws)
        return None

    def _next_seal(self) -> str:
        """How the ids of the next seal's jobs begin (a contract)."""
        text = (
            "SELECT (SELECT MIN(e.ledger_epoch) FROM `ledger.ledger_epochs` AS e) AS epoch, "
            "(SELECT COALESCE(MAX(d.seal_number), 0) FROM `ledger.meter_deltas` AS d) AS head"
        )
        (row,) = self._here.client.query_and_wait(text)
        return f"seal-{row['epoch']}-{row['head'] + 1}"

    def _post(self, process: Function, run: Run) -> None:
        try:
            status, answer = process.post({"depth": run.depth})
        except Killed:
            self._played.runs["killed"] += 1
            self._played.injected["killed"] += 1
            return
        ended = "skipped" if answer.get("skipped") else "done" if status == 200 else "failed"
        self._played.runs[ended] += 1

    def _overlap(self, slow: Function, run: Run) -> None:
        """A run that halts for longer than its lease; another one takes over, then both go on."""
        thread = threading.Thread(target=self._post, args=(slow, run))
        thread.start()
        while thread.is_alive() and not slow.life.halted.wait(_LOOK_SECONDS) and not self._holds_snapshot():
            pass
        if thread.is_alive():
            self._played.injected["overlap"] += 1
            self._here.advance(seconds=(LEASE + timedelta(minutes=1)).total_seconds())
            other = Function(run.job)
            self._post(other, run)
            other.close()
        slow.life.woken.set()
        thread.join()

    def _holds_snapshot(self) -> bool:
        return any(
            fault["injected"]
            for fault in self._here.warehouse_faults()
            if fault["kind"] == "snapshot_overlap"
        )

    def _count_faults(self) -> None:
        """Note what was injected, and disarm."""
        for url in (self._here.bigquery_url, self._here.stripe.url):
            for fault in self._here.http.get(f"{url}/_sandbox/faults").json()["faults"]:
                self._played.injected[fault["kind"]] += fault["injected"]
            self._here.http.delete(f"{url}/_sandbox/faults")
        for fault in armed(self._database_faults):
            self._played.injected["database_outage"] += fault["injected"]
        self._database_faults.unlink(missing_ok=True)

    # --- afterwards --------------------------------------------------------------------------

    def _look_once_more(self) -> None:
        status, answer = self._process("usage_reporter").post({"depth": "daily"})
        for name in ("sealed", "sent", "backlog", "stopped_buckets"):
            if answer.get(name):
                self._played.restless.append(f"{name} = {answer[name]}")
        if status != 200:
            self._played.restless.append(f"status {status}: {answer}")

    def _read_books(self) -> None:
        books = self._played.books
        tenants = {customer: tenant for tenant, customer in self._customers.items()}
        for event in self._here.events():
            if event["customer"] == self._customers.get("stranger"):
                continue
            tenant, meter, hour = _bucket_of(event["identifier"])
            if tenants[event["customer"]] != tenant or event["meter"] != meter:
                self._played.unsettled.append(f"{event['identifier']} was billed to {event['customer']}")
            books.buckets[tenant, meter, hour, "billed"] += int(event["value"])
        for row in self._here.deliveries():
            bucket = row["tenant_id"], row["meter"], row["usage_hour"]
            if row["disposition"] == "one_off":  # what Stripe has of it is read from its invoices
                if row["delivery"] not in ("sent", "confirmed"):
                    self._played.unsettled.append(f"{row['identifier']} is {row['delivery']}, for a one-off")
            elif row["disposition"] != "billable":
                class_: Class = row["disposition"]
                books.buckets[*bucket, class_] += row["value"]
            elif row["delivery"] in ("parked", "rejected"):
                books.buckets[*bucket, row["delivery"]] += row["value"]
            elif row["delivery"] not in ("sent", "confirmed"):
                self._played.unsettled.append(
                    f"{row['identifier']} is {row['delivery']} ({row['delivery_reason']})"
                )
        for row in self._here.rows("ledger.unrecorded_usage"):
            books.unrecorded.add((row["tenant_id"], row["request_id"]))
        books.rejected_lines = len(self._here.rows("ledger.rejected_lines"))
        for invoice in self._here.stripe.get("/_sandbox/ledger")["invoices"]:
            if invoice["status"] == "draft":
                continue
            for line in invoice["lines"]:
                if line["meter"] and int(line["quantity"]):
                    self._played.invoiced[tenants[invoice["customer"]], line["meter"]] += int(
                        line["quantity"]
                    )

        for customer, tenant in tenants.items():
            self._read_one_offs(customer, tenant)

    def _read_one_offs(self, customer: str, tenant: str) -> None:
        """What Stripe has charged beside the subscription: lines of final invoices that name a sealed row."""
        for invoice in self._here.stripe.client().v1.invoices.list({"customer": customer, "limit": 100}).data:
            if invoice.status == "draft" or invoice.billing_reason != "manual":
                continue
            for line in invoice.lines.data:
                of, meter, hour = _bucket_of(line.metadata["tallygate_delta"])
                if of != tenant:
                    self._played.unsettled.append(f"{invoice.id} of {tenant} charges {of}")
                self._played.books.buckets[tenant, meter, hour, "one_off"] += line.quantity or 0
                self._played.invoiced[tenant, meter] += line.quantity or 0


def _bucket_of(identifier: str) -> tuple[str, str, datetime]:
    """Tenant, meter and hour of an identifier ``u1:{epoch}:{tenant}:{meter}:{hour}:{seq}`` (a contract)."""
    _, _, tenant, meter, hour, _ = identifier.split(":")
    return tenant, meter, datetime.fromtimestamp(int(hour), UTC)


def _lines(script: Script) -> Iterator[dict[str, Any]]:
    for number, request in enumerate(script.requests, 1):
        yield _line(request, number, "llm_admit", request.admitted_at, request.admit_arrives)
        for arrives in request.usage_arrives:
            yield _line(request, number, "llm_usage", request.ended_at, arrives)


def _line(request: Request, number: int, event: str, at: datetime, arrives: datetime) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "event": event,
        "schema_version": 1,
        "request_id": request.request_id,
        "tenant_id": request.tenant_id,
        "model": "small",
        "endpoint": "chat/completions",
        "stream_id": "stream-1",
        "seq": 2 * number - (event == "llm_admit"),
    }
    if event == "llm_usage":
        payload |= _usage(request)
    insert_id = request.request_id if event == "llm_usage" else f"{request.request_id}-admit"
    return {
        "insertId": insert_id,
        "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
        "timestamp": _text(at),
        "receiveTimestamp": _text(arrives),
        "jsonPayload": payload,
    }


def _usage(request: Request) -> Mapping[str, Any]:
    counts = {meter.removeprefix("llm_"): value for meter, value in request.tokens.items()}
    total = sum(counts.values())
    return {
        **counts,
        "total_tokens": total + 1 if request.fate == "broken" else total,
        "cost_nano_usd": str(request.nano_usd),
        "billable": request.billable,
        "unpriced": request.unpriced,
        "estimated": False,
        "key_id": "key1",
        "served_model": "small",
        "status": "success",
        "http_status": 200,
        "attempts": 1,
    }


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
