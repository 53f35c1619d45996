"""How each API says that it refuses: bodies, headers and words of errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_ARTICLES: Final = {
    "string": "a string", "integer": "an integer", "number": "a decimal", "boolean": "a boolean",
    "array": "an array", "object": "an object", "null": "null",
}  # fmt: skip


class RefusalError(Exception):
    """The provider refuses a request; carries the HTTP status and what else its answer says."""

    def __init__(
        self,
        status: int,
        text: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int = 0,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after = retry_after
        """Seconds; told with a 429."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One provider's manners."""

    name: str
    id_header: str
    """Tells a request's id in the answer."""
    error: Callable[[RefusalError, str], Mapping[str, Any]]
    """The body of an error, given the request's id."""
    missing: Callable[[str], RefusalError]
    wrong_type: Callable[[str, str, str], RefusalError]
    """Given the parameter, what it should be and what it is."""
    out_of_range: Callable[[str, str, float], RefusalError]
    """Given the parameter, ``"minimum"`` or ``"maximum"`` and the bound."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """On every answer."""


_OPENAI_TYPES: Final = {
    429: "requests",
    500: "server_error",
    502: "server_error",
    503: "server_error",
}
_OPENAI_CODES: Final = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def _openai_error(refusal: RefusalError, _: str) -> Mapping[str, Any]:
    return {
        "error": {
            "message": str(refusal),
            "type": _OPENAI_TYPES.get(refusal.status, "invalid_request_error"),
            "param": refusal.param,
            "code": refusal.code or _OPENAI_CODES.get(refusal.status),
        }
    }


def _openai_missing(param: str) -> RefusalError:
    text = f"Missing required parameter: '{param}'."
    return RefusalError(400, text, param=param, code="missing_required_parameter")


def _openai_type(param: str, wanted: str, found: str) -> RefusalError:
    text = f"Invalid type for '{param}': expected {_ARTICLES[wanted]}, but got {_ARTICLES[found]} instead."
    return RefusalError(400, text, param=param, code="invalid_type")


def _openai_range(param: str, bound: str, value: float) -> RefusalError:
    side, sign, short = ("below", ">=", "min") if bound == "minimum" else ("above", "<=", "max")
    text = f"Invalid '{param}': value {side} the {bound}. Expected a value {sign} {value}."
    return RefusalError(400, text, param=param, code=f"integer_{side}_{short}_value")


_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _anthropic_error(refusal: RefusalError, request_id: str) -> Mapping[str, Any]:
    kind = _ANTHROPIC_TYPES.get(refusal.status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": str(refusal)},
        "request_id": request_id,
    }


def _anthropic_type(param: str, wanted: str, _: str) -> RefusalError:
    name = {"array": "list", "object": "dictionary"}.get(wanted, wanted)
    return RefusalError(400, f"{param}: Input should be a valid {name}", param=param)


def _anthropic_range(param: str, bound: str, value: float) -> RefusalError:
    side = "greater than" if bound == "minimum" else "less than"
    return RefusalError(400, f"{param}: Input should be {side} or equal to {value}", param=param)


OPENAI: Final = Dialect(
    "openai",
    "x-request-id",
    _openai_error,
    _openai_missing,
    _openai_type,
    _openai_range,
    {
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-tokens": "30ms",
    },
)
ANTHROPIC: Final = Dialect(
    "anthropic",
    "request-id",
    _anthropic_error,
    lambda param: RefusalError(400, f"{param}: Field required", param=param),
    _anthropic_type,
    _anthropic_range,
    {
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-tokens-limit": "2000000",
        "anthropic-ratelimit-tokens-remaining": "1999000",
    },
)
