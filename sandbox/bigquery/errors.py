"""Errors in BigQuery's shape."""

from __future__ import annotations

from typing import Any, Final

STATUS_OF_REASON: Final = {
    "invalid": 400,
    "invalidQuery": 400,
    "required": 400,
    "stopped": 400,
    "resourceInUse": 400,
    "accessDenied": 403,
    "notFound": 404,
    "duplicate": 409,
    "conditionNotMet": 412,
    "internalError": 500,
    "backendError": 503,
    "notImplemented": 501,
}
"""HTTP status by reason (https://cloud.google.com/bigquery/docs/error-messages)."""


class BigQueryError(Exception):
    """A request or a job that fails as BigQuery would fail it."""

    def __init__(self, reason: str, message: str, *, location: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.location = location

    @property
    def status(self) -> int:
        """The HTTP status that goes with the reason."""
        return STATUS_OF_REASON[self.reason]

    def proto(self) -> dict[str, Any]:
        """The ``ErrorProto`` of a job's status."""
        located = {"location": self.location} if self.location else {}
        return {"reason": self.reason, "message": self.message, **located}

    def body(self) -> dict[str, Any]:
        """The body of an HTTP answer."""
        return error_body(self.status, self.proto())


def error_body(status: int, proto: dict[str, Any]) -> dict[str, Any]:
    """The body of an HTTP answer that carries one ``ErrorProto``."""
    return {
        "error": {
            "code": status,
            "message": proto["message"],
            "errors": [{"domain": "global", **proto}],
            "status": {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 409: "ALREADY_EXISTS"}.get(
                status, "UNKNOWN"
            ),
        }
    }


def invalid_query(message: str) -> BigQueryError:
    """A statement that is refused."""
    return BigQueryError("invalidQuery", message, location="query")
