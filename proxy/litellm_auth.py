"""LiteLLM's hook for authentication: only the gateway before it may call, everything else is decided there.

With the hook LiteLLM skips its own look-ups of keys, teams and budgets, of which there are none here.
"""

from __future__ import annotations

import hmac
from typing import Any

from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth

_expected = [""]


class StrangerError(Exception):
    """A call that does not come from the gateway in this process."""


def expect(master_key: str) -> None:
    """Say which key the gateway presents."""
    _expected[0] = master_key


async def only_the_gateway(request: Any, api_key: str) -> UserAPIKeyAuth:
    """LiteLLM's caller.

    Raises:
        StrangerError: for another key than the gateway's.
    """
    if not _expected[0] or not hmac.compare_digest(api_key.encode(), _expected[0].encode()):
        raise StrangerError
    return UserAPIKeyAuth(api_key=None, user_role=LitellmUserRoles.PROXY_ADMIN)
