"""What the gateway relies on in LiteLLM, beyond its documented settings.

Each test names what breaks without it. An upgrade that changes one of these fails here, not in production:
``docs/playbooks/tasks/upgrade-litellm.md`` says what to do then.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi import HTTPException, Request

from proxy.litellm_app import KEPT_MIDDLEWARE
from proxy.paths import ENDPOINTS, Endpoint
from sandbox.layout import REPOSITORY

LOCK = REPOSITORY / "requirements" / "proxy.txt"
PLAYBOOK = REPOSITORY / "docs" / "playbooks" / "tasks" / "upgrade-litellm.md"
COMPROMISED = "1.107.0"


def test_the_version_is_the_locked_one_and_not_the_compromised_one() -> None:
    (locked,) = re.findall(r"^litellm==(\S+)", LOCK.read_text(), re.MULTILINE)

    assert version("litellm") == locked != COMPROMISED


def test_the_playbook_names_this_file_and_the_compromised_release() -> None:
    text = PLAYBOOK.read_text()

    assert "tests/proxy/test_litellm_pins.py" in text, f"{PLAYBOOK} must name {__file__}"
    assert COMPROMISED in text


def test_one_http_client_serves_all_providers() -> None:
    """Usage is read there: a client that LiteLLM makes beside it would go unmetered."""
    import litellm
    from litellm.caching.llm_caching_handler import LLMClientCache
    from litellm.llms.custom_httpx import http_handler
    from litellm.llms.openai.common_utils import BaseOpenAILLM

    assert isinstance(litellm.in_memory_llm_clients_cache, LLMClientCache)
    assert "get_cache" in vars(LLMClientCache) or hasattr(LLMClientCache, "get_cache")
    assert "litellm.aclient_session" in inspect.getsource(BaseOpenAILLM)
    source = inspect.getsource(http_handler.get_async_httpx_client)
    assert "in_memory_llm_clients_cache" in source
    assert "async_httpx_client" in source, "proxy/litellm_app.py knows the key by its beginning"
    assert "transport" in inspect.signature(http_handler.AsyncHTTPHandler.__init__).parameters
    assert callable(http_handler.AsyncHTTPHandler.create_async_transport)


def test_accounting_after_a_success_goes_through_one_worker() -> None:
    """It is discarded there, as a coroutine under this name; else it costs a seventh of a request's CPU."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER, LoggingWorker

    assert isinstance(GLOBAL_LOGGING_WORKER, LoggingWorker)
    parameters = inspect.signature(LoggingWorker.ensure_initialized_and_enqueue).parameters
    assert list(parameters) == ["self", "async_coroutine"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_the_gateways_authentication_stands_in_for_litellms_own_at_every_route_that_is_served(
    endpoint: Endpoint,
) -> None:
    """FastAPI puts it there; a route that depended on another function would ask for LiteLLM's own keys."""
    decorator = rf'@(?:router|app)\.post\(\s*"{re.escape(endpoint.path)}",.*?\)\n(?=@|async def)'

    (found,) = re.findall(decorator, _sources(), re.DOTALL)

    assert "Depends(user_api_key_auth)" in found, "proxy/litellm_app.py replaces what this route does not use"


def test_of_litellms_middleware_each_is_known_and_only_what_is_needed_is_kept() -> None:
    """A new one is a decision: what it does is either done by the gateway or needed."""
    left_out = {
        # off unless configured; the gateway limits
        "AdmissionControlMiddleware", "RequestSizeLimitMiddleware",
        # no header of theirs passes
        "GZipBufferedResponseMiddleware", "SecurityHeadersMiddleware", "CORSMiddleware",
        # metrics
        "InFlightRequestsMiddleware", "PrometheusAuthMiddleware", "BillableRequestMetricsMiddleware",
        # Redis, and budgets of LiteLLM's own
        "RedisRequestBatchMiddleware", "BudgetReservationReleaseMiddleware",
        # path prefixes, and MCP, which is not served
        "PerRequestRootPathMiddleware", "AuthContextMiddleware",
    }  # fmt: skip

    added = set(re.findall(r"app\.add_middleware\(\s*(\w+)", _sources()))

    assert added == left_out | KEPT_MIDDLEWARE, "LiteLLM's middleware changed: look at what is new or gone"


def _request(key: str) -> Request:
    return Request({"type": "http", "headers": [(b"authorization", f"Bearer {key}".encode())]})


@pytest.mark.parametrize("key", ["", "sk-another", "sk-master ", "sk-m\xe4ster"])
def test_nobody_but_the_gateway_may_call_litellm(key: str) -> None:
    from proxy.litellm_auth import expect, only_the_gateway

    expect("sk-master")
    try:
        assert asyncio.run(only_the_gateway(_request("sk-master"))).user_role == "proxy_admin"
        with pytest.raises(HTTPException):
            asyncio.run(only_the_gateway(_request(key)))
        expect("")
        with pytest.raises(HTTPException):
            asyncio.run(only_the_gateway(_request("")))
    finally:
        expect("")


def test_the_settings_that_the_gateway_gives_are_read() -> None:
    """A renamed setting would be ignored without a word."""
    sources = _sources()

    for name in (
        "disable_spend_logs", "disable_error_logs", "disable_model_info_refresh",
        "allow_requests_on_db_unavailable", "global_disable_no_log_param", "disable_cooldowns",
        "include_cost_in_streaming_usage", "suppress_debug_info", "drop_params",
    ):  # fmt: skip
        assert name in sources, f"proxy/litellm_app.py sets {name}, LiteLLM no longer reads it"


def test_the_environment_that_the_gateway_gives_is_read() -> None:
    from proxy.litellm_app import ENVIRONMENT

    sources = _sources()

    for name in ENVIRONMENT:
        assert name in sources, f"proxy/litellm_app.py sets {name}, LiteLLM no longer reads it"


def test_optional_modules_that_are_declared_absent_are_missing_indeed() -> None:
    """Else the gateway would switch off something that works."""
    from importlib.util import find_spec

    assert find_spec("prisma") is None
    assert find_spec("opentelemetry.sdk") is None if find_spec("opentelemetry") else True


@functools.cache
def _sources() -> str:
    """All of LiteLLM's code."""
    import litellm

    return "\n".join(path.read_text() for path in Path(litellm.__file__).parent.rglob("*.py"))
