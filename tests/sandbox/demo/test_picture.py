"""The picture in the README is of what the demo prints."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from sandbox.demo.display import _COLUMNS, _RULES
from sandbox.demo.picture import draw
from sandbox.layout import REPOSITORY
from tallygate.records import METERS

PICTURE = REPOSITORY / "docs" / "demo.svg"


def words(path: Path) -> str:
    """The text of a picture, line by line."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())
    return "\n".join(html.unescape(text).replace("\xa0", " ").strip() for text in texts)


def test_a_picture_holds_what_was_printed_and_loads_nothing(tmp_path: Path) -> None:
    console = Console(record=True, file=io.StringIO(), width=60)
    console.print(Text("one <b> & two", style="bold green"))

    draw(console, tmp_path / "picture.svg")

    assert "one <b> & two" in words(tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")  # noqa: S314 - our own
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_the_readmes_picture_is_of_the_demo_as_it_is() -> None:
    """Run python -m sandbox.demo --picture docs/demo.svg when this fails."""
    shown = words(PICTURE)

    assert "docs/demo.svg" in (REPOSITORY / "README.md").read_text()
    assert "\nbalanced\n" in shown
    for line in _RULES.splitlines():
        assert line in shown, f"docs/demo.svg lacks what sandbox/demo/display.py prints: {line}"
    for field in ("provider", "events", "warehouse", "stripe", "invoice"):
        assert re.search(rf"^{_COLUMNS[field]}\b|\s{_COLUMNS[field]}\b", shown), field
    for meter in METERS:
        assert meter in shown, f"docs/demo.svg lacks the meter {meter}"
