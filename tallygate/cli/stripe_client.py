"""Stripe as the operators' commands reach it: by a key of the operator's own, else by the functions'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import stripe
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from tallygate.cli.errors import OperatorError
from tallygate.secrets import STRIPE_API_KEY, SecretMissingError, Secrets
from tallygate.stripe_key import check_mode
from tallygate.subscriptions.settings import SyncSettings

KEY_VARIABLE: Final = "STRIPE_API_KEY"
_RETRIES: Final = 2


def stripe_client(settings: SyncSettings) -> stripe.StripeClient:
    """A client for the account of the environment.

    Raises:
        OperatorError: when there is no key.
        ConfigurationError: when the key is of the other mode.
    """
    key = operators_key(settings.secrets)
    check_mode(key, livemode=settings.livemode)
    base = settings.stripe_api_base
    return stripe.StripeClient(
        key, base_addresses={"api": base} if base else None, max_network_retries=_RETRIES
    )


def operators_key(secrets: Secrets) -> str:
    """The key that commands call Stripe with.

    ``STRIPE_API_KEY``, the name that Stripe's own tools read, comes before the functions' secret: in Google
    Cloud nobody needs the right to read that one, and its reading pages.

    Raises:
        OperatorError: when there is none.
    """
    own = os.environ.get(KEY_VARIABLE)
    if own:
        return own
    try:
        return secrets.newest(STRIPE_API_KEY)[0]
    except SecretMissingError as error:
        raise OperatorError(
            f"{error}: set {KEY_VARIABLE} to a key of your own, or 'tallygate secrets set {STRIPE_API_KEY}'"
        ) from error
    except (GoogleAPIError, GoogleAuthError) as error:
        raise OperatorError(
            f"secret {STRIPE_API_KEY} can't be read ({error}): set {KEY_VARIABLE} to a key of your own"
        ) from error


@contextmanager
def told_by_stripe() -> Iterator[None]:
    """Turn what Stripe refuses into a word to the operator.

    Raises:
        OperatorError: for every error of the SDK.
    """
    try:
        yield
    except stripe.StripeError as error:
        raise OperatorError(f"Stripe: {error.user_message or error}: mend it, then run this again") from error
