"""Errors in the shape of the API that was called."""

from __future__ import annotations

import json
from typing import Any, Final

from proxy.paths import Api

_OPENAI_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """A request is refused or failed; the text says what to do."""

    def __init__(self, status: int, code: str, text: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.retry_after_seconds = retry_after_seconds

    def body(self, api: Api) -> bytes:
        """The answer's body; ``code`` is machine-readable in both shapes."""
        return json.dumps(_content(api, self.status, self.code, self.text)).encode()


def _content(api: Api, status: int, code: str, text: str) -> dict[str, Any]:
    if api == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": text, "code": code}}
    kind = _OPENAI_TYPES.get(status, "server_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}
