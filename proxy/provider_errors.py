"""Failures behind the gateway, told to the client in the gateway's own words."""

from __future__ import annotations

import json
import re
from typing import Final

from proxy.errors import ApiError
from proxy.wire import Call

_LITELLM_PREFIX: Final = re.compile(r"^(litellm\.)?\w+Error: ")
_FOREIGN: Final = re.compile(r"litellm|exception|traceback|object has no", re.IGNORECASE)
"""Marks a text that speaks of LiteLLM's inside."""
_LONGEST: Final = 500
"""Characters of a foreign text that are passed on."""


def shaped(status: int, body: bytes, calls: list[Call]) -> ApiError:
    """A failure in our own words: LiteLLM's texts tell of its routing, and of models that others use.

    What the provider itself said is passed on: it concerns the tenant's own request.
    """
    if not calls:  # refused before any provider was asked
        if status >= 500:
            return ApiError(status, "internal_error", "the gateway failed: try again")
        return ApiError(status, "invalid_request", _refusal(_text(body) or ""))
    last = calls[-1]
    if last.status is None:
        timed_out = status in (408, 504)
        text = "the provider did not answer" + (" in time" if timed_out else "")
        return ApiError(504 if timed_out else 502, "provider_unavailable", text)
    said = _text(last.body) if last.status >= 400 else None
    if said is None:
        return ApiError(502, "provider_error", "the provider's answer could not be understood")
    code = "provider_rate_limited" if status == 429 else "provider_error"
    if last.status in (401, 403):  # the gateway's own key: the tenant would look for the fault in his
        return ApiError(502, "provider_error", "the provider refused the gateway's access")
    return ApiError(status, code, f"the provider answered: {said}")


def _refusal(text: str) -> str:
    """What LiteLLM says of a request that it can't send on, if it speaks of the request at all."""
    if "Image URL" in text:
        return "pictures are not fetched for you: send them inline, as data URLs"
    plain = _LITELLM_PREFIX.sub("", text.partition(" To drop")[0])
    first = (plain.splitlines() or [""])[0]
    if not first or _FOREIGN.search(first):
        return "the request can't be understood: check its parameters"
    return first


def _text(body: bytes) -> str | None:
    try:
        error = json.loads(body).get("error")
    except (ValueError, AttributeError):
        return None
    text = error.get("message") if isinstance(error, dict) else error
    return text[:_LONGEST] if isinstance(text, str) else None
