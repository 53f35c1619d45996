"""A catalogue and plans that are right, for tests that make one thing of them wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)


def price(
    version: str = "2026-01", effective_from: str = "2026-01-01T00:00:00Z", **pico: float
) -> dict[str, Any]:
    """A price; by class in pico-USD per token."""
    classes = {"input": 150_000, "cached_input": 75_000, "cache_write": 150_000, "output": 600_000}
    return {
        "price_version": version,
        "effective_from": effective_from,
        "pico_usd_per_token": classes | pico,
    }


def model(**changes: Any) -> dict[str, Any]:
    """A model of the catalogue; a change to None removes a field."""
    entry = {
        "provider": "openai",
        "provider_model": "gpt-4o-mini-2024-07-18",
        "mode": "chat",
        "price_class": "small",
        "prices": [price()],
        "max_output_tokens": 16384,
        "api_key_env": "OPENAI_API_KEY",
    } | changes
    return {name: value for name, value in entry.items() if value is not None}


def plan(**changes: Any) -> dict[str, Any]:
    """A plan; a change to None removes a field."""
    entry = {
        "charge_basis": "none",
        "models": ["small"],
        "quotas": {"rpm": 60, "tpm": 1000, "max_parallel": 5},
        "monthly_budget_nano_usd": 10**9,
    } | changes
    return {name: value for name, value in entry.items() if value is not None}


def write(path: Path, content: Any) -> Path:
    """The path, with the content as JSON."""
    path.write_text(json.dumps(content))
    return path
