"""The checks, in the order in which a request and its usage travel."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import httpx
from google.api_core.exceptions import GoogleAPIError
from google.cloud import bigquery

from delivery.errors import CannotRunError
from delivery.smoke.site import Place, Result, Site

REPORTER: Final = "usage_reporter"
LATEST_RUN: Final = timedelta(minutes=15)
"""Three runs of the five-minute schedule."""
_TIMEOUT_SECONDS: Final = 120
_POLL_SECONDS: Final = 5.0
_FEW_TOKENS: Final = 16
_PROMPT: Final = "Answer with one word: ready"
_REQUESTS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": _PROMPT}], "max_completion_tokens": _FEW_TOKENS},
    ),
    "completion": ("/v1/completions", {"prompt": _PROMPT, "max_tokens": _FEW_TOKENS}),
    "embedding": ("/v1/embeddings", {"input": _PROMPT}),
}
"""Path and body by the mode of a model."""
_EVENTS: Final = """
SELECT e.request_id, e.tenant_id, e.model, e.total_tokens, e.unpriced
FROM `{ledger}.usage_events` AS e
WHERE e.ended_at >= @since AND e.request_id IN UNNEST(@request_ids)
"""


def run_checks(site: Site, *, tell: Callable[[Result], None]) -> list[Result]:
    """Run every check and tell each result as it comes; a check that fails keeps no other from running."""
    results: list[Result] = []
    with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=site.place.proxy_url.startswith("https")) as http:
        for result in _every(site, http):
            tell(result)
            results.append(result)
    return results


def _every(site: Site, http: httpx.Client) -> Iterator[Result]:
    place = site.place
    since = site.now() - timedelta(minutes=1)  # clocks of two machines
    yield _health(place, http)
    requests: dict[str, str] = {}
    for model, mode in place.models.items():
        result, request_id = _completion(place, http, model, mode)
        if request_id is not None:
            requests[request_id] = model
        yield result
    site.settle()
    yield from _usage_events(site, requests, since)
    yield _reporter(site)
    yield _signed_event(site, http)
    yield _forged_event(site, http)


def _health(place: Place, http: httpx.Client) -> Result:
    status, text = _ask(lambda: http.get(f"{place.proxy_url}/health"))
    return _result("health", status == 200, f"HTTP {status}", text)


def _completion(place: Place, http: httpx.Client, model: str, mode: str) -> tuple[Result, str | None]:
    path, body = _REQUESTS[mode]
    request_id: str | None = None

    def send() -> httpx.Response:
        nonlocal request_id
        answer = http.post(
            f"{place.proxy_url}{path}",
            json={"model": model, **body},
            headers={"authorization": f"Bearer {place.api_key}"},
        )
        request_id = answer.headers.get("x-request-id")
        return answer

    status, text = _ask(send)
    result = _result(f"completion {model}", status == 200, f"HTTP {status}, request {request_id}", text)
    return result, request_id if status == 200 else None


def _usage_events(site: Site, requests: Mapping[str, str], since: Any) -> Iterator[Result]:
    """One usage event per completion, priced and with tokens: looked for until it is there or time is up."""
    found: dict[str, Mapping[str, Any]] = {}
    problem = ""
    deadline = time.monotonic() + site.place.wait_seconds
    while requests:
        try:
            found = {row["request_id"]: row for row in _rows(site, list(requests), since)}
        except GoogleAPIError as error:
            problem = f"; the warehouse answers: {error}"
            break
        if len(found) == len(requests) or time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    for request_id, model in requests.items():
        row = found.get(request_id)
        check = f"usage event {model}"
        if row is None:
            yield Result(check, "failed", f"none of request {request_id}{problem}")
        elif row["unpriced"] or not row["total_tokens"] or row["model"] != model:
            yield Result(check, "failed", f"it says {dict(row)}")
        else:
            yield Result(check, "ok", f"{row['total_tokens']} tokens of {row['tenant_id']}")


def _rows(site: Site, request_ids: list[str], since: Any) -> list[Mapping[str, Any]]:
    parameters = [
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
        bigquery.ArrayQueryParameter("request_ids", "STRING", request_ids),
    ]
    job = site.warehouse().query_and_wait(
        _EVENTS.format(ledger=site.place.ledger),
        job_config=bigquery.QueryJobConfig(query_parameters=parameters),
    )
    return [dict(row.items()) for row in job]


def _reporter(site: Site) -> Result:
    run = site.last_run(REPORTER)
    if run is None:
        return Result("reporter", "failed", f"no run of {REPORTER} left a summary line")
    error = run.fields.get("error")
    if error:
        return Result("reporter", "failed", f"its last run ended with: {error}")
    if run.at is not None and site.now() - run.at > LATEST_RUN:
        return Result("reporter", "failed", f"its last run was at {run.at.isoformat()}: is it paused?")
    counts = {name: run.fields.get(name) for name in ("sealed", "sent", "parked", "rejected", "backlog")}
    return Result("reporter", "ok", ", ".join(f"{name} {count}" for name, count in counts.items()))


def _signed_event(site: Site, http: httpx.Client) -> Result:
    place = site.place
    if place.webhook_secret is None or place.webhook_url is None:
        return Result("webhook", "left out", "no signing secret: set TALLYGATE_SMOKE_WEBHOOK_SECRET")
    status, text = _post_event(site, http, place.webhook_secret)
    return _result("webhook", status == 200, f"HTTP {status} to a signed test event", text)


def _forged_event(site: Site, http: httpx.Client) -> Result:
    if site.place.webhook_url is None:
        return Result("forged event", "left out", "the webhook's URL is not known")
    status, text = _post_event(site, http, f"whsec_{uuid.uuid4().hex}")
    return _result("forged event", status == 400, f"HTTP {status}, and 400 is right", text)


def _post_event(site: Site, http: httpx.Client, secret: str) -> tuple[int, str]:
    """An event of a type that nobody asked for, which the webhook keeps and ignores."""
    seconds = int(site.now().timestamp())
    event = {
        "id": f"evt_smoke_{uuid.uuid4().hex}",
        "object": "event",
        "type": "tallygate.smoke",
        "created": seconds,
        "livemode": site.place.livemode,
        "data": {"object": {"object": "smoke"}},
    }
    body = json.dumps(event).encode()
    signature = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"stripe-signature": f"t={seconds},v1={signature}", "content-type": "application/json"}
    return _ask(lambda: http.post(str(site.place.webhook_url), content=body, headers=headers))


def _ask(call: Callable[[], httpx.Response]) -> tuple[int, str]:
    """Status and text of an answer; status 0 when there is none."""
    try:
        answer = call()
    except httpx.HTTPError as error:
        return 0, f"no answer: {error}"
    return answer.status_code, answer.text[:300]


def _result(check: str, right: bool, detail: str, text: str) -> Result:
    return Result(check, "ok", detail) if right else Result(check, "failed", f"{detail}: {text}")


def require_key(key: str | None, environment: str) -> str:
    """The tenant key that the smoke test calls with.

    Raises:
        CannotRunError: when none is set.
    """
    if not key:
        raise CannotRunError(
            f"TALLYGATE_SMOKE_KEY is not set: make a tenant for smoke tests in {environment} and put its key "
            "into the environment's secrets (docs/playbooks/tasks/onboard-a-tenant.md)"
        )
    return key
