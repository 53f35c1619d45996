"""How an operator's command stops."""

from __future__ import annotations


class OperatorError(Exception):
    """What was asked for can't be done; the message says what to do instead."""
