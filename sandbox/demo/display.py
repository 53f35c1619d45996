"""What the demo prints: its progress while it works, the proof at the end. Colours only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import stripe
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from sandbox.demo.proof import STAGES, Proof

_COLUMNS: Final = {
    "provider": "provider",
    "waived_upstream": "waived upstream",
    "estimate_error": "estimate error",
    "unrecorded": "unrecorded",
    "events": "events",
    "warehouse": "warehouse",
    "included": "included",
    "waived": "waived",
    "parked": "parked",
    "stripe": "stripe",
    "one_off": "one-off",
    "invoice": "invoice",
}
"""Fields of a row and their headings, from the provider to the invoice."""
_LEAST_WIDTH: Final = 140
_WIDEST: Final = 1000
_SHOWN_FINDINGS: Final = 12


@dataclass(frozen=True, slots=True)
class Display:
    """Where the demo prints."""

    console: Console

    def say(self, text: str) -> None:
        """One step of the work."""
        self.console.print(Text(f"• {text}"))

    @contextmanager
    def counting(self, text: str, total: int) -> Iterator[Any]:
        """A bar on a terminal, one line elsewhere; yields what to call for each thing done."""
        if not self.console.is_terminal:
            self.say(f"{text} ({total})")
            yield lambda: None
            return
        columns = (TextColumn("• {task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.console, transient=False) as progress:
            task = progress.add_task(text, total=total)
            yield lambda: progress.advance(task)


def make_display(*, record: bool = False) -> Display:
    """Prints to stdout; wide enough for the table where no terminal sets the width.

    ``record``: keep what was printed, for a picture.
    """
    console = Console(highlight=False, record=record)
    if not console.is_terminal:
        console = Console(highlight=False, record=record, width=_LEAST_WIDTH)
    return Display(console)


def print_proof(display: Display, proof: Proof) -> None:
    """The table, what it says, and what does not add up."""
    shown = {n: h for n, h in _COLUMNS.items() if any(getattr(row, n) for row in proof.rows)}
    table = Table(
        title="Every quantity from the provider to the invoice",
        title_justify="left",
        box=SIMPLE,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for heading in shown.values():
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True, vertical="bottom")
    tenant = None
    for row in proof.rows:
        if row.tenant_id != tenant:
            tenant = row.tenant_id
            table.add_section()
            table.add_row(Text(tenant, style="bold"))
        table.add_row(f"  {row.meter}", *(_number(getattr(row, name)) for name in shown))
    display.console.print()
    console = display.console
    whole = console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    console.width = max(console.width, whole)  # no number is ever cut off: a narrow terminal wraps lines
    console.print(table)
    display.console.print(Text(_RULES))
    nothing = [heading for name, heading in _COLUMNS.items() if name not in shown]
    if nothing:
        display.console.print(Text(f"0 everywhere, so left out: {', '.join(nothing)}"))
    _print_verdict(display, proof)


_RULES: Final = """Tokens; llm_cost_nano_usd in nano-USD (10⁻⁹ USD).
provider = events + waived upstream + estimate error + unrecorded
events = warehouse = stripe + one-off + included + waived + parked
invoice = stripe + one-off"""


def _number(value: int) -> str:
    return f"{value:,}" if value else "·"


def _print_verdict(display: Display, proof: Proof) -> None:
    if not proof.findings:
        display.console.print(Text("\nbalanced", style="bold green"))
        return
    stages = [stage for stage in STAGES if any(finding.stage == stage for finding in proof.findings)]
    display.console.print(Text("\nunbalanced", style="bold red"))
    for stage in stages:
        display.console.print(Text(f"  at stage '{stage}': {STAGES[stage]}", style="red"))
    for finding in proof.findings[:_SHOWN_FINDINGS]:
        display.console.print(Text(f"    {finding.stage}: {finding.text}"))
    if len(proof.findings) > _SHOWN_FINDINGS:
        display.console.print(Text(f"    … and {len(proof.findings) - _SHOWN_FINDINGS} more"))


def print_invoices(display: Display, invoices: Sequence[stripe.Invoice], tenants: Mapping[str, str]) -> None:
    """One line per final invoice; ``tenants`` by Stripe customer."""
    display.console.print()
    for invoice in invoices:
        tenant = tenants.get(str(invoice.customer), str(invoice.customer))
        amount = f"{invoice.total / 100:,.2f} USD"
        display.console.print(Text(f"invoice {invoice.id}  {tenant:<10} {invoice.status:<6} {amount:>14}"))
