"""``expand``: ids in an answer replaced by the objects that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sandbox.stripe.errors import bad_parameter
from sandbox.stripe.store import Document

Find = Callable[[str], Document]
"""The object of an id, as the API shows it."""
DEPTH: Final = 4


def expand(answer: Document, paths: Sequence[str], finders: Mapping[str, Find]) -> None:
    """Expand each path in place; ``finders`` say how objects are found, by the prefix of their ids.

    Raises:
        StripeRefusalError: 400 for a path that is too deep or leads to nothing that can be expanded.
    """
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEPTH:
            raise bad_parameter(
                f"You cannot expand more than {DEPTH} levels of a property (property: {path}).",
                "expand",
                None,
            )
        _expand(answer, steps, path, finders)


def _expand(node: Any, steps: Sequence[str], path: str, finders: Mapping[str, Find]) -> None:
    if isinstance(node, list):
        for one in node:
            _expand(one, steps, path, finders)
        return
    if not isinstance(node, dict) or steps[0] not in node:
        raise bad_parameter(f"This property cannot be expanded ({path}).", "expand", None)
    value = node[steps[0]]
    if isinstance(value, str):
        value = node[steps[0]] = _found(value, path, finders)
    if value is None or (isinstance(value, list) and not value):
        return  # nothing there to expand, which is no mistake
    if len(steps) > 1:
        _expand(value, steps[1:], path, finders)


def _found(object_id: str, path: str, finders: Mapping[str, Find]) -> Document:
    find = finders.get(object_id.partition("_")[0])
    if find is None:
        raise bad_parameter(f"This property cannot be expanded ({path}).", "expand", None)
    return find(object_id)
