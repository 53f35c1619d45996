"""Plans: how a tenant is charged and what the charge gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tallygate.catalogue import Catalogue
from tallygate.records import BASIS_METERS, COST_METER, ChargeBasis
from tallygate.schemas import ConfigurationError, load_json

_CENTS_PER_NANO_USD: Final = Decimal("0.0000001")
EVERY: Final = "*"
"""Among a plan's models: all that the catalogue has, and will have."""
CLASS: Final = "class:"
"""Before a price class: all models of it that the catalogue has, and will have."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits of one tenant over all instances."""

    rpm: int
    """Requests per minute."""
    tpm: int
    """Tokens per minute."""
    max_parallel: int
    """Requests in flight."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan."""

    name: str
    charge_basis: ChargeBasis
    flat_cents: int | None
    seat_cents: int | None
    unit_cents: Mapping[str, Decimal]
    """By billed meter: cents per unit, exact; a markup is in it."""
    models: tuple[str, ...]
    """Catalogue names; classes and ``*`` are resolved."""
    quotas: Quotas
    monthly_budget_nano_usd: int | None


@dataclass(frozen=True, slots=True)
class Plans:
    """All plans by name."""

    plans: Mapping[str, Plan]


def load_plans(path: Path, catalogue: Catalogue) -> Plans:
    """Read and check the plans against the catalogue.

    Raises:
        ConfigurationError: with every problem: schema, unknown models or classes, and under charge basis
            ``tokens`` models or fallbacks of more than one price class.
    """
    content = load_json(path, "plans")
    entries = content["plans"]
    plans = {name: _plan(name, entry, catalogue) for name, entry in entries.items()}
    problems = [
        f"{path}: plan {plan.name!r}: {problem}"
        for plan in plans.values()
        for problem in _problems(plan, entries[plan.name]["models"], catalogue)
    ]
    if problems:
        raise ConfigurationError(problems)
    return Plans(plans=plans)


def _named(entry: str, catalogue: Catalogue) -> list[str]:
    """The models that an entry of a plan names, in the catalogue's order."""
    if entry == EVERY:
        return list(catalogue.models)
    if entry.startswith(CLASS):
        wanted = entry.removeprefix(CLASS)
        return [name for name, model in catalogue.models.items() if model.price_class == wanted]
    return [entry] if entry in catalogue.models else []


def _problems(plan: Plan, entries: Sequence[str], catalogue: Catalogue) -> Iterator[str]:
    known = plan.models
    for entry in entries:
        if _named(entry, catalogue):
            continue
        if entry.startswith(CLASS):
            yield f"names {entry!r}, and no model of the catalogue is of that price class"
        else:
            yield f"names model {entry!r}, which is not in the catalogue"
    if plan.charge_basis != "tokens":
        return
    classes = sorted({catalogue.models[name].price_class for name in known})
    if len(classes) > 1:
        yield (
            f"charges by tokens but its models are of {len(classes)} price classes ({', '.join(classes)}): "
            "make one plan per class, or charge by cost"
        )
    for name in known:
        for fallback in catalogue.models[name].fallbacks:
            if catalogue.models[fallback].price_class != catalogue.models[name].price_class:
                yield (
                    f"charges by tokens but model {name!r} falls back to {fallback!r} of another class: "
                    "remove the fallback, or charge by cost"
                )


def _plan(name: str, entry: Mapping[str, Any], catalogue: Catalogue) -> Plan:
    return Plan(
        name=name,
        charge_basis=entry["charge_basis"],
        flat_cents=entry.get("flat_cents"),
        seat_cents=entry.get("seat_cents"),
        unit_cents=_unit_cents(entry),
        models=tuple(dict.fromkeys(model for one in entry["models"] for model in _named(one, catalogue))),
        quotas=Quotas(**entry["quotas"]),
        monthly_budget_nano_usd=entry["monthly_budget_nano_usd"],
    )


def _unit_cents(entry: Mapping[str, Any]) -> dict[str, Decimal]:
    if entry["charge_basis"] == "cost":
        return {COST_METER: _CENTS_PER_NANO_USD * (100 + entry["markup_percent"]) / 100}
    return {
        meter: Decimal(entry["token_prices_cents"][meter]) for meter in BASIS_METERS[entry["charge_basis"]]
    }
