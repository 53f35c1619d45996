"""A person's decision about a proposed repair, as a request brings it, and what is answered."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tallygate.leases import Lease
from tallygate.metering.window import RequestError
from tallygate.reconciliation.reconcile import LEASE_DURATION, TRY_AGAIN, Reconciler
from tallygate.reconciliation.remedies import JOB, OutcomeUnknownError
from tallygate.reconciliation.repairs import RepairError

_FIELDS: Final = frozenset({"repair", "decision", "by", "comment"})
_LONGEST: Final = 500
"""Characters of a name or a comment."""
_TRY_AGAIN: Final = (OutcomeUnknownError, *TRY_AGAIN)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decides what."""

    repair_id: str
    approve: bool
    by: str
    """As the person says."""
    comment: str | None
    caller: str | None
    """The identity of the call, where the platform has checked one."""


def decision_from(body: Mapping[str, Any], authorization: str) -> Decision:
    """The decision that a request body makes; ``authorization`` is the header.

    Raises:
        RequestError: with every problem of the body.
    """
    problems = [f"{name}: is not known: use {', '.join(sorted(_FIELDS))}" for name in body.keys() - _FIELDS]
    texts = {name: body.get(name, "") for name in ("repair", "by", "comment")}
    problems += [
        f"{name}: must be a text of at most {_LONGEST} characters"
        for name, text in texts.items()
        if not isinstance(text, str) or len(text) > _LONGEST
    ]
    problems += [f"{name}: is missing: set it" for name in ("repair", "by") if not texts[name]]
    decision = body.get("decision")
    if decision not in ("approve", "reject"):
        problems.append("decision: must be approve or reject")
    if problems:
        raise RequestError(problems)
    return Decision(
        repair_id=texts["repair"],
        approve=decision == "approve",
        by=texts["by"],
        comment=texts["comment"] or None,
        caller=caller_of(authorization),
    )


def decide(reconciler: Reconciler, decision: Decision) -> tuple[dict[str, Any], int]:
    """Carry out a decision: the answer and its status, 200, 409 (it can't be) or 500 (call again)."""
    run_id = uuid.uuid4().hex
    answer: dict[str, Any] = {"run_id": run_id, "repair": decision.repair_id}
    if reconciler.stripe is None:
        return answer | {
            "error": "usage goes elsewhere, not to Stripe: there is nothing to repair there"
        }, 409
    lease = Lease(reconciler.database, reconciler.clock, JOB, run_id, LEASE_DURATION)
    try:
        if not lease.acquire():
            return answer | {"skipped": True}, 200
        try:
            repair = reconciler.workshop(reconciler.warehouse(), run_id).decide(
                decision.repair_id,
                approve=decision.approve,
                by=decision.by,
                caller=decision.caller,
                comment=decision.comment,
            )
        finally:
            lease.release()
    except RepairError as error:
        return answer | {"error": str(error)}, 409
    except _TRY_AGAIN as error:
        return answer | {"error": f"{type(error).__name__}: {error}"}, 500
    return answer | {"state": repair.state, "remedy": repair.remedy, "result": repair.result}, 200


def caller_of(authorization: str) -> str | None:
    """Whose identity token a call bears, None without one.

    The platform's invoker check has verified the token before the function is called, and takes its signature
    out of the header; in the sandbox there is none.
    """
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError):
        return None
    email = claims.get("email") if isinstance(claims, dict) else None
    return email if isinstance(email, str) else None
