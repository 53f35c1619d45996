"""Stripe's API key: which of the account's two modes it opens."""

from __future__ import annotations

from tallygate.schemas import ConfigurationError


def check_mode(key: str, *, livemode: bool) -> None:
    """A key of the other mode would bill, or follow, the wrong customers.

    Raises:
        ConfigurationError: unless the key is of the mode that ``TALLYGATE_LIVEMODE`` says.
    """
    is_live = "_live_" in key
    if is_live != livemode:
        raise ConfigurationError(
            [
                f"Stripe's API key is a {'live' if is_live else 'test'} key but "
                f"TALLYGATE_LIVEMODE is {'true' if livemode else 'false'}: change one of them"
            ]
        )
