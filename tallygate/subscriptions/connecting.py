"""Where Stripe sends its events: one event destination for each webhook, made and changed from here.

The signing secret is told once, when a destination is made. The version under which it was kept is noted in
the destination's metadata, so that later runs see whether it is still there without reading any secret.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import stripe

from tallygate.subscriptions.events import THIN_EVENTS

NAME: Final = "tallygate"
VERSION_KEY: Final = "tallygate_secret_version"
_PAGE: Final = 100

Outcome = Literal["made", "rolled", "changed", "unchanged"]


class ConnectError(Exception):
    """The webhook can't be connected; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A destination that sends to the webhook, and what was done."""

    destination_id: str
    outcome: Outcome


def connect_webhook(
    client: stripe.StripeClient,
    url: str,
    *,
    kept: Collection[str],
    keep: Callable[[str], str],
    roll: bool = False,
) -> Connection:
    """Make the destination for a URL, with its secret kept; or bring the one that is there up to date.

    ``kept``: versions of the signing secret that are in use; ``keep`` adds one and tells its version.
    A URL never gets a second destination for good: with ``roll`` a new one takes the old one's place. Its
    secret is kept before the old one goes, events of both are accepted until then, and each event is stored
    once under its id.

    Raises:
        ConnectError: when the destination that is there was not made here, or its secret was lost.
        stripe.StripeError: when Stripe does not answer; run it again.
    """
    there = [one for one in _destinations(client) if _url(one) == url]
    foreign = [one.id for one in there if one.name != NAME]
    if foreign:
        raise ConnectError(
            f"{', '.join(foreign)} sends to {url} and was not made here: delete it in the Dashboard, or let "
            "it be and use another URL"
        )
    if not there:
        return Connection(_make(client, url, keep), "made")
    if roll:
        made = _make(client, url, keep)
        for one in there:
            client.v2.core.event_destinations.delete(one.id)
        return Connection(made, "rolled")
    ours = [one for one in there if _version_of(one) in kept]
    if len(ours) != 1 or len(there) != 1:
        raise ConnectError(
            f"{', '.join(one.id for one in there)} sends to {url}, but its signing secret is not "
            "kept: a run was cut off, or its version was disabled. --roll makes a new one"
        )
    return _brought_up_to_date(client, ours[0])


def _brought_up_to_date(client: stripe.StripeClient, found: Any) -> Connection:
    changed = False
    if sorted(found.enabled_events) != sorted(THIN_EVENTS):
        client.v2.core.event_destinations.update(found.id, {"enabled_events": list(THIN_EVENTS)})
        changed = True
    if found.status != "enabled":
        client.v2.core.event_destinations.enable(found.id)
        changed = True
    return Connection(found.id, "changed" if changed else "unchanged")


def _make(client: stripe.StripeClient, url: str, keep: Callable[[str], object]) -> str:
    made = client.v2.core.event_destinations.create(
        {
            "name": NAME,
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": list(THIN_EVENTS),
            "webhook_endpoint": {"url": url},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )
    secret = None if made.webhook_endpoint is None else made.webhook_endpoint.signing_secret
    if secret is None:
        client.v2.core.event_destinations.delete(made.id)
        raise ConnectError(
            "Stripe told no signing secret: check that the API key may make event destinations"
        )
    try:
        version = keep(secret)
    except BaseException:
        # nobody could verify what it sends, so it must not stay
        client.v2.core.event_destinations.delete(made.id)
        raise
    noted: Any = {"metadata": {VERSION_KEY: version}}
    client.v2.core.event_destinations.update(made.id, noted)
    return made.id


def _destinations(client: stripe.StripeClient) -> list[Any]:
    params: Any = {"include": ["webhook_endpoint.url"], "limit": _PAGE}
    return list(client.v2.core.event_destinations.list(params).auto_paging_iter())


def _version_of(found: Any) -> str | None:
    return None if found.metadata is None else found.metadata.to_dict().get(VERSION_KEY)


def _url(found: Any) -> str | None:
    hook = found.webhook_endpoint
    url: str | None = None if hook is None else hook.url
    return url
