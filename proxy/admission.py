"""Decides whether an authenticated tenant's request is served: by status, model, budget and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from proxy.errors import ApiError
from proxy.limits.gate import Gate, Refusal, Ticket
from proxy.paths import Endpoint
from tallygate.catalogue import Catalogue, Model
from tallygate.tenants import Tenant

_REFUSAL_STATUS: Final = {"rate_limited": 429, "budget_exceeded": 402}
_DEFAULT_OUTPUT_TOKENS: Final = 1024
"""Counted against ``tpm`` at admission for a request that sets no maximum; corrected at its end."""
_BYTES_PER_TOKEN: Final = 3
"""A cautious guess of a prompt's tokens, for reservations only."""
_MOST_OUTPUT: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def check_status(tenant: Tenant, now: datetime) -> None:
    """Whether the tenant is served at all.

    Raises:
        ApiError: 403 ``tenant_closed`` or ``tenant_suspended``; a grace that has ended suspends.
    """
    if tenant.serves_at(now):
        return
    if tenant.status == "closed":
        raise ApiError(403, "tenant_closed", "this account is closed")
    if tenant.status == "pending":
        raise ApiError(403, "tenant_suspended", "this account is not active yet: finish the subscription")
    raise ApiError(403, "tenant_suspended", "this account is suspended: check its payment")


def model_for(catalogue: Catalogue, tenant: Tenant, endpoint: Endpoint, name: str) -> Model:
    """The model asked for, if the tenant may use it and the endpoint takes it.

    Raises:
        ApiError: 403 ``model_not_allowed``, the same for a model that does not exist; 400 for another mode.
    """
    model = catalogue.models.get(name)
    if model is None or name not in tenant.models:
        text = "this model is not available to you: GET /v1/models lists those that are"
        raise ApiError(403, "model_not_allowed", text)
    if model.mode not in endpoint.modes:
        raise ApiError(400, "invalid_request", f"{name} is a model for {model.mode}: call its endpoint")
    return model


def fallbacks_for(catalogue: Catalogue, tenant: Tenant, model: Model) -> list[str]:
    """The models that may answer in place of ``model``: only what the tenant may use itself."""
    return [name for name in model.fallbacks if name in tenant.models and name in catalogue.models]


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a request may take, guessed before it is made; settled with what it took."""

    tokens: int
    cost_nano_usd: int


def reservation(model: Model, body: Mapping[str, Any], size: int, now: datetime) -> Reservation:
    """A guess for a request whose body has ``size`` bytes: cautious in money, likely in tokens."""
    prompt = size // _BYTES_PER_TOKEN
    asked = next((body[name] for name in _MOST_OUTPUT if body.get(name) is not None), None)
    answers = int(body.get("n") or 1)
    most = model.max_output_tokens if asked is None else min(asked, model.max_output_tokens)
    likely = min(most, _DEFAULT_OUTPUT_TOKENS) if asked is None else most
    price = model.price_at(now)
    cost = 0
    if price is not None:
        cost = (prompt * max(price.input, price.cache_write) + most * answers * price.output) // 1000
    return Reservation(prompt + likely * answers, cost)


async def admit(gate: Gate, tenant: Tenant, wanted: Reservation) -> Ticket:
    """Take the reservation from the tenant's limits and budget.

    Raises:
        ApiError: 429 ``rate_limited``, 402 ``budget_exceeded``.
    """
    verdict = await gate.admit(tenant, tokens=wanted.tokens, cost_nano_usd=wanted.cost_nano_usd)
    if not isinstance(verdict, Refusal):
        return verdict
    raise ApiError(
        _REFUSAL_STATUS[verdict.code],
        verdict.code,
        verdict.text,
        retry_after_seconds=verdict.retry_after_seconds,
    )
