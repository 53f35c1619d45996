"""CloudEvents 1.0 over HTTP, one JSON event a call: how OpenMeter and others like it take usage.

Such an endpoint deduplicates by ``source`` and ``id`` and answers a repeat like the first time, so that an
accepted event may have been there already: a collision with another ledger's identifier would not show.
Nor does it tell what it has counted: usage that goes there can't be reconciled.
"""

from __future__ import annotations

import threading
from typing import Final

import requests

from tallygate.clock import rfc3339
from tallygate.metering.sinks import Answer, MeterEvent, Verdict

SOURCE: Final = "tallygate/usage-reporter"
CONTENT_TYPE: Final = "application/cloudevents+json"
_TIMEOUT_SECONDS: Final = (3.0, 10.0)
"""To connect, and to wait for bytes."""
_VERDICTS: Final = {
    408: Verdict.UNKNOWN,
    409: Verdict.DUPLICATE,
    425: Verdict.BUSY,
    429: Verdict.BUSY,
    # of the endpoint, not of the event: nothing else would be taken there either
    401: Verdict.NO_ACCESS,
    403: Verdict.NO_ACCESS,
    404: Verdict.NO_ACCESS,
    405: Verdict.NO_ACCESS,
}


class CloudEventsSink:
    """Sends meter events to one endpoint: ``type`` is the meter, ``subject`` the customer."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._local = threading.local()

    def send(self, event: MeterEvent, idempotency_key: str) -> Answer:
        """One call; every error becomes an answer."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": CONTENT_TYPE,
            "Idempotency-Key": idempotency_key,
        }
        body = {
            "specversion": "1.0",
            "id": event.identifier,
            "source": SOURCE,
            "type": event.meter,
            "subject": event.customer,
            "time": rfc3339(event.timestamp),
            "datacontenttype": "application/json",
            "data": {"value": str(event.value)},  # a text: a float would round what is large
        }
        try:
            answer = self._session().post(
                self._url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False
            )
        except requests.RequestException:
            return Answer(Verdict.UNKNOWN, "no_answer")
        return classify(answer.status_code)

    def _session(self) -> requests.Session:
        """One a thread: a session is not made to be shared."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
        return session


def classify(status: int) -> Answer:
    """What a status means for the event that was sent."""
    if 200 <= status < 300:
        return Answer(Verdict.ACCEPTED)
    reason = f"http_{status}"
    if status in _VERDICTS:
        return Answer(_VERDICTS[status], reason)
    if status >= 500:
        return Answer(Verdict.UNKNOWN, reason)
    # a redirect is a wrong address; any other refusal is of this event
    return Answer(Verdict.NO_ACCESS if status < 400 else Verdict.REFUSED, reason)
