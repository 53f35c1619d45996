"""What a tenant may see of itself: its models, and its usage, budget and limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from proxy.errors import ApiError
from proxy.limits.gate import Gate
from tallygate.appdb import DatabaseUnavailableError
from tallygate.catalogue import Catalogue
from tallygate.clock import rfc3339
from tallygate.records import COST_METER, METERS
from tallygate.spend import REQUESTS, month_after
from tallygate.tenants import Tenant

_RETRY_AFTER_SECONDS: Final = 5


def models(catalogue: Catalogue, tenant: Tenant, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """The tenant's models, in the shape of the API whose client asks."""
    names = [name for name in tenant.models if name in catalogue.models]
    if b"anthropic-version" in headers:
        created = "1970-01-01T00:00:00Z"
        data = [{"type": "model", "id": n, "display_name": n, "created_at": created} for n in names]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return {"data": data, "has_more": False, **ends}
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": "gateway"} for name in names]
    return {"object": "list", "data": entries}


async def usage(gate: Gate, tenant: Tenant) -> dict[str, Any]:
    """The tenant's calendar month (UTC) to date by meter, its budget and its limits.

    Counted by the gateway's instances, up to a second behind; an invoice is made from the usage events.

    Raises:
        ApiError: 503 ``database_unavailable``.
    """
    try:
        standing = await gate.standing(tenant)
    except DatabaseUnavailableError:
        raise ApiError(
            503,
            "database_unavailable",
            "usage can't be read now: try again",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        ) from None
    remaining_requests, remaining_tokens = gate.remaining(tenant)
    return {
        "object": "usage",
        "tenant_id": tenant.tenant_id,
        "period": {
            "start": _first_moment(standing.month),
            "end": _first_moment(month_after(standing.month)),
        },
        "requests": standing.spent[REQUESTS],
        "meters": {meter: standing.spent[meter] for meter in METERS},
        "budget": {
            "limit_nano_usd": tenant.monthly_budget_nano_usd,
            "spent_nano_usd": standing.spent[COST_METER],
            "left_nano_usd": standing.left_nano_usd,
            "warnings_percent": list(standing.warnings_percent),
        },
        "limits": {
            "requests_per_minute": tenant.rpm,
            "tokens_per_minute": tenant.tpm,
            "parallel_requests": tenant.max_parallel,
            "remaining_requests": remaining_requests,
            "remaining_tokens": remaining_tokens,
        },
    }


def _first_moment(month: str) -> str:
    return rfc3339(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC))
