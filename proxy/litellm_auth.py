"""Who may call LiteLLM: the gateway in this process alone; everything else is decided there.

Given to LiteLLM's application in place of its own authentication, so that it skips its look-ups of keys,
teams and budgets, of which there are none here: a tenth of its work on a request.
"""

from __future__ import annotations

import hmac

from fastapi import HTTPException, Request
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth

_expected = [""]


def expect(master_key: str) -> None:
    """Say which key the gateway presents."""
    _expected[0] = f"Bearer {master_key}" if master_key else ""


async def only_the_gateway(request: Request) -> UserAPIKeyAuth:
    """LiteLLM's caller.

    Raises:
        HTTPException: 401 for another key than the gateway's.
    """
    presented = request.headers.get("authorization", "")
    if not _expected[0] or not hmac.compare_digest(presented.encode(), _expected[0].encode()):
        raise HTTPException(401, "only the gateway may call")
    return UserAPIKeyAuth(api_key=None, user_role=LitellmUserRoles.PROXY_ADMIN)
