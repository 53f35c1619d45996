"""A folder's inputs and outputs as Markdown, from its own files."""

from __future__ import annotations

import re
from pathlib import Path

START = "<!-- inputs and outputs -->"
END = "<!-- end -->"


def tables(folder: Path) -> str:
    """What the README of a folder says of its inputs and outputs."""
    inputs = [
        f"| `{name}` | {_description(block)} | {_default(block)} |"
        for name, block in _blocks(folder / "variables.tf", "variable")
    ]
    outputs = [
        f"| `{name}` | {_description(block)} |" for name, block in _blocks(folder / "outputs.tf", "output")
    ]
    return "\n".join(
        [
            *("| input | what it says | default |", "|---|---|---|", *inputs, ""),
            *("| output | what it says |", "|---|---|", *outputs),
        ]
    )


def with_tables(readme: str, folder: Path) -> str:
    """The README with the tables as they should be."""
    found = re.search(f"{START}\n.*?{END}", readme, re.DOTALL)
    if found is None:
        raise ValueError(f"{folder}/README.md lacks the lines {START} and {END}")
    return readme.replace(found[0], f"{START}\n{tables(folder)}\n{END}")


def _blocks(path: Path, kind: str) -> list[tuple[str, str]]:
    parts = re.split(rf'^{kind} "(\w+)" \{{$', path.read_text(), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _description(block: str) -> str:
    found = re.search(r'^  description = "(.*)"$', block, re.MULTILINE)
    assert found is not None, block
    return found[1].replace('\\"', '"').replace("|", "\\|")


def _default(block: str) -> str:
    found = re.search(r"^  default\s+= (.*)$", block, re.MULTILINE)
    if found is None:
        return "needed"
    return "see the file" if found[1] in ("{", "[") else f"`{found[1]}`"
