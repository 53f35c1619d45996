"""What Stripe refuses, and in which shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

INVALID: Final = "invalid_request_error"
DUPLICATE_EVENT: Final = "duplicate_meter_event"
CONCURRENT: Final = "too_many_concurrent_requests"
_EXPLAINED: Final = "https://stripe.com/docs/error-codes"


@dataclass(slots=True)
class StripeRefusalError(Exception):
    """A request that is answered with an error. ``code`` None: Stripe sends none for it."""

    status: int
    message: str
    code: str | None = None
    kind: str = INVALID
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keeps_work: bool = False
    """What was done before the refusal stays done: a payment that failed was tried."""

    def body(self) -> dict[str, Any]:
        """The answer's body; the same frame in both versions of the API."""
        error = {
            "type": self.kind,
            "code": self.code,
            "doc_url": self.code and f"{_EXPLAINED}/{self.code.replace('_', '-')}",
            "message": self.message,
            "param": self.param,
        }
        return {"error": {name: value for name, value in error.items() if value is not None}}


def declined(*, keeps_work: bool) -> StripeRefusalError:
    """402 for a card that does not pay."""
    return StripeRefusalError(
        402, "Your card was declined.", "card_declined", "card_error", keeps_work=keeps_work
    )


def missing_object(noun: str, object_id: str, param: str = "id") -> StripeRefusalError:
    """404 for an id that names nothing."""
    return StripeRefusalError(404, f"No such {noun}: '{object_id}'", "resource_missing", param=param)


def bad_parameter(
    message: str, param: str | None, code: str | None = "parameter_invalid"
) -> StripeRefusalError:
    """400 for a value that the types allow and the rules do not."""
    return StripeRefusalError(400, message, code, param=param)
