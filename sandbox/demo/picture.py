"""What the demo printed as a picture: ``make demo`` for readers who have not run it yet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

_FORMAT: Final = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>What make demo prints</title>
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, monospace }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x} {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""
"""With fonts that every machine has: a picture loads nothing from elsewhere."""


def draw(console: Console, path: Path) -> None:
    """Write what a recording console printed as SVG."""
    text = console.export_svg(
        title="make demo", theme=SVG_EXPORT_THEME, code_format=_FORMAT, unique_id="demo"
    )
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
