"""The endpoints that are served; everything else is 404 without touching LiteLLM.

The paths stand in ``modules/load-balancer/paths.json``, which the load balancer's url map reads too:
``{"paths": [{"path", "methods", "versioned"}]}``; a versioned path is served with and without ``/v1``. A test
compares that file with the endpoints here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Api = Literal["openai", "anthropic"]
Mode = Literal["chat", "completion", "embedding"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of an API that calls a model."""

    name: str
    """The path without ``/v1`` and slash, as the usage event carries it."""
    api: Api
    modes: frozenset[Mode]
    """Modes of the models that it takes."""

    @property
    def path(self) -> str:
        """Where LiteLLM serves it."""
        return f"/v1/{self.name}"


_CHAT: Final[frozenset[Mode]] = frozenset({"chat"})

ENDPOINTS: Final = (
    Endpoint("chat/completions", "openai", _CHAT),
    Endpoint("completions", "openai", frozenset({"completion"})),
    Endpoint("embeddings", "openai", frozenset({"embedding"})),
    Endpoint("responses", "openai", _CHAT),
    Endpoint("messages", "anthropic", _CHAT),
    Endpoint("messages/count_tokens", "anthropic", _CHAT),
)
PROBES: Final = ("/health", "/ready")
"""Answered as soon as the process listens, without asking the database or a provider."""
View = Literal["models", "usage"]
VIEWS: Final[Mapping[str, View]] = {"/models": "models", "/v1/models": "models", "/v1/usage": "usage"}
"""What a tenant may see of itself."""

BY_PATH: Final[Mapping[str, Endpoint]] = {
    path: endpoint for endpoint in ENDPOINTS for path in (f"/{endpoint.name}", f"/v1/{endpoint.name}")
}
