"""Documents keep their word: links resolve, decisions are whole, nothing names a place that readers lack."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from sandbox.layout import REPOSITORY

_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_REGISTRIES: Final = (
    "registry.terraform.io",
    "pypi.org",
    "files.pythonhosted",
    "registry.npmjs",
    "proxy.golang",
)
_MAY_NAME_REGISTRIES: Final = {
    "tests/docs/test_documents.py",
    "tests/terraform/stand_in.py",
    "tests/terraform/conftest.py",
}
"""Terraform itself prefixes provider addresses with its registry's name."""
_DECISION_PARTS: Final = ["Context", "Decision", "Consequences", "Turned down"]


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for name in listed.stdout.splitlines() if (path := REPOSITORY / name).is_file()]


DOCUMENTS: Final = tracked("*.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_within_the_repository_resolves(document: Path) -> None:
    for target in _LINK.findall(document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (document.parent / name).resolve() if name else document
        assert found.exists(), f"{document}: {target} leads nowhere"
        if anchor:
            anchors = {_anchor(heading) for heading in _HEADING.findall(found.read_text())}
            assert anchor in anchors, f"{document}: {found} has no heading for #{anchor}"


def _anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", tracked("docs/decisions/[0-9]*.md"), ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts_and_a_number_of_its_own(page: Path) -> None:
    title, *parts = _HEADING.findall(page.read_text())

    assert parts == _DECISION_PARTS, page
    assert title.startswith(page.name[:4]), f"{page}: the title must begin with its number"
    assert [other.name for other in page.parent.glob(f"{page.name[:4]}-*")] == [page.name]


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    for path in tracked():
        name = str(path.relative_to(REPOSITORY))
        if path.suffix in (".gz", ".png") or name in _MAY_NAME_REGISTRIES:
            continue
        text = path.read_text()
        for word in (*_REGISTRIES, "/" + "root/", "/" + "work/"):
            assert word not in text, f"{name} names {word}"
