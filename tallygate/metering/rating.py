"""Rating: gives a price to usage that had none when it happened, each request once.

A rating changes no line and no sealed row. The request's cost is the rating's from then on, and the next seal
of its hour moves what was parked as ``unpriced`` to where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tallygate.catalogue import Catalogue, load_catalogue
from tallygate.metering.fence import FenceError, run_fenced
from tallygate.metering.warehouse import Value, Warehouse
from tallygate.metering.window import RequestError, Window

_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price of the catalogue, as a statement takes it: pico-USD (10^-12 USD) per token by class."""

    model: str
    provider_model: str
    price_version: str
    input_pico: int
    cached_input_pico: int
    cache_write_pico: int
    output_pico: int

    @classmethod
    def columns(cls) -> Mapping[str, str]:
        """The columns' types by name."""
        texts = dict.fromkeys(("model", "provider_model", "price_version"), "STRING")
        picos = ("input_pico", "cached_input_pico", "cache_write_pico", "output_pico")
        return {**texts, **dict.fromkeys(picos, "INT64")}


def prices_from(path: Path | None, price_version: str, now: datetime) -> list[PriceRow]:
    """The prices of the catalogue at ``path`` that bear a version; read anew, so that it is the one in force.

    Raises:
        RequestError: when the catalogue has none, or the setting is missing.
        ConfigurationError: when the catalogue can't be used.
    """
    if path is None:
        raise RequestError(["price_version: TALLYGATE_CATALOGUE is not set: there are no prices to give"])
    return prices_of(load_catalogue(path, now=now), price_version)


def prices_of(catalogue: Catalogue, price_version: str) -> list[PriceRow]:
    """The prices that bear a version, of whichever models. When they come into force does not matter here.

    Raises:
        RequestError: when there is none; names the versions that there are.
    """
    priced = [(model, price) for model in catalogue.models.values() for price in model.prices]
    rows = [
        PriceRow(
            model=model.name,
            provider_model=model.provider_model,
            price_version=price.price_version,
            input_pico=price.input,
            cached_input_pico=price.cached_input,
            cache_write_pico=price.cache_write,
            output_pico=price.output,
        )
        for model, price in priced
        if price.price_version == price_version
    ]
    if not rows:
        known = ", ".join(sorted({price.price_version for _, price in priced}))
        raise RequestError([f"price_version: the catalogue has no {price_version!r}: it has {known}"])
    return rows


def unpriced_usage(warehouse: Warehouse, window: Window, prices: Sequence[PriceRow]) -> list[dict[str, Any]]:
    """For people: requests, tokens and cost in nano-USD that a rating would price, by tenant and model."""
    return warehouse.read("unpriced", {**window.parameters(), "prices": prices})


def rate(
    warehouse: Warehouse,
    window: Window,
    prices: Sequence[PriceRow],
    *,
    ledger_epoch: str,
    now: datetime,
    run_id: str,
) -> int:
    """Give the prices to what the window holds without one; how many requests.

    Raises:
        FenceError: when the statement fails, or other runs kept rating in between.
        JobRunningError, GoogleAPICallError: when an outcome is not known: ask again.
    """
    for _ in range(_ROUNDS):
        if not unpriced_usage(warehouse, window, prices):
            return 0
        ratings = warehouse.read("ratings", {})[0]["ratings"]
        parameters: dict[str, Value] = {
            **window.parameters(),
            "prices": prices,
            "ratings": ratings,
            "now": now,
            "run_id": run_id,
        }
        fenced = run_fenced(warehouse, f"rate-{ledger_epoch}-{ratings}", "rate", parameters)
        if fenced.rows > 0:
            return fenced.rows
    raise FenceError("other runs kept giving prices")
