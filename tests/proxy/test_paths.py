"""One path list for the load balancer and the gateway; nothing outside it is served."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from proxy.paths import ENDPOINTS, PROBES, VIEWS
from sandbox.layout import REPOSITORY
from tests.support.gateway import Instance

PATHS_FILE = REPOSITORY / "modules" / "load-balancer" / "paths.json"


def listed() -> dict[str, set[str]]:
    """Methods by path, with and without ``/v1``, from the load balancer's file."""
    paths: dict[str, set[str]] = {}
    entry: dict[str, Any]
    for entry in json.loads(PATHS_FILE.read_text())["paths"]:
        for prefix in ("", "/v1") if entry["versioned"] else ("",):
            paths[prefix + entry["path"]] = set(entry["methods"])
    return paths


def test_the_load_balancers_list_is_what_the_gateway_serves() -> None:
    served = {f"{prefix}/{endpoint.name}": {"POST"} for endpoint in ENDPOINTS for prefix in ("", "/v1")}
    served |= {path: {"GET"} for path in (*VIEWS, *PROBES)}

    assert listed() == served, f"{PATHS_FILE} and proxy/paths.py differ"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/ui/"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/health/liveliness"),
        ("GET", "/v1/health"),
        ("GET", "/usage"),
        ("GET", "/metrics"),
        ("GET", "/model/info"),
        ("GET", "/sso/key/generate"),
        ("POST", "/key/generate"),
        ("POST", "/v1/models"),
        ("GET", "/v1/chat/completions"),
        ("OPTIONS", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1/../v1/chat/completions"),
        ("POST", "/openai/v1/chat/completions"),
        ("POST", "/anthropic/v1/messages"),
        ("POST", "/v1/images/generations"),
        ("DELETE", "/v1/responses/resp_1"),
    ],
)
def test_a_path_outside_the_list_is_not_found(method: str, path: str, gateway: Instance) -> None:
    """The path goes out as it is: a client that tidies it up would test itself."""
    url = httpx.URL(gateway.url)
    connection = HTTPConnection(url.host, url.port or 80, timeout=10)
    with closing(connection):
        connection.request(method, path, body=b"{}" if method == "POST" else None)
        response = connection.getresponse()
        content = json.loads(response.read())

    assert response.status == 404
    assert content["error"]["code"] == "not_found"
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_probe_needs_no_key(path: str, http: httpx.Client) -> None:
    response = httpx.get(str(http.base_url.join(path)))

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
