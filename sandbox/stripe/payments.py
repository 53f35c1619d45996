"""Whether payments go through: no money moves, the sandbox decides it for each customer."""

from __future__ import annotations

from typing import Final

from sandbox.stripe.store import Store

WORKS: Final = "works"
DECLINES: Final = "declines"
MISSING: Final = "missing"
OUTCOMES: Final = (WORKS, DECLINES, MISSING)
"""The card pays, the card is declined, there is no card."""
AFTER_FAILURE: Final = ("unpaid", "cancel", "past_due")
"""What becomes of a subscription when the last retry has failed; the first one unless told otherwise."""
_OUTCOME: Final = "payment_outcome"
_SETTING: Final = "payment_setting"
_ACCOUNT: Final = "after_failed_payments"


def outcome_of(store: Store, customer: str) -> str:
    """What comes of a payment of a customer; ``works`` unless told otherwise."""
    found = store.find(_OUTCOME, _key(customer))
    return WORKS if found is None else str(found["outcome"])


def set_outcome(store: Store, customer: str, outcome: str) -> None:
    """Decide what comes of a customer's payments from now on.

    Raises:
        ValueError: for an outcome that is none of ``OUTCOMES``.
        StripeRefusalError: 404 for an unknown customer.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}, not {outcome!r}")
    store.get("customer", customer)
    _keep(store, _OUTCOME, {"id": _key(customer), "outcome": outcome})


def _key(customer: str) -> str:
    return f"payment:{customer}"


def after_failure(store: Store) -> str:
    """What becomes of a subscription when the last retry has failed (a Dashboard setting at Stripe)."""
    found = store.find(_SETTING, _ACCOUNT)
    return AFTER_FAILURE[0] if found is None else str(found["value"])


def set_after_failure(store: Store, value: str) -> None:
    """Change that setting.

    Raises:
        ValueError: for a value that is none of ``AFTER_FAILURE``.
    """
    if value not in AFTER_FAILURE:
        raise ValueError(f"after_failed_payments must be one of {', '.join(AFTER_FAILURE)}, not {value!r}")
    _keep(store, _SETTING, {"id": _ACCOUNT, "value": value})


def _keep(store: Store, kind: str, document: dict[str, str]) -> None:
    if store.find(kind, document["id"]) is None:
        store.add(kind, document)
    else:
        store.save(document)
