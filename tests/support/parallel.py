"""Which tests share a worker when several run at once (``make test``, pytest-xdist)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from xdist.scheduler import LoadScopeScheduling

TOGETHER: Final = ("tests/e2e", "tests/proxy", "tests/terraform", "tests/observability", "tests/conformance")
"""Folders whose tests share what takes seconds to start: a sandbox, a proxy, Terraform's providers."""
FIRST: Final = ("tests/e2e", "tests/proxy", "tests/terraform", "tests/delivery", "tests/faults")
"""What takes longest, longest first: a long test that starts last is waited for with an idle core."""


def scope(node_id: str) -> str:
    """The unit of work that a test belongs to: its folder among ``TOGETHER``, else its file."""
    file = node_id.split("::", 1)[0]
    return next((folder for folder in TOGETHER if PurePosixPath(file).is_relative_to(folder)), file)


def rank(node_id: str) -> int:
    """Where a test's unit stands in the queue."""
    places = (place for place, folder in enumerate(FIRST) if PurePosixPath(node_id).is_relative_to(folder))
    return next(places, len(FIRST))


class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc]  # ships no types
    """Hands out units of work in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
