"""Tenants and their API keys, as the app database keeps them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from tallygate import keys
from tallygate.appdb import Condition, Database, Transaction
from tallygate.clock import parse_rfc3339, rfc3339

TenantStatus = Literal["pending", "active", "grace", "suspended", "closed"]

OperatorStatus = Literal["suspended", "closed"]

TENANT_ID: Final = re.compile(r"[a-z][a-z0-9-]{2,23}")
"""Matches a whole tenant id."""


class RecordError(ValueError):
    """A document of the app database that can't be understood: names the document and the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer of the gateway."""

    tenant_id: str
    status: TenantStatus
    grace_until: str | None
    """RFC 3339; service in status ``grace`` ends then."""
    plan: str
    models: tuple[str, ...]
    rpm: int
    tpm: int
    max_parallel: int
    monthly_budget_nano_usd: int | None
    stripe_customer: str | None
    seats: int = 0
    """Paid for by the subscription; informative, quotas are the plan's."""
    billing_status: TenantStatus | None = None
    """What the subscription alone gives; None while nothing followed Stripe."""
    operator_status: OperatorStatus | None = None
    """Set by an operator: ``status`` is this one, whatever the subscription gives."""
    sync_ticket: int = 0
    """The newest ticket that was taken to follow Stripe."""
    applied_ticket: int = 0
    """The ticket whose state is written here: only a newer one may replace it."""

    def serves_at(self, moment: datetime) -> bool:
        """Whether requests are served: active, or in grace that has not ended."""
        if self.status == "grace":
            return self.grace_until is not None and moment < parse_rfc3339(self.grace_until)
        return self.status == "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as stored: under its hash, never the key itself."""

    key_hash: str
    key_id: str
    tenant_id: str
    label: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None

    def valid_at(self, moment: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        ends = [parse_rfc3339(end) for end in (self.expires_at, self.revoked_at) if end is not None]
        return all(moment < end for end in ends)


def get_tenant(database: Database, tenant_id: str) -> Tenant | None:
    """The tenant, or None.

    Raises:
        RecordError: when the stored document misses a field or holds a value of another kind.
        DatabaseUnavailableError: when the store can't be reached.
    """
    document = database.get("tenants", tenant_id)
    return None if document is None else tenant_from(document)


def put_tenant(database: Database, tenant: Tenant) -> None:
    """Write a tenant that nobody else can be changing: a new one. Others are changed by change_tenant."""
    database.put("tenants", tenant.tenant_id, tenant_document(tenant))


def change_tenant(database: Database, tenant_id: str, change: Callable[[Tenant], Tenant]) -> Tenant:
    """Replace a tenant by what ``change`` makes of it, in one transaction; the new one.

    Raises:
        KeyError: when there is no such tenant.
        RecordError: when the stored document misses a field or holds a value of another kind.
        DatabaseUnavailableError: when the store can't be reached.
    """

    def replace(transaction: Transaction) -> Tenant:
        document = transaction.get("tenants", tenant_id)
        if document is None:
            raise KeyError(tenant_id)
        changed = change(tenant_from(document))
        transaction.put("tenants", tenant_id, tenant_document(changed))
        return changed

    return database.transact(replace)


def tenant_document(tenant: Tenant) -> dict[str, Any]:
    """The document that describes a tenant."""
    return asdict(tenant) | {"models": list(tenant.models)}


def tenant_from(document: Mapping[str, Any]) -> Tenant:
    """The tenant that a document describes.

    Raises:
        RecordError: when it misses a field or holds a value of another kind.
    """
    where = f"tenants/{document.get('tenant_id')}"
    tenant = Tenant(
        tenant_id=_field(document, where, "tenant_id", str),
        status=_field(document, where, "status", str),
        grace_until=_field(document, where, "grace_until", str, optional=True),
        plan=_field(document, where, "plan", str),
        models=tuple(_field(document, where, "models", list)),
        rpm=_field(document, where, "rpm", int),
        tpm=_field(document, where, "tpm", int),
        max_parallel=_field(document, where, "max_parallel", int),
        monthly_budget_nano_usd=_field(document, where, "monthly_budget_nano_usd", int, optional=True),
        stripe_customer=_field(document, where, "stripe_customer", str, optional=True),
        seats=_field(document, where, "seats", int, optional=True) or 0,
        billing_status=_field(document, where, "billing_status", str, optional=True),
        operator_status=_field(document, where, "operator_status", str, optional=True),
        sync_ticket=_field(document, where, "sync_ticket", int),
        applied_ticket=_field(document, where, "applied_ticket", int),
    )
    if not TENANT_ID.fullmatch(tenant.tenant_id):
        raise RecordError(f"{where}: tenant_id does not match {TENANT_ID.pattern}")
    if tenant.status not in get_args(TenantStatus):
        raise RecordError(f"{where}: status {tenant.status!r} is none of {', '.join(get_args(TenantStatus))}")
    return tenant


def issue_key(
    database: Database, tenant_id: str, *, label: str, now: datetime, expires_at: datetime | None = None
) -> keys.MintedKey:
    """Mint and store a key for a tenant; the returned secret exists nowhere else."""
    minted = keys.mint()
    record = ApiKey(
        key_hash=minted.key_hash,
        key_id=minted.key_id,
        tenant_id=tenant_id,
        label=label,
        created_at=rfc3339(now),
        expires_at=None if expires_at is None else rfc3339(expires_at),
    )
    database.put("api_keys", minted.key_hash, asdict(record))
    return minted


def bind_service_account(
    database: Database, tenant_id: str, address: str, *, now: datetime, expires_at: datetime | None = None
) -> ApiKey:
    """Let a service account call for a tenant by its identity tokens; listed and revoked like a key."""
    digest = keys.identity_hash(address)
    record = ApiKey(
        key_hash=digest,
        key_id=keys.key_id(digest),
        tenant_id=tenant_id,
        label=address,
        created_at=rfc3339(now),
        expires_at=None if expires_at is None else rfc3339(expires_at),
    )
    database.put("api_keys", digest, asdict(record))
    return record


def get_key(database: Database, key_hash: str) -> ApiKey | None:
    """The key stored under a hash, or None.

    Raises:
        RecordError: when the stored document misses a field or holds a value of another kind.
        DatabaseUnavailableError: when the store can't be reached.
    """
    document = database.get("api_keys", key_hash)
    return None if document is None else _key_from(document)


def list_keys(database: Database, tenant_id: str) -> list[ApiKey]:
    """All keys of a tenant, revoked and expired ones too, oldest first."""
    rows = database.query("api_keys", [Condition("tenant_id", "==", tenant_id)])
    return sorted((_key_from(document) for _, document in rows), key=lambda key: key.created_at)


def revoke_key(database: Database, key: ApiKey, *, at: datetime) -> None:
    """Make a key worthless from a moment on."""
    database.put("api_keys", key.key_hash, asdict(key) | {"revoked_at": rfc3339(at)})


def end_key(database: Database, key: ApiKey, *, at: datetime) -> None:
    """Let a key expire at a moment: until then it works."""
    database.put("api_keys", key.key_hash, asdict(key) | {"expires_at": rfc3339(at)})


def _key_from(document: Mapping[str, Any]) -> ApiKey:
    where = f"api_keys/{document.get('key_id')}"
    return ApiKey(
        key_hash=_field(document, where, "key_hash", str),
        key_id=_field(document, where, "key_id", str),
        tenant_id=_field(document, where, "tenant_id", str),
        label=_field(document, where, "label", str),
        created_at=_field(document, where, "created_at", str),
        expires_at=_field(document, where, "expires_at", str, optional=True),
        revoked_at=_field(document, where, "revoked_at", str, optional=True),
    )


def _field(
    document: Mapping[str, Any], where: str, name: str, kind: type[Any], *, optional: bool = False
) -> Any:
    value = document.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecordError(f"{where}: {name} must be {kind.__name__}, not {type(value).__name__}")
    return value
