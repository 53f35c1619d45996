"""The model catalogue: what the gateway serves and what it costs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

from tallygate.clock import parse_rfc3339
from tallygate.records import TokenCounts
from tallygate.schemas import ConfigurationError, load_json

Mode = Literal["chat", "completion", "embedding"]
VERTEX_AI: Final = "vertex_ai"
"""The provider that is called as the gateway's own identity, without a key."""

_PICO_PER_NANO: Final = 1000


@dataclass(frozen=True, slots=True)
class Price:
    """What a token costs by class, in pico-USD (10^-12 USD), from a moment on."""

    price_version: str
    effective_from: datetime
    input: int
    cached_input: int
    cache_write: int
    output: int

    def cost_nano_usd(self, tokens: TokenCounts) -> int:
        """The cost of one request in nano-USD: exact in pico-USD, rounded once, half up."""
        pico = (
            tokens.input * self.input
            + tokens.cached_input * self.cached_input
            + tokens.cache_write * self.cache_write
            + tokens.output * self.output
        )
        return (pico + _PICO_PER_NANO // 2) // _PICO_PER_NANO


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue."""

    name: str
    provider: str
    provider_model: str
    mode: Mode
    price_class: str
    prices: tuple[Price, ...]
    """By ``effective_from``, ascending."""
    fallbacks: tuple[str, ...]
    timeout_seconds: float
    retries: int
    max_output_tokens: int
    api_base: str | None
    api_key_env: str | None
    """None: of Vertex AI."""

    def price_at(self, moment: datetime) -> Price | None:
        """The price in force at a moment; None before the first."""
        after = bisect_right(self.prices, moment, key=lambda price: price.effective_from)
        return self.prices[after - 1] if after else None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models by name."""

    models: Mapping[str, Model]


def usd(nano_usd: int) -> str:
    """Nano-USD as a decimal text in USD, without an exponent: 1500000 → ``0.0015``."""
    text = format(Decimal(nano_usd).scaleb(-9), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def load_catalogue(path: Path, *, now: datetime) -> Catalogue:
    """Read and check a catalogue.

    Raises:
        ConfigurationError: with every problem: schema, unknown fallbacks, a model without a price in force at
            ``now``, two prices of one version or moment.
    """
    content = load_json(path, "catalogue")
    models = {name: _model(name, entry) for name, entry in content["models"].items()}
    problems = [
        f"{path}: model {model.name!r}: {problem}"
        for model in models.values()
        for problem in _problems(model, models, now)
    ]
    if problems:
        raise ConfigurationError(problems)
    return Catalogue(models=models)


def _problems(model: Model, models: Mapping[str, Model], now: datetime) -> list[str]:
    problems = []
    if model.price_at(now) is None:
        problems.append(
            f"no price is in force: give one whose effective_from is not after {now:%Y-%m-%dT%H:%M:%SZ}"
        )
    if len({price.price_version for price in model.prices}) < len(model.prices):
        problems.append("two prices share a price_version: each needs its own")
    if len({price.effective_from for price in model.prices}) < len(model.prices):
        problems.append("two prices start at the same moment: one effective_from, one price")
    for fallback in model.fallbacks:
        if fallback == model.name:
            problems.append("falls back to itself: name another model")
        elif fallback not in models:
            problems.append(f"falls back to {fallback!r}, which is not in the catalogue")
        elif models[fallback].mode != model.mode:
            problems.append(
                f"falls back to {fallback!r}, whose mode is {models[fallback].mode}, not {model.mode}"
            )
        elif (model.provider, models[fallback].provider) == ("anthropic", VERTEX_AI):
            problems.append(
                f"falls back to {fallback!r} of Vertex AI, which would cost its prompt caching: name another"
            )
    return problems


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    prices = sorted((_price(p) for p in entry["prices"]), key=lambda price: price.effective_from)
    return Model(
        name=name,
        provider=entry["provider"],
        provider_model=entry["provider_model"],
        mode=entry["mode"],
        price_class=entry["price_class"],
        prices=tuple(prices),
        fallbacks=tuple(entry.get("fallbacks", ())),
        timeout_seconds=entry.get("timeout_seconds", 600),
        retries=entry.get("retries", 2),
        max_output_tokens=entry["max_output_tokens"],
        api_base=entry.get("api_base"),
        api_key_env=entry.get("api_key_env"),
    )


def _price(entry: Mapping[str, Any]) -> Price:
    return Price(
        price_version=entry["price_version"],
        effective_from=parse_rfc3339(entry["effective_from"]),
        **entry["pico_usd_per_token"],
    )
