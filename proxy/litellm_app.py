"""LiteLLM's own application, configured from the catalogue and reached only through the gateway."""

from __future__ import annotations

import gc
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.asgi import App, Message, Receive, Scope, Send
from proxy.output import take_over_loggers
from proxy.settings import CallbackFault
from proxy.usage import texts_of
from proxy.vertex import Place
from tallygate.catalogue import VERTEX_AI, Catalogue, Model
from tallygate.records import TokenCounts

if TYPE_CHECKING:
    from fastapi import FastAPI

ENVIRONMENT: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download at start
    "LITELLM_MODE": "PRODUCTION",  # no .env files
    "LITELLM_LOG": "ERROR",
    "DISABLE_ADMIN_UI": "True",
    "NO_DOCS": "True",
    "NO_REDOC": "True",
    "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0",  # the gateway fetches nothing from addresses that tenants name
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",  # else a stream of 100 equal chunks is broken off
    # A stream makes hundreds of short-lived objects a chunk; looking for cycles less often saves a tenth.
    "PYTHON_GC_THRESHOLD": "20000,20,20",
    # LiteLLM waits between attempts, and once more after the last one.
    "INITIAL_RETRY_DELAY": "0.2",
    "MAX_RETRY_DELAY": "2",
    "JITTER": "0.2",
    "DEFAULT_MAX_RETRIES": "0",  # embeddings take our 0 for "not set", and would retry this often
}
_ABSENT: Final = ("litellm.integrations.otel.logger", "prisma")
"""Optional modules that LiteLLM looks for at every request, in vain: what they need is not installed. Said
once, they are not searched for again."""
_UNUSED: Final = ("litellm_enterprise",)
"""Optional modules that are installed with LiteLLM, for features that need its licence: a twentieth of its
import."""
KEPT_MIDDLEWARE: Final = frozenset({"LazyFeatureMiddleware"})
"""Of LiteLLM's own: it imports the routes of the Messages API at their first call."""
_MOST_COUNTED: Final = 200_000
"""Characters that a tokenizer counts: about a tenth of a second."""
_HTTP_CLIENT_KEYS: Final = "async_httpx_client"
_PROMPTS: Final = ("messages", "system", "input", "instructions", "prompt", "tools", "functions")


def configuration(catalogue: Catalogue, master_key: str, vertex: Place | None = None) -> dict[str, Any]:
    """LiteLLM's configuration. Provider keys stay in the environment, by name."""
    settings: dict[str, Any] = {
        "telemetry": False,
        "drop_params": False,
        "global_disable_no_log_param": True,
        "suppress_debug_info": True,
        "include_cost_in_streaming_usage": False,
    }
    return {
        "model_list": [_deployment(model, vertex) for model in catalogue.models.values()],
        "litellm_settings": settings,
        "general_settings": {
            "master_key": master_key,
            "disable_spend_logs": True,
            "disable_error_logs": True,
            "allow_requests_on_db_unavailable": True,
            "disable_model_info_refresh": True,  # lists the providers' models, at start and for ever
        },
        # Fallbacks come with each request: they depend on what its tenant may use.
        "router_settings": {
            "disable_cooldowns": True,  # one tenant's failures must not turn others away
            "retry_after": 0,
        },
    }


def _deployment(model: Model, vertex: Place | None) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "model": f"{_litellm_provider(model)}/{model.provider_model}",
        **_access(model, vertex),
        "timeout": model.timeout_seconds,
        "stream_timeout": model.timeout_seconds,
        "num_retries": model.retries,
        "max_retries": 0,  # the router retries; the client below it must not
    }
    if model.api_base is not None:
        parameters["api_base"] = model.api_base
    price = model.prices[-1]
    # As information, not as parameters: those LiteLLM registers anew at each request, and drops its caches.
    information = {
        "id": model.name,
        "input_cost_per_token": price.input * 1e-12,
        "output_cost_per_token": price.output * 1e-12,
    }
    return {"model_name": model.name, "litellm_params": parameters, "model_info": information}


def _access(model: Model, vertex: Place | None) -> dict[str, str]:
    """By what a provider lets the gateway in: a key, or its own identity."""
    if model.provider != VERTEX_AI:
        return {"api_key": f"os.environ/{model.api_key_env}"}
    assert vertex is not None
    return {"vertex_project": vertex.project_id, "vertex_location": vertex.location}


def _litellm_provider(model: Model) -> str:
    """Completion models go by LiteLLM's name for OpenAI's text completion API."""
    if model.provider == "openai" and model.mode == "completion":
        return "text-completion-openai"
    return model.provider


def load(
    catalogue: Catalogue, master_key: str, callback_fault: CallbackFault, vertex: Place | None = None
) -> App:
    """Import LiteLLM's proxy, configured; its ASGI application.

    Imports are most of a cold start; without garbage collection they take a fifth less.
    """
    os.environ.update(ENVIRONMENT)
    descriptor, path = tempfile.mkstemp(prefix="tallygate-", suffix=".yaml")  # JSON is YAML
    with os.fdopen(descriptor, "w") as file:
        json.dump(configuration(catalogue, master_key, vertex), file)
    os.environ["CONFIG_FILE_PATH"] = path
    for name in (*_ABSENT, *_UNUSED):
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own sign for a module that is not there
    gc.disable()
    from litellm.proxy import proxy_server

    from proxy.litellm_auth import expect, only_the_gateway

    expect(master_key)
    _serve_only_what_is_asked(proxy_server.app, only_the_gateway)
    gc.freeze()  # without a collection before it, which is a tenth of the start and finds next to nothing
    gc.enable()
    take_over_loggers()
    _listen_on_the_wire()
    if callback_fault:
        from proxy.faulty_callback import install

        install(callback_fault)
    else:
        _run_no_callbacks()
    return _forgetting(cast("App", proxy_server.app), path)


def _serve_only_what_is_asked(app: FastAPI, authentication: Callable[..., object]) -> None:
    """Take out of LiteLLM's application what the gateway before it does, or does not want.

    Both are FastAPI's own ways to configure an application before it starts. Each middleware costs its share
    of every request, and of every chunk of a stream.
    """
    from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

    app.user_middleware[:] = [
        each for each in app.user_middleware if getattr(each.cls, "__name__", "") in KEPT_MIDDLEWARE
    ]
    app.dependency_overrides[user_api_key_auth] = authentication


def _run_no_callbacks() -> None:
    """Spare LiteLLM its accounting after each success: a seventh of a request's CPU, for no callback at all.

    Usage is read at the wire, prices and limits are the gateway's own.
    """
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    def discard(async_coroutine: Coroutine[Any, Any, Any]) -> None:
        async_coroutine.close()

    GLOBAL_LOGGING_WORKER.ensure_initialized_and_enqueue = discard


def _forgetting(app: App, path: str) -> App:
    """The application, which removes its configuration file once it has started."""

    async def forgetting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"].startswith("lifespan.startup."):
                Path(path).unlink(missing_ok=True)
            await send(message)

        await app(scope, receive, watched)

    return forgetting


def _listen_on_the_wire() -> None:
    """Give LiteLLM one HTTP client for all providers, through the two settings that it has for that."""
    import httpx
    import litellm
    from litellm.caching.llm_caching_handler import LLMClientCache
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    from proxy.wire import Tap

    tap = Tap(AsyncHTTPHandler.create_async_transport())
    handler = AsyncHTTPHandler(transport=tap)

    class OneClient(LLMClientCache):  # type: ignore[misc]
        """LiteLLM's cache of clients, which always has the one for its own HTTP handlers."""

        def get_cache(self, key: str, **kwargs: Any) -> Any:
            if key.startswith(_HTTP_CLIENT_KEYS):
                return handler
            return super().get_cache(key, **kwargs)

    litellm.in_memory_llm_clients_cache = OneClient()
    litellm.aclient_session = httpx.AsyncClient(transport=tap, trust_env=False)  # OpenAI's SDK takes this one


def new_master_key() -> str:
    """A key that only this process knows."""
    return "sk-" + secrets.token_urlsafe(32)


def estimate(provider_model: str, body: Mapping[str, Any], text: str) -> TokenCounts:
    """Counts by LiteLLM's tokenizer for the model, from the request's body and the text that came."""
    prompt = texts_of([body.get(name) for name in _PROMPTS])
    return TokenCounts(
        input=max(1, _count(provider_model, prompt)), output=_count(provider_model, text) if text else 0
    )


def _count(provider_model: str, text: str) -> int:
    """Tokens of a text; of a long one's beginning, in proportion: other requests wait meanwhile."""
    import litellm

    counted = text[:_MOST_COUNTED]
    tokens: int = litellm.token_counter(model=provider_model, text=counted)
    return tokens if counted == text else -(-tokens * len(text) // len(counted))
