"""A plan as a comment on a pull request: what changes, whether it may be applied, what it costs.

Names of arguments only, never values: a comment is read by more people than a plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final

from delivery.costs import PRICES, difference
from delivery.plan_policy import Change, changes, refusals

MAX_CHARACTERS: Final = 20_000
"""A comment on GitHub may have 65,536, and holds three environments."""
_ORDER: Final = ("create", "update", "replace", "delete", "forget")
_FEW: Final = 12


def render(plan: Mapping[str, Any], environment: str, labels: Collection[str]) -> str:
    """The comment, as Markdown."""
    planned = changes(plan)
    refused = refusals(plan, environment, labels)
    lines = [f"### {environment}: {_counted(planned)}", ""]
    if refused:
        lines += ["**This plan will not be applied:**", ""]
        lines += [f"- {_code(refusal.address)}: {refusal.reason}." for refusal in refused]
    else:
        lines.append("It may be applied.")
    lines += ["", _cost_line(planned), ""]
    destroyed = [change for change in planned if change.destroys]
    if destroyed:
        lines += ["**Deleted or replaced:**", "", *map(_line, destroyed), ""]
    others = [change for change in planned if not change.destroys]
    if others:
        lines += [
            f"<details><summary>{_counted(others)}</summary>",
            "",
            *map(_line, others),
            "",
            "</details>",
            "",
        ]
    return _shortened("\n".join(lines))


def _counted(planned: Collection[Change]) -> str:
    counts = Counter(change.kind for change in planned)
    return ", ".join(f"{counts[kind]} to {kind}" for kind in _ORDER if counts[kind]) or "no changes"


def _cost_line(planned: Collection[Change]) -> str:
    total = sum(map(difference, planned), Decimal(0))
    amount = "no difference" if not total else f"{'+' if total > 0 else '−'}${abs(total):.2f} a month"
    return f"Cost of what stands there when idle (list prices of {PRICES['as_of']}): {amount}."


def _line(change: Change) -> str:
    names = change.changed_names() if change.kind in ("update", "replace") else []
    shown = ", ".join(map(_code, names[:_FEW])) + (
        f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    )
    return f"- {change.kind} {_code(change.address)}" + (f": {shown}" if shown else "")


def _code(text: str) -> str:
    """As code, so that a name can't become Markdown, a mention or a link."""
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"


def _shortened(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    kept = text[:MAX_CHARACTERS].rpartition("\n")[0]
    return f"{kept}\n\n… shortened: the plan's own file has the rest.\n"
