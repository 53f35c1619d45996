"""What happens in one month: drawn from a seed alone, before anything runs.

Nothing here or in the oracle is imported from the product: names and rules are written down anew.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

PERIOD_START: Final = datetime(2026, 3, 1, tzinfo=UTC)
PERIOD_END: Final = datetime(2026, 4, 1, tzinfo=UTC)
NEXT_PERIOD_END: Final = datetime(2026, 5, 1, tzinfo=UTC)
LAST_REQUEST: Final = PERIOD_END + timedelta(hours=12)
INPUT: Final = "llm_input_tokens"
CACHED: Final = "llm_cached_input_tokens"
WRITTEN: Final = "llm_cache_write_tokens"
OUTPUT: Final = "llm_output_tokens"
COST: Final = "llm_cost_nano_usd"
TOKENS: Final = (INPUT, CACHED, WRITTEN, OUTPUT)
MOST_LATE: Final = timedelta(hours=30)
MOST_SKEW: Final = timedelta(minutes=10)
MOST_RUNS: Final = 300
UNIT_CENTS: Final = Decimal("0.0001")
"""Price of a unit of any meter."""
ONE_OFF_MINIMUM_CENTS: Final = 1
CLOSES_AFTER: Final = timedelta(minutes=50)
"""What is sealed later after a subscription's end is too late for its last invoice, an hour after the end."""
LEAVES: Final = PERIOD_END - timedelta(hours=36)
"""When two tenants cancel, and get their last invoice: far from outages and from the end of the period."""

Basis = Literal["none", "tokens", "cost"]
Depth = Literal["recent", "hourly", "daily"]
Job = Literal["usage_reporter", "usage_reconciler"]
Fate = Literal["recorded", "killed", "broken"]
"""What becomes of a request's usage line: written; never written; written so that it can't be usage."""


@dataclass(frozen=True, slots=True)
class Span:
    """One way in which a tenant's usage is billed, and since when the ledger knows of it."""

    segment_id: str
    basis: Basis
    has_customer: bool
    items: tuple[str, ...]
    """Meters with an item; a meter named twice has two items."""
    start: datetime
    end: datetime | None
    period: tuple[datetime, datetime]
    known_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant with its spans, in the order of time."""

    tenant_id: str
    spans: tuple[Span, ...]
    leaves: datetime | None = None
    """When it cancels, with a last invoice at once."""


@dataclass(frozen=True, slots=True)
class Request:
    """One admitted request. Its own times are on the proxy's clock, which may be wrong."""

    request_id: str
    tenant_id: str
    admitted_at: datetime
    ended_at: datetime
    tokens: Mapping[str, int]
    """By meter."""
    nano_usd: int
    billable: bool
    unpriced: bool
    fate: Fate
    admit_arrives: datetime
    usage_arrives: tuple[datetime, ...]
    """Each delivery of the usage line."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong in one run; nothing by default."""

    kind: str = "none"
    call: int = 0
    """At which call the process dies or halts."""
    answered: bool = False
    """It dies when the call has had its effect, and not before."""
    rate: float = 0.0
    seed: int = 0
    overlap_seconds: float = 0.4
    """For how long, in real time, a statement waits for another one to share its snapshot."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job."""

    at: datetime
    depth: Depth
    trouble: Trouble = Trouble()
    job: Job = "usage_reporter"


@dataclass(frozen=True, slots=True)
class Outage:
    """Stripe takes no connection."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Foreign:
    """An hour of a tenant's meter whose first identifier someone else has sent before."""

    tenant_id: str
    meter: str
    hour: datetime


@dataclass(frozen=True, slots=True)
class Size:
    """How much happens."""

    requests: int
    bursts: int
    outage: float = 1.0
    """How likely an outage of Stripe is."""


SMALL: Final = Size(requests=40, bursts=2, outage=0.4)
FULL: Final = Size(requests=300, bursts=8)


@dataclass(frozen=True, slots=True)
class Script:
    """A month."""

    seed: int
    accounts: tuple[Account, ...]
    requests: tuple[Request, ...]
    runs: tuple[Run, ...]
    outages: tuple[Outage, ...]
    late_visible: Mapping[datetime, float] = field(default_factory=dict)
    """Runs before which the newest rows are durable but not visible yet, and for how many seconds."""
    foreign: frozenset[Foreign] = frozenset()


STRIPE_FAULTS: Final = (
    "commit_then_drop", "commit_then_500", "error_500", "rate_limit_429", "conflict_409", "stale_read",
)  # fmt: skip
WAREHOUSE_FAULTS: Final = ("warehouse_500", "warehouse_500_after")
DEATHS: Final = ("killed", "killed_while_sealing", "killed_while_sending", "killed_while_billing")
OVERLAPS: Final = ("halted", "snapshot_overlap")
TROUBLES: Final = (
    *(kind for kind in STRIPE_FAULTS if kind != "stale_read"),
    *WAREHOUSE_FAULTS,
    *(kind for kind in DEATHS if kind != "killed_while_billing"),
    *OVERLAPS,
    "database_outage",
    "insert_all_partial",
)


RECONCILER_TROUBLES: Final = (
    "killed", "halted", "error_500", "rate_limit_429", "stale_read", "warehouse_500", "warehouse_500_after",
    "database_outage",
)  # fmt: skip


LEAVING_TROUBLES: Final = (
    "none",
    "killed",
    "killed_while_billing",
    "halted",
    *STRIPE_FAULTS,
    *WAREHOUSE_FAULTS,
)
"""Of the runs that make one-off invoices."""


def write(seed: int, size: Size = FULL) -> Script:
    """The month of a seed."""
    draw = random.Random(seed)
    starts = _bursts(draw, size.bursts)
    accounts = tuple(_accounts(draw, starts))
    outages = _outages(draw, size)
    requests = tuple(
        _requests(draw, size.requests, [a.tenant_id for a in accounts], [*starts, *_busy(outages)])
    )
    leavers = random.Random(f"leavers {seed}")
    accounts = (*accounts, *(_leaver(leavers, name) for name in (LEAVER, QUITTER)))
    requests = (*requests, *_last_requests(leavers))
    runs = tuple(
        sorted((*_runs(draw, starts, outages), *_runs_around_leaving(leavers)), key=lambda run: run.at)
    )
    late = {run.at: draw.uniform(60, 7200) for run in runs if draw.random() < 0.06}
    return Script(seed, accounts, requests, runs, outages, late)


# --- tenants ---------------------------------------------------------------------------------


def _accounts(draw: random.Random, bursts: list[datetime]) -> Iterator[Account]:
    for tenant_id, basis, items in (
        ("by-tokens", "tokens", TOKENS),
        ("by-cost", "cost", (COST,)),
        ("flat", "none", ()),
        ("gap", "tokens", (INPUT, OUTPUT)),
        ("twofold", "tokens", (*TOKENS, OUTPUT)),
    ):
        yield Account(tenant_id, both_periods(tenant_id, basis, items))  # type: ignore[arg-type]
    yield Account("nobody", both_periods("nobody", "cost", (), has_customer=False))
    early = [burst for burst in bursts if burst < PERIOD_END - timedelta(days=4)] or [PERIOD_START]
    changes = draw.choice(early) + timedelta(minutes=draw.uniform(-10, 40))
    known_at = changes + timedelta(hours=draw.choice((0, draw.uniform(0.1, 6))))
    yield Account("mover", _changed_plan("mover", max(changes, PERIOD_START), known_at))
    begins = _moment(draw, PERIOD_START + timedelta(days=4), PERIOD_START + timedelta(days=12))
    yield Account("newcomer", both_periods("newcomer", "tokens", TOKENS, begins=begins))


def both_periods(
    tenant_id: str,
    basis: Basis,
    items: tuple[str, ...],
    *,
    has_customer: bool = True,
    begins: datetime = PERIOD_START,
) -> tuple[Span, ...]:
    """One span for each period, known from the start."""

    def span(number: int, start: datetime, end: datetime | None, period: tuple[datetime, datetime]) -> Span:
        return Span(f"seg-{tenant_id}-{number}", basis, has_customer, items, start, end, period, PERIOD_START)

    return (
        span(1, begins, PERIOD_END, (PERIOD_START, PERIOD_END)),
        span(2, PERIOD_END, None, (PERIOD_END, NEXT_PERIOD_END)),
    )


def _changed_plan(tenant_id: str, at: datetime, known_at: datetime) -> tuple[Span, ...]:
    """From tokens to cost inside the period; the ledger may learn it when it has sealed beyond."""
    before, after = both_periods(tenant_id, "cost", (COST,))
    tokens = replace(before, segment_id=f"seg-{tenant_id}-0", basis="tokens", items=TOKENS, end=at)
    return tokens, replace(before, start=at, known_at=known_at), after


LEAVER: Final = "leaver"
"""Cancels; each of its late requests is worth a one-off invoice."""
QUITTER: Final = "quitter"
"""Cancels; all of its late requests together are not."""


def _leaver(draw: random.Random, tenant_id: str) -> Account:
    stays, _ = both_periods(tenant_id, "tokens", TOKENS)
    open_ended = replace(stays, end=None)
    ended = replace(stays, end=LEAVES, known_at=LEAVES + timedelta(minutes=draw.uniform(0, 40)))
    return Account(tenant_id, (open_ended, ended), leaves=LEAVES)


def _last_requests(draw: random.Random) -> Iterator[Request]:
    """Some that arrive in time for the last invoice, some when it is closed: nothing in between."""
    for tenant_id, least, most in ((LEAVER, 20_000, 90_000), (QUITTER, 1, 800)):
        for number in range(8):
            ended = LEAVES - timedelta(hours=draw.uniform(5, 8))
            late = timedelta(hours=draw.uniform(2, 20)) if number % 2 else timedelta(0)
            first = (LEAVES + late) if late else ended + timedelta(seconds=draw.uniform(1, 90))
            again = [first + timedelta(hours=draw.uniform(0, 2))] if late and draw.random() < 0.5 else []
            yield Request(
                request_id=f"{tenant_id}-{number}",
                tenant_id=tenant_id,
                admitted_at=ended - timedelta(seconds=5),
                ended_at=ended,
                tokens={
                    INPUT: draw.randint(least, most),
                    CACHED: 0,
                    WRITTEN: 0,
                    OUTPUT: draw.randint(1, 800),
                },
                nano_usd=draw.randint(1, 90_000),
                billable=True,
                unpriced=False,
                fate="recorded",
                admit_arrives=ended,
                usage_arrives=(first, *again),
            )


# --- requests --------------------------------------------------------------------------------


def _bursts(draw: random.Random, count: int) -> list[datetime]:
    """Hours in which requests come; one spans the end of the period."""
    last = PERIOD_END - timedelta(hours=40)
    inside = [_moment(draw, PERIOD_START + timedelta(hours=1), last) for _ in range(count - 1)]
    return sorted([*inside, PERIOD_END - timedelta(minutes=draw.randint(20, 70))])


def _busy(outages: tuple[Outage, ...]) -> list[datetime]:
    return [outage.start + (outage.end - outage.start) * share for outage in outages for share in (0.1, 0.7)]


def _requests(
    draw: random.Random, count: int, tenants: list[str], bursts: list[datetime]
) -> Iterator[Request]:
    skews = [timedelta(0), MOST_SKEW * draw.uniform(-1, 1), MOST_SKEW * draw.uniform(-1, 1)]
    for number in range(count):
        begin = draw.choice(bursts) + timedelta(minutes=draw.uniform(-15, 45))
        true_end = begin + timedelta(seconds=draw.uniform(0.2, 60))
        skew = draw.choice(skews)
        fate: Fate = draw.choices(("recorded", "killed", "broken"), (93, 4, 3))[0]
        arrivals = _arrivals(draw, true_end) if fate != "killed" else ()
        unpriced = draw.random() < 0.03
        yield Request(
            request_id=f"req-{number:06}",
            tenant_id=draw.choice(tenants),
            admitted_at=max(begin + skew, PERIOD_START),
            ended_at=max(true_end + skew, PERIOD_START),
            tokens={
                INPUT: draw.randint(1, 4000),
                CACHED: draw.choice((0, 0, draw.randint(1, 2000))),
                WRITTEN: draw.choice((0, 0, 0, draw.randint(1, 900))),
                OUTPUT: draw.choice((0, draw.randint(1, 1500))),
            },
            nano_usd=0 if unpriced else draw.randint(1, 90_000_000),
            billable=draw.random() >= 0.04,
            unpriced=unpriced,
            fate=fate,
            admit_arrives=begin + timedelta(seconds=draw.uniform(0.5, 90)),
            usage_arrives=arrivals,
        )


def _arrivals(draw: random.Random, ended: datetime) -> tuple[datetime, ...]:
    """Mostly soon, sometimes up to 30 h late, sometimes again and again; in no order."""
    late = MOST_LATE * draw.random() if draw.random() < 0.2 else timedelta(seconds=draw.uniform(0.5, 120))
    again = [MOST_LATE * draw.random() for _ in range(draw.choice((0, 0, 0, 1, 1, 3)))]
    return tuple(ended + one for one in (late, *again))


# --- runs ------------------------------------------------------------------------------------


def _outages(draw: random.Random, size: Size) -> tuple[Outage, ...]:
    if draw.random() >= size.outage:
        return ()
    start = _moment(draw, PERIOD_START + timedelta(days=2), PERIOD_END - timedelta(days=4))
    return (Outage(start, start + timedelta(hours=draw.choice((6, 30)))),)


def _runs(draw: random.Random, bursts: list[datetime], outages: tuple[Outage, ...]) -> tuple[Run, ...]:
    """Some runs after every burst, the first of them in trouble; then some that go well."""
    runs: list[Run] = []
    for burst in bursts:
        ends_period = burst > PERIOD_END - timedelta(hours=6)
        for minutes in (34,) if ends_period else (8, 21, 34):
            trouble = Trouble() if ends_period or draw.random() < 0.25 else _trouble(draw)
            depth: Depth = draw.choices(("recent", "hourly", "daily"), (6, 3, 1))[0]
            runs.append(Run(burst + timedelta(minutes=minutes, seconds=draw.randint(0, 59)), depth, trouble))
        if not ends_period:
            runs.append(Run(burst + timedelta(hours=draw.uniform(1.5, 4)), "daily"))
        runs.append(Run(burst + timedelta(hours=draw.uniform(14, 31)), "daily"))
        if draw.random() < 0.4:
            trouble = _trouble(draw, RECONCILER_TROUBLES)
            after = burst + timedelta(hours=draw.uniform(2.5, 40))
            runs.append(Run(after, draw.choice(("hourly", "daily")), trouble, "usage_reconciler"))
    # Before the period ends, all that a changed plan concerns has come, and is sealed under the right span.
    runs.append(Run(PERIOD_END - timedelta(hours=12), "daily"))
    for outage in outages:
        for share in (0.02, 0.4, 0.9):
            runs.append(Run(outage.start + (outage.end - outage.start) * share, "hourly"))
        runs.append(Run(outage.end + timedelta(minutes=12), "daily"))
        runs += _gate(outage.end + timedelta(hours=2))
    if len(runs) > MOST_RUNS:
        raise ValueError(f"{len(runs)} runs: at most {MOST_RUNS} are meant")
    return (*sorted(_apart(runs), key=lambda run: run.at), *_settling())


def _runs_around_leaving(draw: random.Random) -> Iterator[Run]:
    """Runs that go well until all that came late is parked; then two in trouble, which may bill it."""
    for hours in (-4, -1.5, 21, 23.5):
        yield Run(LEAVES + timedelta(hours=hours), "daily")
    for hours in (49, 56):
        at = LEAVES + timedelta(hours=hours, minutes=draw.uniform(0, 50))
        yield Run(at, "daily", _trouble(draw, LEAVING_TROUBLES))


def _apart(runs: list[Run]) -> Iterator[Run]:
    """Nothing in trouble around the end of the period; nothing after the last requests."""
    for run in runs:
        near = abs(run.at - PERIOD_END) < timedelta(hours=10)
        yield Run(run.at, run.depth, job=run.job) if near else run


def _gate(first: datetime) -> tuple[Run, ...]:
    """Looks at what Stripe has summed, six hours apart, and what has to be sent again is sent.

    A meter may be read four times a day, which months without a look may use up at the first one: so the two
    looks come again a day later.
    """
    return tuple(
        run
        for begins in (first, first + timedelta(days=1))
        for run in (
            Run(begins, "daily", job="usage_reconciler"),
            Run(begins + timedelta(hours=6, minutes=10), "daily", job="usage_reconciler"),
            Run(begins + timedelta(hours=6, minutes=40), "daily"),
        )
    )


def _settling() -> tuple[Run, ...]:
    """Runs that go well when the last line has come."""
    end = LAST_REQUEST + MOST_LATE + timedelta(hours=3)
    return (Run(end, "daily"), *_gate(end + timedelta(hours=3)))


def _trouble(draw: random.Random, kinds: tuple[str, ...] = TROUBLES) -> Trouble:
    kind = draw.choices(kinds, [5 if kind == "killed" else 1 for kind in kinds])[0]
    return Trouble(
        kind,
        call=draw.randint(1, 26),
        answered=draw.random() < 0.5,
        rate=draw.choice((0.3, 0.6, 1.0)),
        seed=draw.randrange(1 << 30),
    )


def _moment(draw: random.Random, first: datetime, last: datetime) -> datetime:
    return first + timedelta(seconds=draw.randrange(int((last - first).total_seconds())))
