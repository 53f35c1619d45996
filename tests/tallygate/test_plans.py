"""Plans: exact unit prices, checked against the catalogue, every problem told at once."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.layout import REPOSITORY
from tallygate.catalogue import load_catalogue
from tallygate.plans import Plans, load_plans
from tallygate.records import COST_METER, TOKEN_METERS
from tallygate.schemas import ConfigurationError
from tests.tallygate.configuration import NOW, model, plan, price, write

CENTS = dict.fromkeys(TOKEN_METERS, "0.00003")
MODELS = {
    "small": model(),
    "small-too": model(fallbacks=["small"]),
    "large": model(price_class="large"),
    "leaning": model(fallbacks=["large"]),
}


def load(folder: Path, **plans: Any) -> Plans:
    catalogue = load_catalogue(write(folder / "catalogue.json", {"models": MODELS}), now=NOW)
    return load_plans(write(folder / "plans.json", {"plans": plans}), catalogue)


def problems(folder: Path, **plans: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load(folder, **plans)
    return "\n".join(raised.value.problems)


def test_a_plan_without_metered_charge_bills_no_meter(tmp_path: Path) -> None:
    assert load(tmp_path, starter=plan()).plans["starter"].unit_cents == {}


@given(markup=st.integers(0, 1000))
def test_a_markup_lives_in_the_unit_price_exactly(tmp_path: Path, markup: int) -> None:
    bought = load(tmp_path, scale=plan(charge_basis="cost", markup_percent=markup)).plans["scale"]

    assert bought.unit_cents == {COST_METER: Decimal(100 + markup) / 10**9}
    # A billion nano-USD is a dollar: 100 cents and the markup.
    assert bought.unit_cents[COST_METER] * 10**9 == 100 + markup


def test_token_prices_are_taken_as_written(tmp_path: Path) -> None:
    bought = load(tmp_path, team=plan(charge_basis="tokens", token_prices_cents=CENTS)).plans["team"]

    assert bought.unit_cents == dict.fromkeys(TOKEN_METERS, Decimal("0.00003"))


def test_models_of_one_class_may_share_token_prices(tmp_path: Path) -> None:
    entry = plan(charge_basis="tokens", token_prices_cents=CENTS, models=["small", "small-too"])

    assert load(tmp_path, team=entry).plans["team"].models == ("small", "small-too")


def test_a_price_class_names_its_models_and_those_that_come(tmp_path: Path) -> None:
    entry = plan(models=["large", "class:small"])

    bought = load(tmp_path, team=entry).plans["team"]

    assert bought.models == ("large", "small", "small-too", "leaning")


def test_a_star_names_every_model(tmp_path: Path) -> None:
    entry = plan(charge_basis="cost", markup_percent=20, models=["*", "small"])

    assert load(tmp_path, scale=entry).plans["scale"].models == tuple(MODELS)


def test_what_a_plan_names_by_class_is_held_to_the_same_rules(tmp_path: Path) -> None:
    tokens = {"charge_basis": "tokens", "token_prices_cents": CENTS}

    text = problems(
        tmp_path,
        every=plan(**tokens, models=["*"]),
        small=plan(**tokens, models=["class:small"]),
        huge=plan(models=["class:huge"]),
    )

    assert "plan 'every': charges by tokens but its models are of 2 price classes (large, small)" in text
    assert (
        "plan 'small': charges by tokens but model 'leaning' falls back to 'large' of another class" in text
    )
    assert "plan 'huge': names 'class:huge', and no model of the catalogue is of that price class" in text


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_a_new_model_is_sold_by_a_change_of_the_catalogue_alone(tmp_path: Path, environment: str) -> None:
    folder = REPOSITORY / "terraform" / environment
    content = json.loads((folder / "catalogue.json").read_text())
    like = content["models"]["gpt-4o-mini"]
    content["models"]["brand-new"] = like | {"prices": [price("brand-new-2026")], "fallbacks": []}
    catalogue = load_catalogue(write(tmp_path / "catalogue.json", content), now=NOW)

    plans = load_plans(folder / "plans.json", catalogue).plans

    assert {name for name, one in plans.items() if "brand-new" in one.models} == {"team", "scale"}


def test_no_model_may_be_called_like_a_class(tmp_path: Path) -> None:
    path = write(tmp_path / "catalogue.json", {"models": {"class:small": model()}})

    with pytest.raises(ConfigurationError, match="class:small"):
        load_catalogue(path, now=NOW)


def test_every_problem_of_every_plan_is_told_at_once(tmp_path: Path) -> None:
    text = problems(
        tmp_path,
        lost=plan(models=["nobody", "small"]),
        mixed=plan(charge_basis="tokens", token_prices_cents=CENTS, models=["small", "large"]),
        leaning=plan(charge_basis="tokens", token_prices_cents=CENTS, models=["leaning"]),
    )

    assert "plan 'lost': names model 'nobody', which is not in the catalogue" in text
    assert "plan 'mixed': charges by tokens but its models are of 2 price classes (large, small)" in text
    assert (
        "plan 'leaning': charges by tokens but model 'leaning' falls back to 'large' of another class" in text
    )


def test_by_cost_a_fallback_to_another_class_is_fine(tmp_path: Path) -> None:
    load(tmp_path, scale=plan(charge_basis="cost", markup_percent=20, models=["leaning", "large"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"charge_basis": "both"}, "'both' is not one of"),
        ({"charge_basis": "tokens"}, "'token_prices_cents' is a required property"),
        ({"charge_basis": "cost"}, "'markup_percent' is a required property"),
        ({"charge_basis": "cost", "markup_percent": 20, "token_prices_cents": CENTS}, "token_prices_cents"),
        ({"token_prices_cents": CENTS}, "token_prices_cents"),
        ({"quotas": {"rpm": 0, "tpm": 1, "max_parallel": 1}}, "0 is less than the minimum of 1"),
        ({"quotas": {"rpm": 1, "tpm": 1}}, "'max_parallel' is a required property"),
        ({"monthly_budget_nano_usd": 0}, "0 is less than the minimum of 1"),
        ({"monthly_budget_nano_usd": 1.5}, "1.5 is not of type"),
        ({"models": []}, "models"),
        ({"flat_cents": -1}, "-1 is less than the minimum"),
        ({"currency": "EUR"}, "'currency' was unexpected"),
    ],
    ids=str,
)
def test_the_schema_s_problems_name_their_place(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    text = problems(tmp_path, team=plan(**change))

    assert words in text
    assert "$.plans.team" in text
