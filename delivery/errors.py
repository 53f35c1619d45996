"""How a step of the pipeline stops, and with which exit code."""

from __future__ import annotations


class DeliveryError(Exception):
    """Something is wrong (exit code 1); carries every problem at once, each saying what to do."""

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CannotRunError(DeliveryError):
    """The step could not do its work at all (exit code 2): for example a tool or a right is missing."""

    exit_code = 2
