"""Which hours a run looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from tallygate.clock import parse_rfc3339
from tallygate.tenants import TENANT_ID

DEPTHS: Final = {"recent": timedelta(hours=3), "hourly": timedelta(days=2), "daily": timedelta(days=35)}
"""How far back a scheduled run seals."""
_UNSENT: Final = {"recent": timedelta(days=3), "hourly": timedelta(days=3), "daily": timedelta(days=40)}
"""How far back, by hour of usage, it looks for sealed rows that are not sent."""
OLDEST_RANGE: Final = timedelta(days=400)
"""Raw lines are kept so long, and invoices are explained by rows that are at most so late."""
_HOUR: Final = timedelta(hours=1)
_END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC)
AfterClose = Literal["", "one_off:", "waived:below_minimum"]
"""What becomes of usage whose period's invoice is closed while no period is open, as the query ``due`` takes
it; empty: it waits as parked."""
_FIELDS: Final = frozenset({"depth", "from", "to", "tenant", "dry_run", "price_version", "lines"})


class RequestError(ValueError):
    """A request body that can't be understood; carries every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Whole hours, UTC, of one tenant or of all."""

    depth: str
    start: datetime
    end: datetime
    """Exclusive."""
    lines_end: datetime
    """Lines that can't be usage are looked for up to here, exclusive."""
    unsent_since: datetime
    tenant_id: str = ""
    """Empty: all tenants."""
    dry_run: bool = False
    price_version: str = ""
    """Usage without a price is given this one first; empty: none."""
    after_close: AfterClose = ""

    def parameters(self) -> dict[str, str | datetime]:
        """As the SQL files name them."""
        return {
            "window_start": self.start,
            "window_end": self.end,
            "lines_end": self.lines_end,
            "unsent_since": self.unsent_since,
            "tenant_id": self.tenant_id,
        }


def window_from(body: Mapping[str, Any], now: datetime) -> Window:
    """The window that a request body asks for: ``depth``, or ``from`` and ``to`` (RFC 3339).

    Raises:
        RequestError: with every problem of the body.
    """
    problems = [
        f"{name}: is not known: use {', '.join(sorted(_FIELDS))}" for name in body if name not in _FIELDS
    ]
    depth = body.get("depth", "recent")
    if not isinstance(depth, str) or depth not in DEPTHS:
        problems.append(f"depth: must be one of {', '.join(DEPTHS)}")
        depth = "recent"
    tenant_id = body.get("tenant", "")
    if not isinstance(tenant_id, str) or (tenant_id and not TENANT_ID.fullmatch(tenant_id)):
        problems.append(f"tenant: must match {TENANT_ID.pattern}")
    dry_run = body.get("dry_run", False)
    if not isinstance(dry_run, bool):
        problems.append("dry_run: must be true or false")
    price_version = body.get("price_version", "")
    if not isinstance(price_version, str) or ("price_version" in body and not price_version):
        problems.append("price_version: must be a price version of the catalogue")
    span = _span(body, problems)
    if problems:
        raise RequestError(problems)
    hour = now.replace(minute=0, second=0, microsecond=0)
    if span is not None and not dry_run and span[0] < hour - OLDEST_RANGE:
        days = OLDEST_RANGE.days
        raise RequestError(
            [f"from: is more than {days} days ago, where no invoice reaches; dry_run may look"]
        )
    if span is None:
        start, end, lines_end = hour - DEPTHS[depth], hour + _HOUR, _END_OF_TIME
    else:
        depth, (start, end) = "range", span
        lines_end = end
    oldest_unsent = hour - _UNSENT.get(depth, _UNSENT["recent"])
    return Window(
        depth=depth,
        start=start,
        end=end,
        lines_end=lines_end,
        unsent_since=min(start, oldest_unsent),
        tenant_id=tenant_id,
        dry_run=dry_run,
        price_version=price_version,
    )


def _span(body: Mapping[str, Any], problems: list[str]) -> tuple[datetime, datetime] | None:
    """Whole hours around ``from`` and ``to``; None when neither is given."""
    if "from" not in body and "to" not in body:
        return None
    moments = [_moment(body, name, problems) for name in ("from", "to")]
    start, end = moments
    if start is None or end is None:
        return None
    if start >= end:
        problems.append("from: must be before to")
        return None
    floor = end.replace(minute=0, second=0, microsecond=0)
    return start.replace(minute=0, second=0, microsecond=0), floor if floor == end else floor + _HOUR


def _moment(body: Mapping[str, Any], name: str, problems: list[str]) -> datetime | None:
    text = body.get(name)
    if not isinstance(text, str):
        problems.append(f"{name}: must be an RFC 3339 timestamp; from and to go together")
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        problems.append(f"{name}: must be an RFC 3339 timestamp with an offset")
        return None
