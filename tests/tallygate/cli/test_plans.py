"""``tallygate plans`` on the double: told before it is done, asked where somebody feels it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.layout import REPOSITORY
from tests.sandbox.stripe.double import Double
from tests.tallygate.cli.conftest import Run


@pytest.fixture
def plans(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sandbox's plans, to be changed."""
    path = tmp_path / "plans.json"
    path.write_text((REPOSITORY / "sandbox" / "config" / "plans.json").read_text())
    monkeypatch.setenv("TALLYGATE_PLANS", str(path))
    return path


def change(path: Path, plan: str, **values: Any) -> None:
    content = json.loads(path.read_text())
    content["plans"][plan] |= values
    path.write_text(json.dumps(content))


def test_what_is_new_is_made_without_a_question(run: Run, double: Double) -> None:
    told = json.loads(run("plans", "apply", "--dry-run", "--json"))
    done = json.loads(run("plans", "apply", "--json"))

    assert told == done
    assert {action["change"] for action in done} == {
        "create_meter", "create_product", "create_price", "create_portal",
    }  # fmt: skip
    assert run("plans", "apply") == "Stripe has what plans.json says\n"


def test_what_somebody_feels_is_asked_for(run: Run, plans: Path, client: stripe.StripeClient) -> None:
    run("plans", "apply")
    change(plans, "team", seat_cents=2500)

    refused = run("plans", "apply")
    assert "would replace_price  team-seat" in refused
    assert "Change this in Stripe? Nothing was done: say --yes" in refused
    assert client.v1.prices.list({"lookup_keys": ["team-seat"]}).data[0].unit_amount == 2000

    assert "replace_price  team-seat" in run("plans", "apply", "--yes")
    assert client.v1.prices.list({"lookup_keys": ["team-seat"]}).data[0].unit_amount == 2500


def test_plans_are_shown_with_what_stripe_has_of_them(run: Run, client: stripe.StripeClient) -> None:
    before = json.loads(run("plans", "show", "starter", "--json"))
    run("plans", "apply")

    (after,) = json.loads(run("plans", "show", "starter", "--json"))

    (price,) = client.v1.prices.list({"lookup_keys": ["starter-flat"]}).data
    assert before[0]["prices"][0]["stripe_price"] is None
    assert after["prices"] == [
        {
            "plan": "starter", "kind": "flat", "cents": "4900", "lookup_key": "starter-flat",
            "stripe_price": price.id,
        }
    ]  # fmt: skip
    assert after["quotas"]["rpm"] == 600
    assert "scale-llm_cost_nano_usd" in run("plans", "show")
    assert "there is no plan 'gold'" in run("plans", "show", "gold")


def test_a_missing_key_says_how_to_set_it(run: Run, double: Double, secrets: Path) -> None:
    (secrets / "stripe-api-key").unlink()

    assert "tallygate secrets set stripe-api-key" in run("plans", "apply")


def test_an_operator_s_own_key_comes_first(
    run: Run, double: Double, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Google Cloud nobody needs to read the functions' key."""
    (secrets / "stripe-api-key").unlink()
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_of_a_person")

    assert "create_portal" in run("plans", "apply")
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_of_a_person")
    assert "Stripe's API key is a live key" in run("plans", "apply")
